"""Where prompts lie: one file, or a folder and which of its files are used."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.prompts.readers import READERS
from engine.prompts.streams import as_engine_errors, file_mode, refuse_special

DATASET = "dataset"
"""The format of a folder that `datasets` saved to disk."""

_ALIASES = {"ndjson": "jsonl"}
_TRAIN = frozenset({"train", "training"})
_HELD_OUT = frozenset({"test", "testing", "validation", "valid", "val", "dev", "eval"})
# Files about a data set, not of it.
_ABOUT = frozenset({"readme", "license", "licence", "changelog", "notice", "dataset_info", "dataset_infos"})


@dataclass(frozen=True)
class Place:
    """What is read: `files` of one `format` (a key of READERS, or DATASET with the folder itself as the only file)."""

    source: Path
    format: str
    files: tuple[Path, ...]


def find_place(source: Path) -> Place:
    """The files behind what a person named.

    In a folder: the first format of READERS that is there, files in the order of their paths; the training files
    when some are named so, else those not named as test or validation files. Links inside of a folder are not
    followed; hidden files, and files about the data such as README.md, are left out.

    Raises:
        EngineError: nothing there, no regular file, an unknown ending, or a folder without prompt files.
    """
    mode = file_mode(source)
    if not stat.S_ISDIR(mode):
        refuse_special(source, mode)
        kind = file_format(source)
        if kind is None:
            raise EngineError(
                f'unknown kind of file "{"".join(source.suffixes[-2:]) or source.name}"',
                where=str(source),
                hint=f"Known endings: {_endings()}, each also with .gz",
            )
        return Place(source, kind, (source,))
    if is_saved_dataset(source):
        return Place(source, DATASET, (source,))
    found, links = _files_below(source)
    kinds = {path: file_format(path) for path in found}
    for kind in READERS:
        files = [path for path in found if kinds[path] == kind]
        if files:
            return Place(source, kind, tuple(_training_files(source, files)))
    followed = f"; {links} symbolic links in it are not followed" if links else ""
    raise EngineError(
        f"the folder has no prompt files{followed}",
        where=str(source),
        hint=f"Known endings: {_endings()}, each also with .gz",
    )


def file_format(path: Path) -> str | None:
    """The key of READERS for the name of a file; None for an unknown ending."""
    name = path.name.lower().removesuffix(".gz")
    ending = name.rpartition(".")[2] if "." in name else ""
    ending = _ALIASES.get(ending, ending)
    return ending if ending in READERS else None


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` wrote this folder with save_to_disk."""
    with as_engine_errors(folder):
        one = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
        return one or (folder / "dataset_dict.json").is_file()


def _files_below(folder: Path) -> tuple[list[Path], int]:
    """Regular files in the order of their paths, and the number of links passed by."""
    files: list[Path] = []
    links = 0
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        with as_engine_errors(here):
            entries = list(os.scandir(here))
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or entry.name.partition(".")[0].lower() in _ABOUT:
                continue
            if entry.is_symlink():
                links += 1
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif entry.is_file(follow_symlinks=False):
                files.append(path)
    return sorted(files, key=lambda path: path.relative_to(folder).parts), links


def _training_files(folder: Path, files: list[Path]) -> list[Path]:
    words = {path: set(_split_words(path.relative_to(folder))) for path in files}
    train = [path for path in files if words[path] & _TRAIN]
    return train or [path for path in files if not words[path] & _HELD_OUT] or files


def _split_words(path: Path) -> Iterator[str]:
    for part in path.parts:
        yield from re.split(r"[^a-z]+", part.lower())


def _endings() -> str:
    return ", ".join(f".{kind}" for kind in (*READERS, *_ALIASES))
