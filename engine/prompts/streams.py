"""Opening files that people name, plain or packed, and reading their text line by line.

Memory is bounded by the longest line; a line above LINE_LIMIT is refused.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.errors import EngineError, is_disk_full
from engine.files import LFS_HINT, LFS_POINTER, is_lfs_pointer
from engine.prompts.packed import TooLarge, archive_of, damage, plain_bytes, unpacked

LINE_LIMIT = 64 * 2**20
"""Longest line, in bytes (in characters for UTF-16)."""

_SNIFFED = 8192
# UTF-32 first: its mark begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def as_engine_errors(path: Path) -> Iterator[None]:
    """Turns what the system reports about reading `path` into EngineError."""
    try:
        yield
    except (EOFError, zlib.error, zipfile.BadZipFile, OSError) as error:
        problem = damage(error, path)
        if problem is None:
            assert isinstance(error, OSError)
            raise _refusal(path, error) from error
        hint = "Fetch or write the file again"
        if isinstance(error, TooLarge):
            hint = "Unpack it yourself if it is what it should be"
        raise EngineError(problem, where=str(path), hint=hint) from error
    except (RuntimeError, NotImplementedError) as error:  # of zip archives: a password, an unknown way of packing
        if archive_of(path) is None:
            raise
        raise EngineError(f"cannot be unpacked: {error}", where=str(path), hint="Unpack the archive first") from error


def file_mode(path: Path) -> int:
    """The type and mode bits of what `path` leads to.

    Raises:
        EngineError: nothing is there, it cannot be reached, or the links lead in a circle.
    """
    try:
        return os.stat(path).st_mode
    except OSError as error:
        raise _refusal(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise EngineError("is not a possible file name", where=repr(str(path))) from error


def refuse_special(path: Path, mode: int) -> None:
    """Raises EngineError for pipes, devices and sockets: reading them may never end."""
    if stat.S_ISREG(mode):
        return
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
    kind = next((words for test, words in kinds if test(mode)), "no regular file")
    raise EngineError(f"is {kind}, not a file", where=str(path), hint="Save the prompts to a file first")


def refuse_pointer(path: Path) -> None:
    """Raises EngineError for what Git LFS keeps in place of a file."""
    with as_engine_errors(path):
        if is_lfs_pointer(path):
            raise _only_a_pointer(path)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file or of an entry of an archive, unpacked where they are packed.

    Raises:
        EngineError: empty, unreadable, broken, or the pointer that Git LFS leaves in place of a file.
    """
    if archive_of(path) is None:
        refuse_special(path, file_mode(path))
    with as_engine_errors(path), plain_bytes(path) as (plain, size):
        if size == 0:
            raise empty_file(path)
        head = plain.read(len(LFS_POINTER))
        plain.seek(0)
        if head == LFS_POINTER:
            raise _only_a_pointer(path)
        with unpacked(path, plain, head) as content:
            yield content


def text_lines(path: Path) -> Generator[tuple[int, str], None, None]:
    """(line number from 1, line with its line end), split at "\\n" only, or at "\\r" where there is no "\\n".

    UTF-8, with or without byte order mark; UTF-16 and UTF-32 with one.

    Raises:
        EngineError: as `opened`; another encoding, binary data, or a line longer than LINE_LIMIT.
    """
    with opened(path) as file:
        head = _head(file)
        if not head:
            raise empty_file(path)
        encoding = _marked_encoding(head)
        if encoding is not None:
            yield from _decoded_lines(path, file, encoding, _line_end(head.decode(encoding, "ignore")))
            return
        if b"\0" in head:
            raise _binary(path)
        if (end := _line_end(head.decode("ascii", "ignore"))) != "\n":
            yield from _decoded_lines(path, file, "utf-8-sig", end)
            return
        if head.startswith(codecs.BOM_UTF8):
            file.read(len(codecs.BOM_UTF8))
        number = 0
        while raw := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(raw) > LINE_LIMIT:
                raise _too_long(path, number)
            if b"\0" in raw:
                raise _binary(path)
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number) from error
            yield number, line


