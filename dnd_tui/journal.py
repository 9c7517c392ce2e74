"""What happened, for the log screen and for bug reports: in memory while the app runs, and in a file."""

from __future__ import annotations

import logging
import logging.handlers
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_ENTRIES = 2000
_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class Entry:
    """One thing that happened; `details` are for a bug report."""

    text: str
    details: str = ""
    warning: bool = False
    when: float = field(default_factory=time.time)

    def line(self) -> str:
        """Time, a sign for warnings, text; the details follow, indented."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.when))
        first = f"{clock} {'! ' if self.warning else '  '}{self.text}"
        return "\n".join([first, *(f"           {line}" for line in self.details.splitlines())])


class Journal:
    """Entries, newest last.

    Args:
        folder: gets `app.log`, at most two files of a megabyte; it is left out where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.entries: deque[Entry] = deque(maxlen=_ENTRIES)
        self._listeners: list[Callable[[Entry], None]] = []
        self._log = logging.getLogger("dnd_tui")
        self._log.propagate = False
        self._log.setLevel(logging.INFO)
        self._handler = _file_handler(folder / "app.log")
        self._log.addHandler(self._handler)

    def add(self, text: str, details: str = "", *, warning: bool = False) -> None:
        """Write down that something happened."""
        entry = Entry(text, details, warning)
        self.entries.append(entry)
        self._log.log(logging.WARNING if warning else logging.INFO, "%s", entry.line())
        for listener in self._listeners:
            listener(entry)

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with every further entry."""
        self._listeners.append(listener)

    def text(self) -> str:
        """All entries."""
        return "\n".join(entry.line() for entry in self.entries)

    def close(self) -> None:
        """Close the file."""
        self._log.removeHandler(self._handler)
        self._handler.close()


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8")
    except OSError:
        return logging.NullHandler()
