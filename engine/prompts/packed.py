"""Packed files: gzip and zstd, and the entries of zip archives.

An entry of an archive is named by a path below it: `prompts.zip/train.jsonl`. Nothing is unpacked to the disk.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

PACKED = (".gz", ".zst")
"""Endings of packed files, after the ending that says the format."""

ARCHIVE = ".zip"

HIDDEN = (".", "__MACOSX")
"""How names of files begin that are left out of folders and archives."""

MOST_GROWTH, ALWAYS_UNPACKED = 200, 2**22
"""What unpacks to more than so many times its size, and so many bytes, is made to fill the memory."""
_TOO_LARGE = f"unpacks to more than {MOST_GROWTH} times its size"
_LONGEST_LIST = 2**23  # bytes of the list of an archive's files: over fifty thousand of them
_END, _END_SIZE = b"PK\x05\x06", 22
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_NAMES = {".gz": "gzip", ".zst": "zstd"}
_BUFFER = 2**16


class DamagedZstd(OSError):
    """What a zstd file ends with that is cut off or changed."""


class TooLarge(OSError):
    """What is packed unpacks to far more than packed texts do."""


def name_unpacked(name: str) -> str:
    """The name of a file without the ending that says how it is packed, in lower case."""
    name = name.lower()
    return next((name.removesuffix(ending) for ending in PACKED if name.endswith(ending)), name)


def archive_of(path: Path) -> Path | None:
    """The archive in which `path` is an entry; None for a path of the disk."""
    for above in path.parents:
        if above.suffix.lower() == ARCHIVE and above.is_file():
            return above
    return None


def archive_entries(archive: Path) -> list[Path]:
    """The files of a zip archive as paths below it, hidden ones and those that point out of it left out.

    Raises zipfile.BadZipFile and OSError.
    """
    with _opened_archive(archive) as opened:
        names = [PurePosixPath(info.filename) for info in opened.infolist() if not info.is_dir()]
    inside = [name for name in names if not name.is_absolute() and ".." not in name.parts]
    seen = [name for name in inside if not any(part.startswith(HIDDEN) for part in name.parts)]
    return sorted((archive / name for name in seen), key=lambda path: path.parts)


@contextmanager
def _opened_archive(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Raises zipfile.BadZipFile, TooLarge and OSError."""
    with open(archive, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _END_SIZE - 2**16))
        tail = file.read()
        # The size of the list, of which each entry takes up fifty times as much in memory. -1: it stands elsewhere.
        end = tail[tail.rfind(_END) :][12:16]
        if int.from_bytes(end, "little") > _LONGEST_LIST:
            raise TooLarge("lists too many files")
        with zipfile.ZipFile(file) as opened:
            yield opened


@contextmanager
def plain_bytes(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of a file, or of an entry of an archive with nothing but its own packing undone, and how many.

    Raises:
        NotImplementedError: the archive is packed in another way than usual, which cannot be undone piece by piece.
    """
    archive = archive_of(path)
    if archive is None:
        with open(path, "rb") as plain:
            plain.seek(0, io.SEEK_END)
            size = plain.tell()
            plain.seek(0)
            yield plain, size
        return
    with _opened_archive(archive) as opened:
        # By the path: names that a path shortens, such as a//b, are none of `namelist`.
        names = {archive / PurePosixPath(each.filename): each for each in opened.infolist()}
        if path not in names:
            raise zipfile.BadZipFile("has no such file")
        info = names[path]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError("it is packed by neither of the usual ways")
        # No more than it states is ever unpacked.
        if info.file_size > max(ALWAYS_UNPACKED, MOST_GROWTH * info.compress_size):
            raise TooLarge(_TOO_LARGE)
        with opened.open(info) as entry:
            yield entry, info.file_size


def unpacked(path: Path, plain: IO[bytes], head: bytes) -> IO[bytes]:
    """The bytes that `plain` packs: by its first bytes `head`, or by its name where these say nothing.

    Reading them raises TooLarge where they come to more than packed texts do.

    Raises:
        gzip.BadGzipFile, DamagedZstd: the name says so, but it is not packed.
    """
    ending = path.suffix.lower()
    if head.startswith(_GZIP) or ending == ".gz":
        content: Any = gzip.GzipFile(fileobj=plain)
    elif head.startswith(_ZSTD):
        content = _Zstd(plain)
    elif ending == ".zst":
        raise DamagedZstd("Not a zstd file")
    else:
        return plain
    return cast(IO[bytes], io.BufferedReader(_Measured(content, plain), _BUFFER))


def damage(error: Exception, path: Path) -> str | None:
    """What is wrong with a packed file, from what a library says of it; None where it says something else."""
    if isinstance(error, gzip.BadGzipFile | DamagedZstd) and "Not a " in str(error):
        ending = path.suffix.lower()
        return f"the name ends in {ending}, but this is no {_NAMES.get(ending, 'packed')} file"
    if isinstance(error, TooLarge):
        return f"{error}: it seems made to fill the memory"
    if isinstance(error, zipfile.BadZipFile):
        return "this is no zip archive, or it is truncated or damaged"
    if isinstance(error, DamagedZstd):
        return "the zstd file is truncated or damaged"
    return (
        "the gzip file is truncated or damaged" if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile) else None
    )


class _Measured(io.RawIOBase):
    """The bytes of `content`, which unpacks `packed`, as long as they are not out of all proportion."""

    def __init__(self, content: Any, packed: IO[bytes]) -> None:
        self._content = content
        self._packed = packed
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._content.readinto(buffer))
        self._count += count
        if self._count > ALWAYS_UNPACKED and self._count > MOST_GROWTH * self._packed.tell():
            raise TooLarge(_TOO_LARGE)
        return count

    def close(self) -> None:
        self._content.close()
        super().close()


class _Zstd(io.RawIOBase):
    """pyarrow's reader of zstd, with errors of its own told apart from those of the disk."""

    def __init__(self, plain: IO[bytes]) -> None:
        import pyarrow as pa

        self._stream: Any = pa.CompressedInputStream(pa.PythonFile(plain, mode="r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._stream.readinto(buffer))
        except (OSError, ValueError) as error:
            raise DamagedZstd(str(error)) from error
