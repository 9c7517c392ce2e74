"""What a screen was set to when it was last used: one small JSON file a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

from dnd_tui.state.plain import DamagedError, from_plain, read_line, to_plain, write_line
from engine.files import write_text

Choices = TypeVar("Choices")


class Remembered(Generic[Choices]):
    """Choices of one screen; their file is made at the first change. Touches the disk: not for the event loop.

    Args:
        kind: the dataclass of the choices.
        version: of the format of the file.
    """

    def __init__(self, file: Path, kind: type[Choices], version: int) -> None:
        self._file = file
        self._kind = kind
        self._version = version

    def load(self) -> Choices | None:
        """What was chosen last; None at the first time, or when the file is not ours to read."""
        try:
            return from_plain(self._kind, read_line(self._version, self._file.read_bytes()))
        except (OSError, DamagedError):
            return None

    def save(self, choices: Choices) -> None:
        """Raises EngineError when the file cannot be written."""
        plain: dict[str, Any] = to_plain(choices)
        write_text(self._file, write_line(self._version, plain, indent=2) + "\n")
