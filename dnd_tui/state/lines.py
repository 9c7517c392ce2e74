"""A history on disk: one JSON object a line, the newest last, the oldest dropped.

A line that cannot be read, or that a newer program wrote, costs itself only: it is moved to a file beside the
history, and the person is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from dnd_tui.state.locked import one_writer
from dnd_tui.state.plain import DamagedError, from_plain, read_line, to_plain, write_line
from engine.errors import EngineError
from engine.files import replacing_file, write_text

R = TypeVar("R")
Tell = Callable[[str], None]


class RecordLines(Generic[R]):
    """Records of one dataclass in one file.

    Args:
        path: the file; made at the first record.
        kind: the dataclass.
        version: of the format of its lines.
        most: how many records are kept.
        tell: gets a note for the person when lines were moved aside.
    """

    def __init__(self, path: Path, kind: type[R], *, version: int, most: int, tell: Tell) -> None:
        self._path = path
        self._kind = kind
        self._version = version
        self._most = most
        self._tell = tell

    def newest_first(self) -> list[R]:
        """All records.

        Raises:
            EngineError: the file cannot be read.
        """
        records, unreadable = self._read()
        if unreadable:
            with one_writer(self._path.parent):
                records = self._settled()
        return records[::-1]

    def add(self, record: R, instead_of: Callable[[R], bool] = lambda other: False) -> None:
        """Put `record` in as the newest; those it stands instead of are dropped.

        Raises:
            EngineError: the file cannot be read or written.
        """
        with one_writer(self._path.parent):
            kept = [other for other in self._settled() if not instead_of(other)]
            self._write([*kept, record][-self._most :])

    def _settled(self) -> list[R]:
        """Oldest first; unreadable lines are moved aside. Only under the lock."""
        records, unreadable = self._read()
        if unreadable:
            aside = self._free_place()
            with replacing_file(aside) as part:
                part.write_bytes(b"".join(line + b"\n" for line, _ in unreadable))
            self._write(records)
            lines = "1 line" if len(unreadable) == 1 else f"{len(unreadable)} lines"
            self._tell(f"{self._path}: {lines} could not be read and went to {aside.name} ({unreadable[0][1]})")
        return records

    def _read(self) -> tuple[list[R], list[tuple[bytes, str]]]:
        """Records, and unreadable lines with the reason."""
        records: list[R] = []
        unreadable: list[tuple[bytes, str]] = []
        for line in self._lines():
            try:
                records.append(from_plain(self._kind, read_line(self._version, line)))
            except DamagedError as error:
                unreadable.append((line, f"the first {error}"))
        return records, unreadable

    def _lines(self) -> list[bytes]:
        try:
            return [line for line in self._path.read_bytes().split(b"\n") if line.strip()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EngineError(f"cannot be read: {error.strerror}", where=str(self._path)) from error

    def _write(self, records: Iterable[R]) -> None:
        write_text(self._path, "".join(write_line(self._version, to_plain(record)) + "\n" for record in records))

    def _free_place(self) -> Path:
        now = datetime.now(UTC)
        return self._path.with_name(f"{self._path.stem}-unreadable-{now:%Y%m%d-%H%M%S-%f}{self._path.suffix}")


def now() -> str:
    """The time now, as records hold it: ISO, to the second, with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