def whole_text(path: Path, limit: int, hint: str) -> str:
    """All text of a file of at most `limit` bytes (unpacked); encodings and errors as `text_lines`.

    Raises:
        EngineError: also when the file is larger; `hint` has what to do then.
    """
    with opened(path) as file:
        data = file.read(limit + 1)
    if not data:
        raise empty_file(path)
    if len(data) > limit:
        raise EngineError(f"is larger than {limit // 2**20} MiB, too large to load whole", where=str(path), hint=hint)
    encoding = _marked_encoding(data)
    if encoding is None and b"\0" in data:
        raise _binary(path)
    try:
        return data.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise _broken_wide(path, 1, encoding) from error
        # error.object lacks the byte order mark, but no line end with it
        raise _not_utf8(path, error.object[: error.start].count(b"\n") + 1) from error


def empty_file(path: Path) -> EngineError:
    """The error for a file without a byte in it."""
    return EngineError("the file is empty", where=str(path), hint="Name a file with at least one prompt")


def _head(file: IO[bytes]) -> bytes:
    """The first bytes, which are read again afterwards."""
    if isinstance(file, io.BufferedReader) and not file.seekable():
        return file.peek(_SNIFFED)[:_SNIFFED]
    head = file.read(_SNIFFED)
    file.seek(0)
    return head


def _line_end(head: str) -> str:
    """Where lines end: old programs for the Mac write "\\r" alone."""
    return "\r" if "\r" in head and "\n" not in head else "\n"


def _decoded_lines(path: Path, file: IO[bytes], encoding: str, end: str) -> Iterator[tuple[int, str]]:
    text = io.TextIOWrapper(file, encoding=encoding, newline=end)
    number = 0
    while True:
        try:
            line = text.readline(LINE_LIMIT + 1)
        except UnicodeError as error:
            broken = _not_utf8(path, number + 1) if encoding == "utf-8-sig" else None
            raise broken or _broken_wide(path, number + 1, encoding) from error
        if not line:
            return
        number += 1
        if len(line) > LINE_LIMIT:
            raise _too_long(path, number)
        yield number, line


def _marked_encoding(head: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def _refusal(path: Path, error: OSError) -> EngineError:
    where = str(path)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return EngineError("no such file or folder", where=where, hint="Check the path")
    if error.errno == errno.ELOOP:
        return EngineError("the symbolic links lead in a circle", where=where, hint="Name the file itself")
    if error.errno in (errno.EACCES, errno.EPERM):
        return EngineError("may not be read", where=where, hint="Change its permissions or copy it")
    if is_disk_full(error):
        hint = "Free some space for temporary files, or name another folder for them in TMPDIR"
        return EngineError("cannot be unpacked: the disk is full", where=where, hint=hint)
    return EngineError(f"cannot be read: {error.strerror or error}", where=where)


def _only_a_pointer(path: Path) -> EngineError:
    return EngineError(
        "is a Git LFS pointer, not the file itself",
        where=str(path),
        hint=LFS_HINT,
    )


def _binary(path: Path) -> EngineError:
    return EngineError(
        "holds binary data, not text",
        where=str(path),
        hint="Name a text file in UTF-8; a packed file needs its right ending, such as .zip or .parquet",
    )


def _not_utf8(path: Path, line: int) -> EngineError:
    return EngineError(
        "is not UTF-8",
        where=f"{path}, line {line}",
        hint="Save it as UTF-8; from Latin-1, for example: iconv -f LATIN1 -t UTF-8 in > out",
    )


def _broken_wide(path: Path, line: int, encoding: str) -> EngineError:
    return EngineError(
        f"starts as {encoding.upper()} but is not valid {encoding.upper()}",
        where=f"{path}, near line {line}",
        hint="Save it as UTF-8",
    )


def _too_long(path: Path, line: int) -> EngineError:
    return EngineError(
        f"the line is longer than {LINE_LIMIT // 2**20} MiB",
        where=f"{path}, line {line}",
        hint="Put one prompt a line",
    )
