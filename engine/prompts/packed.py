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
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_NAMES = {".gz": "gzip", ".zst": "zstd"}
_BUFFER = 2**16


class DamagedZstd(OSError):
    """What a zstd file ends with that is cut off or changed."""


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
    with zipfile.ZipFile(archive) as opened:
        names = [PurePosixPath(info.filename) for info in opened.infolist() if not info.is_dir()]
    inside = [name for name in names if not name.is_absolute() and ".." not in name.parts]
    seen = [name for name in inside if not any(part.startswith((".", "__MACOSX")) for part in name.parts)]
    return sorted((archive / name for name in seen), key=lambda path: path.parts)


@contextmanager
def plain_bytes(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of a file or of an entry of an archive as they are stored, and how many there are."""
    archive = archive_of(path)
    if archive is None:
        with open(path, "rb") as plain:
            plain.seek(0, io.SEEK_END)
            size = plain.tell()
            plain.seek(0)
            yield plain, size
        return
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(path.relative_to(archive).as_posix())
        with opened.open(info) as entry:
            yield entry, info.file_size


def unpacked(path: Path, plain: IO[bytes], head: bytes) -> IO[bytes]:
    """The bytes that `plain` packs: by its first bytes `head`, or by its name where these say nothing.

    Raises:
        gzip.BadGzipFile, DamagedZstd: the name says so, but it is not packed.
    """
    ending = path.suffix.lower()
    if head.startswith(_GZIP) or ending == ".gz":
        return cast(IO[bytes], gzip.GzipFile(fileobj=plain))
    if head.startswith(_ZSTD):
        return cast(IO[bytes], io.BufferedReader(_Zstd(plain), _BUFFER))
    if ending == ".zst":
        raise DamagedZstd("Not a zstd file")
    return plain


def damage(error: Exception, path: Path) -> str | None:
    """What is wrong with a packed file, from what a library says of it; None where it says something else."""
    if isinstance(error, gzip.BadGzipFile | DamagedZstd) and "Not a " in str(error):
        ending = path.suffix.lower()
        return f"the name ends in {ending}, but this is no {_NAMES.get(ending, 'packed')} file"
    if isinstance(error, zipfile.BadZipFile):
        return "this is no zip archive, or it is truncated or damaged"
    if isinstance(error, DamagedZstd):
        return "the zstd file is truncated or damaged"
    return (
        "the gzip file is truncated or damaged" if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile) else None
    )


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
