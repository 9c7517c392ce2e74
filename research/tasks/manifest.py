"""What a task collection is made of: a manifest, an entry a task.

    {"caps": {...}, "families": [{"prefix": "bbh_", FIELDS OF ALL ITS TASKS, "tasks": {"bbh_navigate": {FIELDS}}}]}

Fields are those of `Entry`; those of a task go before those of its family. `$id` in one stands for the task's `id`:
its name without the family's `prefix`, unless it names one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import read_json
from engine.tasks.metrics import METRICS
from engine.tasks.tasks import SEEN

UNSEEN = "unseen"
EXCLUDED = "excluded"
"""The split of a task over a source of an unseen one: neither trained on nor judged."""


@dataclass(frozen=True)
class Caps:
    """The most training and test rows of a task, and characters of a prompt and of an answer."""

    train: int = 400
    test: int = 100
    prompt: int = 1400
    response: int = 400


@dataclass(frozen=True)
class Entry:
    """One task: where its rows come from and what becomes of them.

    Args:
        dataset: a name on the hub, a loader of `datasets` (json, csv, parquet), or a folder beside the manifest.
        prompt: a Jinja template over the columns of a row; `row` is the whole row. Class labels are their names.
        answer: a Jinja expression over the same. Of a list, every item is right, and the first is trained on.
        instruction: a template for the first paragraph of the prompt.
        source: the benchmark, as tables name it.
        origin: the data underneath. No origin may be that of a seen and of an unseen task.
        split: seen, unseen or excluded.
        data_files: for `datasets`; beside the manifest where `dataset` is a loader and they are no URLs.
        rows_in: a file is one JSON object, its rows are in this field; the other fields are columns too.
        train_from: the split that is drawn from.
        test_from: the split of the test rows; without it a quarter of `train_from`.
        where: a Jinja expression; rows for which it is false are left out.
        unverified: what of all this could not be looked up when the manifest was written.
    """

    name: str
    dataset: str
    prompt: str
    answer: str
    metric: str
    kind: str
    source: str
    licence: str
    origin: tuple[str, ...]
    split: str = SEEN
    instruction: str = ""
    config: str | None = None
    data_files: tuple[str, ...] = ()
    revision: str | None = None
    rows_in: str | None = None
    train_from: str = "train"
    test_from: str | None = None
    where: str = "true"
    unverified: str = ""


@dataclass(frozen=True)
class Manifest:
    """What to make; `folder` is where the manifest is."""

    folder: Path
    caps: Caps
    entries: Mapping[str, Entry]


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file.

    Raises:
        EngineError: no such file, a field that is unknown, missing or wrong, a name that comes twice, or an origin
            on both sides.
    """
    data = read_json(path)
    entries: dict[str, Entry] = {}
    for entry in _entries(data.get("families", []), path):
        if entry.name in entries:
            raise EngineError("a task comes twice", where=f"{path}, {entry.name}")
        entries[entry.name] = entry
    _refuse_origins_on_both_sides(entries.values(), path)
    return Manifest(path.parent, _filled(Caps, data.get("caps", {}), str(path)), entries)


def _entries(families: list[dict[str, Any]], path: Path) -> Iterator[Entry]:
    for family in families:
        common = {key: value for key, value in family.items() if key not in ("tasks", "prefix")}
        for name, own in family.get("tasks", {}).items():
            given = common | own
            identity = given.pop("id", name.removeprefix(family.get("prefix", "")))
            for key, value in given.items():
                many = [value] if isinstance(value, str) else value
                if not (isinstance(many, list) and many and all(isinstance(each, str) for each in many)):
                    raise EngineError(f"{key} should be a text, or a list of them", where=f"{path}, {name}")
                many = tuple(each.replace("$id", identity) for each in many)
                given[key] = many if key in ("origin", "data_files") else many[0]
            entry = _filled(Entry, {"name": name, **given}, f"{path}, {name}")
            for value, allowed in ((entry.metric, METRICS), (entry.split, (SEEN, UNSEEN, EXCLUDED))):
                if value not in allowed:
                    hint = f"One of {', '.join(allowed)}"
                    raise EngineError(f"{value!r} is unknown", where=f"{path}, {name}", hint=hint)
            yield entry


def _filled(kind: Any, given: Mapping[str, Any], where: str) -> Any:
    known = {each.name: each for each in fields(kind)}
    if unknown := sorted(set(given) - set(known)):
        raise EngineError(f"unknown field {unknown[0]!r}", where=where, hint=f"Fields: {', '.join(known)}")
    for name, each in known.items():
        if each.default is MISSING and not given.get(name):
            raise EngineError(f"the field {name!r} is missing", where=where)
    return kind(**given)


def _refuse_origins_on_both_sides(entries: Iterable[Entry], path: Path) -> None:
    judged = {origin: entry.name for entry in entries if entry.split == UNSEEN for origin in entry.origin}
    for entry in entries:
        for origin in entry.origin if entry.split == SEEN else ():
            if origin in judged:
                problem = f"is seen, and {judged[origin]} is unseen: both are over {origin!r}"
                hint = f"Give one of them the split {EXCLUDED!r}, or both the same"
                raise EngineError(problem, where=f"{path}, {entry.name}", hint=hint)
