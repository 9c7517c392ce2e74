"""Where prompts lie: one file, a folder or an archive and which of its files are used."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.prompts.columnar import broken_dataset
from engine.prompts.packed import ARCHIVE, HIDDEN, PACKED, archive_entries, name_unpacked
from engine.prompts.streams import as_engine_errors, file_mode, refuse_pointer, refuse_special

DATASET = "dataset"
"""The format of a folder that `datasets` saved to disk."""

FORMATS = ("jsonl", "parquet", "arrow", "csv", "tsv", "json", "txt", "md")
"""Formats of files, the most telling first: that order decides in a folder of several."""

_ALIASES = {"ndjson": "jsonl", "jsonlines": "jsonl", "feather": "arrow", "tab": "tsv", "markdown": "md"}
_TRAIN = frozenset({"train", "training"})
_HELD_OUT = frozenset({"test", "testing", "validation", "valid", "val", "dev", "eval"})
# Of several configurations the one that is meant when none is named.
_USUAL = ("default", "main")
# Files about a data set, not of it.
_ABOUT = frozenset({"readme", "license", "licence", "changelog", "notice", "dataset_info", "dataset_infos"})


@dataclass(frozen=True)
class Place:
    """What is read: `files` of one `format` (one of FORMATS, or DATASET with the folder itself as the only file).

    left: other prompt files that are there, and are not read.
    header: the first row of a table names its columns.
    whole: each text file is one prompt.
    """

    source: Path
    format: str
    files: tuple[Path, ...]
    left: tuple[Path, ...] = ()
    header: bool = True
    whole: bool = False

    def named(self, file: Path) -> str:
        """A file for people: its path below the source."""
        return file.name if file == self.source else file.relative_to(self.source).as_posix()


def find_place(source: Path) -> Place:
    """The files behind what a person named.

    In a folder or an archive: the first format of FORMATS that is there, files in the order of their paths; the
    training files when some are named so, else those not named as test or validation files; of several configurations
    the usual one. Of a saved dict of data sets one split. Links inside of a folder are not followed, but for those of
    a hub's cache; hidden files, and files about the data such as README.md, are left out.

    Raises:
        EngineError: nothing there, no regular file, an unknown ending, a folder without prompt files, or several
            configurations of which none is the usual one.
    """
    mode = file_mode(source)
    if not stat.S_ISDIR(mode):
        refuse_special(source, mode)
        if source.suffix.lower() == ARCHIVE:
            refuse_pointer(source)
            with as_engine_errors(source):
                return _among(source, archive_entries(source), "archive")
        kind = file_format(source)
        if kind is None:
            ending = "".join(source.suffixes[-2:]) or source.name
            raise EngineError(f'unknown kind of file "{ending}"', where=str(source), hint=_known_endings())
        return Place(source, kind, (source,))
    if is_saved_dataset(source):
        return _with_split(source)
    found, links = _files_below(source)
    followed = f"; {links} symbolic links in it are not followed" if links else ""
    return _among(source, found, "folder", followed)


def find_datasets(sources: Sequence[Path]) -> dict[str, Path]:
    """Datasets by name: each of several files and folders; of one folder alone, each prompt file and folder in it.

    A name is that of the file without its endings, or with them where several would have the same. In a folder, what
    `find_place` leaves out is left out.

    Raises:
        EngineError: there is no dataset, or two would have one name.
    """
    found = list(sources)
    if len(found) == 1 and stat.S_ISDIR(file_mode(found[0])):
        found = _datasets_in(found[0])
    stems = Counter(map(_stem, found))
    datasets: dict[str, Path] = {}
    there: dict[str, Path] = {}
    for source in found:
        name = _stem(source) if stems[_stem(source)] == 1 else _name(source)
        # Some file systems take A and a for one.
        if (other := there.setdefault(name.casefold(), source)) is not source:
            hint = "Rename one of them: adapters are called like their datasets"
            raise EngineError(f"has the same name as {other}", where=str(source), hint=hint)
        datasets[name] = source
    return datasets


def _datasets_in(folder: Path) -> list[Path]:
    if is_saved_dataset(folder):
        raise EngineError("is one dataset", where=str(folder), hint="Make one adapter of it, or name its parent")
    with as_engine_errors(folder):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    kept = [
        Path(entry.path)
        for entry in entries
        if not entry.name.startswith(".") and not entry.is_symlink() and not _is_about(entry.name)
        if entry.is_dir() or entry.name.lower().endswith(ARCHIVE) or file_format(Path(entry.path)) is not None
    ]
    if not kept:
        raise EngineError("holds no datasets", where=str(folder), hint=_known_endings())
    return kept


def _name(source: Path) -> str:
    return source.resolve().name if source.name in ("", "..") else source.name


def _stem(source: Path) -> str:
    name = _name(source)
    unpacked = name[: len(name_unpacked(name))]
    ending = unpacked.rpartition(".")[2].lower()
    known = ending in FORMATS or ending in _ALIASES or f".{ending}" == ARCHIVE
    return unpacked[: -len(ending) - 1] or name if known and not source.is_dir() else name


def file_format(path: Path) -> str | None:
    """The format in the name of a file; None for an unknown ending."""
    name = name_unpacked(path.name)
    ending = name.rpartition(".")[2] if "." in name else ""
    ending = _ALIASES.get(ending, ending)
    return ending if ending in FORMATS else None


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` wrote this folder with save_to_disk."""
    with as_engine_errors(folder):
        one = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
        return one or (folder / "dataset_dict.json").is_file()


