"""Writing that leaves the old or the new, never half, also where two change places; and content hashes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.errors import ANOTHER_OUT, EngineError, disk_full, is_disk_full, setting
from engine.text import readable_size

LFS_POINTER = b"version https://git-lfs."
"""How a file begins that Git LFS keeps in place of a large one."""
LFS_HINT = "Fetch the file: run `git lfs pull` in its repository, or download it from where it is shown"
# What is being written, beside where it will be: `.NAME.` and eight characters. "old" is what it takes the place of.
_LEFT = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.(?P<ending>part|old)")

# The last two: a file stands where a folder should be.
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EEXIST}
)


@contextmanager
def replacing_file(target: Path, *, private: bool = False) -> Iterator[Path]:
    """Yields a path beside `target` to write to; it takes the place of `target` when the block ends well.

    Whoever may read a file that is there may read the new one, and nobody else.

    Args:
        private: a new file is for its owner alone.

    Raises:
        EngineError: the disk is full or the folder cannot be written.
    """
    with _as_engine_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part, claim = _claimed(target, folder=False)
        try:
            yield part
            _flush(part)
            os.chmod(part, _mode(target, 0o600 if private else 0o666 & ~_umask()))
            os.replace(part, target)
            _flush(target.parent)
        finally:
            part.unlink(missing_ok=True)
            os.close(claim)


@contextmanager
def replacing_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a new folder beside `target`; it takes the place of `target` when the block ends well.

    Args:
        replace: an existing `target` that is not an empty folder may be replaced.

    Raises:
        EngineError: `target` exists and may not be replaced, or is a file, or lies in one; the disk is full, the
            place cannot be written.
    """
    with _as_engine_errors(target):
        refuse_file(target)
        refuse_occupied(target, replace)
        target.parent.mkdir(parents=True, exist_ok=True)
        part, claim = _claimed(target, folder=True)
        old = part.with_suffix(".old")
        try:
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    _flush(file)
                    os.chmod(file, 0o666 & ~_umask())
                else:
                    _flush(file)
            os.chmod(part, 0o777 & ~_umask())
            _flush(part)
            # In one step, where the system can: whoever is killed has the old folder there, or the new one.
            if not (target.exists() and exchange(part, target)):
                if target.exists():
                    os.rename(target, old)
                os.rename(part, target)
            _flush(target.parent)
        except BaseException:
            if old.exists() and not target.exists():
                os.rename(old, target)
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
            os.close(claim)


@contextmanager
def replacing_archive(target: Path, *, replace: bool = False) -> Iterator[tuple[Path, Path]]:
    """Yields a new folder to fill and a file to pack it into; the file takes the place of `target` at a good end.

    The folder has the name that it should have in the archive, and is gone afterwards.

    Raises:
        EngineError: as `replacing_folder`; or `target` is a folder.
    """
    with _as_engine_errors(target):
        refuse_folder(target)
        refuse_occupied(target, replace)
        target.parent.mkdir(parents=True, exist_ok=True)
        top, claim = _claimed(target, folder=True)
        try:
            folder = top / target.stem
            folder.mkdir()
            with replacing_file(target) as part:
                yield folder, part
        finally:
            shutil.rmtree(top, ignore_errors=True)
            os.close(claim)


def refuse_folder(target: Path) -> None:
    """Raises EngineError when no file can be at `target`, because it is a folder or lies in a file."""
    with _as_engine_errors(target):
        if target.is_dir():
            raise EngineError("is a folder, not a file", where=str(target), hint=ANOTHER_OUT)
        refuse_file(target.parent)


def refuse_small_disk(target: Path, needed: int) -> None:
    """Raises EngineError when fewer than `needed` bytes are free where `target` is to be."""
    with _as_engine_errors(target):
        place = next(folder for folder in target.absolute().parents if folder.is_dir())
        usage = shutil.disk_usage(place)
    # Some file systems do not report their size.
    if usage.total and usage.free < needed:
        problem = f"the disk is too full: {readable_size(needed)} are needed, {readable_size(usage.free)} are free"
        raise EngineError(problem, where=str(place), hint="Free some space or choose another folder")


def refuse_occupied(target: Path, replace: bool) -> None:
    """Raises EngineError when `target` is there, is not an empty folder, and may not be replaced.

    Jobs ask this and the like before the work, so that nobody waits for a result that cannot be written.
    """
    with _as_engine_errors(target):
        occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if occupied and not replace:
        raise EngineError("already exists", where=str(target), hint=f"{ANOTHER_OUT} or allow {setting('replace')}")


