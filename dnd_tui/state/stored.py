"""What the app keeps on disk: records as JSON with the version of their format, histories of them, a lock.

A history is one JSON object a line, the newest last, the oldest dropped. A line that cannot be read, or that a newer
program wrote, costs itself only: it is moved to a file beside the history, and the app warns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from engine.errors import EngineError
from engine.files import replacing_file, write_text

R = TypeVar("R")
Warn = Callable[[str], None]


class RecordLines(Generic[R]):
    """Records of one dataclass in one file.

    Args:
        path: the file; made at the first record.
        kind: the dataclass.
        version: of the format of its lines.
        most: how many records are kept.
        warn: gets a note for the person when lines were moved aside.
    """

    def __init__(self, path: Path, kind: type[R], *, version: int, most: int, warn: Warn) -> None:
        self._path = path
        self._kind = kind
        self._version = version
        self._most = most
        self._warn = warn

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

    def add(self, *records: R, instead_of: Callable[[R], bool] = lambda other: False) -> None:
        """Put `records` in as the newest, the last one as the newest of all; those they stand instead of are dropped.

        Raises:
            EngineError: the file cannot be read or written.
        """
        with one_writer(self._path.parent):
            kept = [other for other in self._settled() if not instead_of(other)]
            self._write([*kept, *records][-self._most :])

    def _settled(self) -> list[R]:
        """Oldest first; unreadable lines are moved aside. Only under the lock."""
        records, unreadable = self._read()
        if unreadable:
            aside = self._free_place()
            with replacing_file(aside) as part:
                part.write_bytes(b"".join(line + b"\n" for line, _ in unreadable))
            self._write(records)
            lines = "1 line" if len(unreadable) == 1 else f"{len(unreadable)} lines"
            self._warn(f"{self._path}: {lines} could not be read and went to {aside.name} ({unreadable[0][1]})")
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


class DamagedError(ValueError):
    """Stored data is not what it should be; the text explains why."""


def to_plain(value: Any) -> Any:
    """`value` as JSON holds it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[R], data: Any, **given: Any) -> R:
    """The record that `to_plain` made `data` of.

    Args:
        given: fields that are known otherwise and are not in `data`.

    Raises:
        DamagedError: a field is missing, unknown, or of another type.
    """
    if not isinstance(data, dict):
        raise DamagedError(f"is no {kind.__name__}")
    checks, needed = _fields_of(kind)  # type: ignore[arg-type]
    for name in sorted(set(data) - (set(checks) - set(given))):
        raise DamagedError(f"{name} is not known")
    for name in sorted(needed - set(data) - set(given)):
        raise DamagedError(f"{name} is missing")
    return kind(**given, **{name: checks[name](value, name) for name, value in data.items()})


Check = Callable[[Any, str], Any]
"""A value as JSON has it, and the field's name, to the field's value; raises DamagedError."""


@cache
def _fields_of(kind: Any) -> tuple[Mapping[str, Check], frozenset[str]]:
    """The checks of a dataclass's fields, and which of them have no default. Found once: a library has thousands."""
    every = fields(kind)
    needed = {field.name for field in every if field.default is MISSING and field.default_factory is MISSING}
    return {name: _check_of(hint) for name, hint in get_type_hints(kind).items()}, frozenset(needed)


def write_line(version: int, data: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON of stored data, with the version of its format.

    In ASCII: file names may hold bytes that are no text, and only escaped do they survive.
    """
    return json.dumps({"version": version, **data}, indent=indent)


def read_line(version: int, text: bytes) -> dict[str, Any]:
    """The data of `write_line`, without the version.

    Raises:
        DamagedError: broken, or written by a newer program.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"is broken JSON: {error}") from None
    found = data.pop("version", None) if isinstance(data, dict) else None
    if not isinstance(found, int):
        raise DamagedError("has no version")
    if found != version:
        raise DamagedError(f"is of version {found}, written by another dnd-tui; this one knows {version}")
    return data


def _check_of(kind: Any) -> Check:
    """What a type asks of a value."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        other = _check_of(inner[0])
        return lambda value, name: None if value is None else other(value, name)
    if origin is tuple:
        return _tuple_check(inner)
    if origin is Mapping:
        part = _check_of(inner[1])

        def mapping(value: Any, name: str) -> Any:
            if not isinstance(value, dict):
                raise _wrong_type(name)
            return {key: part(each, name) for key, each in value.items()}

        return mapping
    if is_dataclass(kind):
        return lambda value, name: from_plain(kind, value)  # type: ignore[arg-type]
    if kind is float:
        return _as_float

    def plain(value: Any, name: str) -> Any:
        if kind is Path and isinstance(value, str):
            return Path(value)
        if type(value) is kind or (origin is Literal and value in inner):
            return value
        raise _wrong_type(name)

    return plain


def _tuple_check(inner: tuple[Any, ...]) -> Check:
    checks = [_check_of(each) for each in inner if each is not Ellipsis]
    any_length = inner[-1] is Ellipsis

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, list) or not (any_length or len(value) == len(checks)):
            raise _wrong_type(name)
        own = checks * len(value) if any_length else checks
        return tuple([each(part, name) for each, part in zip(own, value, strict=True)])

    return check


def _as_float(value: Any, name: str) -> float:
    # Other programs write a whole float without a point.
    if type(value) is int and abs(value) <= 2**53:
        return float(value)
    if type(value) is not float:
        raise _wrong_type(name)
    return value


def _wrong_type(name: str) -> DamagedError:
    return DamagedError(f"{name} is of the wrong type")


# Writing takes milliseconds; whoever holds the lock for longer hangs.
_PATIENCE_SECONDS = 10
PLACE_HINT = "See to it that you may write there, or name another folder in DND_TUI_DATA and start again"


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made if it is not there. Not to be entered twice by one thread.

    Raises:
        EngineError: the folder cannot be written, also by what happens inside, or another program keeps the lock.
    """
    from filelock import FileLock, Timeout

    try:
        # Prompts and answers stand there.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=_PATIENCE_SECONDS):
            yield
    except Timeout:
        problem = "another dnd-tui is writing there and does not finish"
        raise EngineError(problem, where=str(folder), hint="Try again, or end the other one") from None
    except OSError as error:
        problem = f"cannot be changed: {error.strerror or error}"
        raise EngineError(problem, where=str(folder), hint=PLACE_HINT) from error


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