def _among(source: Path, found: list[Path], holder: str, remark: str = "") -> Place:
    kinds = {path: kind for path in found if not _is_about(path.name) and (kind := file_format(path)) is not None}
    splits = {path: set(_split_words(path.relative_to(source))) for path in kinds}
    trained = {kinds[path] for path in kinds if splits[path] & _TRAIN}
    for kind in FORMATS:
        files = [path for path in kinds if kinds[path] == kind]
        held_out = all(splits[path] & _HELD_OUT for path in files)
        if files and not (held_out and trained - {kind}):
            used = _usual_configuration(source, _training_files(source, files))
            return Place(source, kind, tuple(used), tuple(path for path in kinds if path not in set(used)))
    raise EngineError(f"the {holder} has no prompt files{remark}", where=str(source), hint=_known_endings())


def _with_split(source: Path) -> Place:
    """A saved data set; a saved dict of them narrowed to one split: train, or else the first."""
    index = source / "dataset_dict.json"
    if not index.is_file():
        return Place(source, DATASET, (source,))
    try:
        splits = [str(name) for name in json.loads(index.read_text(encoding="utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise broken_dataset(index, error) from error
    if not splits:
        raise EngineError("there are no prompts in it", where=str(source), hint="At least one prompt is needed")
    for split in splits:
        if Path(split).name != split:
            raise EngineError(f'"{split}" is no name of a split', where=str(index), hint="Save the data set again")
    used = "train" if "train" in splits else splits[0]
    return Place(source, DATASET, (source / used,), tuple(source / split for split in splits if split != used))


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
            if entry.name.startswith(HIDDEN):
                continue
            if entry.is_symlink():
                kept = _is_of_cache(path)
                links += not kept
                files += [path] if kept else []
            elif entry.is_dir(follow_symlinks=False):
                if not _is_about(entry.name):
                    waiting.append(path)
            elif entry.is_file(follow_symlinks=False):
                files.append(path)
    return sorted(files, key=lambda path: path.relative_to(folder).parts), links


def _is_about(name: str) -> bool:
    return name.partition(".")[0].lower() in _ABOUT


def _is_of_cache(link: Path) -> bool:
    """Whether a link leads from a snapshot of a hub's cache to the file that it stands for."""
    parts = link.absolute().parts
    if "snapshots" not in parts:
        return False
    kept = Path(*parts[: parts.index("snapshots")], "blobs")
    target = link.resolve()
    return target.is_file() and target.parent == kept.resolve()


def _training_files(source: Path, files: list[Path]) -> list[Path]:
    words = {path: set(_split_words(path.relative_to(source))) for path in files}
    train = [path for path in files if words[path] & _TRAIN]
    return train or [path for path in files if not words[path] & _HELD_OUT] or files


def _usual_configuration(source: Path, files: list[Path]) -> list[Path]:
    """Of files of several configurations, folders that each have their splits, those of one."""
    if any(not {*_split_words(Path(path.name))} & (_TRAIN | _HELD_OUT) for path in files):
        return files
    configurations = {path.parent.relative_to(source).as_posix(): None for path in files}
    if len(configurations) < 2:
        return files
    for usual in _USUAL:
        if usual in configurations:
            return [path for path in files if path.parent == source / usual]
    first = next(iter(configurations))
    raise EngineError(
        f"holds {len(configurations)} configurations: {', '.join(configurations)}",
        where=str(source),
        hint=f"Name one, for example {source / first}",
    )


def _split_words(path: Path) -> Iterator[str]:
    for part in path.parts:
        yield from re.split(r"[^a-z]+", part.lower())


def _known_endings() -> str:
    endings = ", ".join(f".{kind}" for kind in (*FORMATS, *_ALIASES))
    return f"Known endings: {endings}, each also with {' or '.join(PACKED)}, or in a {ARCHIVE} archive"