def refuse_file(target: Path) -> None:
    """Raises EngineError when no folder can be at `target`, because it is a file or lies in one."""
    with _as_engine_errors(target):
        there = next((place for place in (target, *target.parents) if place.exists()), target)
        if there.exists() and not there.is_dir():
            raise EngineError("is a file, not a folder", where=str(there), hint="Choose another folder")


def refuse_nested(source: Path, target: Path) -> None:
    """Raises EngineError when one of two different folders lies in the other: `source` would be lost or changed."""
    with _as_engine_errors(target):
        source, target = source.resolve(), target.resolve()
    if source in target.parents:
        problem = f"lies inside {source}, which is read"
    elif target in source.parents:
        problem = f"holds {source}, which is read, and would be replaced with it"
    else:
        return
    raise EngineError(problem, where=str(target), hint="Choose another folder")


def tidy_after_kill(target: Path) -> None:
    """Take away what writing `target`, or files in that folder, left when its process was killed.

    A folder that was moved aside comes back. What a living process writes stays.
    """
    with suppress(OSError, ValueError):
        for left in list(target.parent.glob(f".{glob.escape(target.name)}.????????.*")):
            _tidy(left)
    tidy_folder(target)


def tidy_folder(folder: Path) -> None:
    """The same for all that is written into `folder` itself."""
    with suppress(OSError, ValueError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith("."):
                _tidy(Path(entry.path))


def _tidy(left: Path) -> None:
    found = _LEFT.fullmatch(left.name)
    with suppress(OSError):
        if found is None or not _is_abandoned(left.with_suffix(".part")):
            return
        target = left.with_name(found["name"])
        if found["ending"] == "old" and not target.exists():
            os.rename(left, target)
        elif left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def _claimed(target: Path, *, folder: bool) -> tuple[Path, int]:
    """A new file or folder to write what becomes `target`, and the open lock by which others see that it is in use."""
    prefix, suffix = f".{target.name}.", ".part"
    while True:
        if folder:
            name = tempfile.mkdtemp(suffix, prefix, target.parent)
        else:
            handle, name = tempfile.mkstemp(suffix, prefix, target.parent)
            os.close(handle)
        with suppress(FileNotFoundError):
            claim = os.open(name, os.O_RDONLY)
            # Who tidies at this very moment may have taken it for an abandoned one.
            if _locked(claim, otherwise=True) and os.path.exists(name):
                return Path(name), claim
            os.close(claim)


def _is_abandoned(part: Path) -> bool:
    """Whether no process holds the lock of what it writes; the lock ends with the process, however that ends."""
    try:
        handle = os.open(part, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        return _locked(handle, otherwise=False)
    finally:
        os.close(handle)


def _locked(handle: int, *, otherwise: bool) -> bool:
    """Whether the lock is ours now; `otherwise` where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


def write_text(target: Path, text: str) -> None:
    """`text` as UTF-8, its line ends as they are, atomically. Raises EngineError as `replacing_file`."""
    with replacing_file(target) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(target: Path, data: Any) -> None:
    """`data` as indented JSON, atomically."""
    write_text(target, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(source: Path, hint: str | None = None) -> Any:
    """The data of a JSON file. Raises EngineError with file, place and `hint` when it is missing or broken."""
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError("no such file", where=str(source), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"cannot be read: {error}", where=str(source), hint=hint) from error
    except json.JSONDecodeError as error:
        raise EngineError(f"broken JSON: {error.msg}", where=f"{source}, line {error.lineno}", hint=hint) from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, endless nesting: no file of ours.
        raise EngineError(f"broken JSON: {error}", where=str(source), hint=hint) from error


def is_lfs_pointer(source: Path) -> bool:
    """Whether a file is what Git LFS keeps in place of a large one. Raises OSError."""
    with open(source, "rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def digest_bytes(*parts: bytes) -> str:
    """SHA-256, in hexadecimal."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def digest_json(data: Any) -> str:
    """SHA-256 of plain data, independent of the order of keys."""
    return digest_bytes(json.dumps(data, sort_keys=True, ensure_ascii=False).encode())


def digest_file(source: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _as_engine_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise disk_full(error, str(target)) from error
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            problem = f"cannot be written: {os.strerror(error.errno).lower()}"
            raise EngineError(problem, where=str(target), hint="Choose another folder") from error
        raise


def _flush(path: Path) -> None:
    """A file's bytes, or a folder's names, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(target: Path, otherwise: int) -> int:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        return otherwise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


# linux/fcntl.h and linux/fs.h; sys/stdio.h of macOS.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
# This system, or this file system, cannot.
_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def exchange(first: Path, second: Path) -> bool:
    """Let `first` and `second`, both there, change places; False where that is not possible in one step.

    Raises:
        OSError: it is possible, and was refused.
    """
    names = os.fsencode(first), os.fsencode(second)
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _RENAME_SWAP)
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(second))
