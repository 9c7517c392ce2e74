"""A folder of tasks from public data sets, as a manifest says.

    python -m research.tasks.build OUT [--manifest FILE] [--only PATTERN] [--seed N]

The data sets are fetched by `datasets`. A task that is there, made with the same settings, is kept; one that cannot be
made is reported and left out. Can be killed: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from datasets import disable_progress_bars

from engine.errors import EngineError
from engine.files import digest_json, read_json, write_json, write_text
from engine.tasks.tasks import SEEN, TaskRow, rare_passages, read_rows
from research.tasks.manifest import UNSEEN, Entry, Manifest, read_manifest
from research.tasks.rows import draw_task

COLLECTION = Path(__file__).with_name("collection.json")
MADE, KEPT, MISSING = "made", "kept", "not made"


@dataclass(frozen=True)
class Outcome:
    """What became of an entry. `said`: the rows of the task, or why there is none."""

    entry: Entry
    state: str
    said: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 where there is no task in the end, or the manifest is wrong."""
    parser = argparse.ArgumentParser(prog="python -m research.tasks.build", description="Make a folder of tasks.")
    parser.add_argument("out", type=Path, help="the folder of tasks")
    parser.add_argument("--manifest", type=Path, default=COLLECTION, help="what to make (the released collection)")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="tasks whose names fit")
    parser.add_argument("--seed", type=int, default=0, help="which rows are drawn (0)")
    given = parser.parse_args(arguments)
    disable_progress_bars()  # a bar a table; those of downloads stay
    try:
        outcomes = build(read_manifest(given.manifest), given.out, given.only, given.seed)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    print(as_table(outcomes))
    return 0 if any(outcome.state != MISSING for outcome in outcomes) else 1


def build(manifest: Manifest, out: Path, only: Sequence[str] = (), seed: int = 0) -> list[Outcome]:
    """Make the tasks of a manifest whose names fit a pattern of `only`, or all; print what becomes of each.

    Unseen tasks come first. No training row of a seen task shares a passage with their test rows; so a seen task is
    made anew when these change.

    Raises:
        EngineError: `out` cannot be written, or its tasks.json is broken or not from here.
    """
    index_file = out / "tasks.json"
    index: dict[str, Any] = read_json(index_file) if index_file.exists() else {}
    if foreign := [name for name, about in index.items() if "settings" not in about]:
        raise EngineError(f"{foreign[0]} was made otherwise", where=str(index_file), hint="Choose another folder")
    index = {name: about for name, about in index.items() if name in manifest.entries}
    outcomes = []
    judged, rare = "", dict[str, str]()
    chosen = [each for each in manifest.entries.values() if not only or any(fnmatch(each.name, one) for one in only)]
    for entry in sorted(chosen, key=lambda each: each.split == SEEN):
        name = entry.name
        if entry.split == SEEN and not judged:
            judged, rare = _judged([each for each in index if manifest.entries[each].split == UNSEEN], out)
        settings = digest_json([asdict(entry), asdict(manifest.caps), seed, judged])
        about = index.get(name, {})
        if about.get("settings") == settings and all(file.is_file() for file in _files(out, name)):
            outcome = Outcome(entry, KEPT, f"{about['train']} train, {about['test']} test")
        else:
            index.pop(name, None)
            outcome = _make(entry, manifest, out, seed, rare, index, settings)
            write_json(index_file, dict(sorted(index.items())))
        outcomes.append(outcome)
        print(f"{outcome.state:8}  {name}: {outcome.said}", flush=True)
    write_json(index_file, dict(sorted(index.items())))
    return outcomes


def as_table(outcomes: Sequence[Outcome]) -> str:
    """How many tasks of each source were made, kept and not made; which were not, and whose names are not sure."""
    counts = Counter((outcome.entry.source, outcome.state) for outcome in outcomes)
    sources = sorted({outcome.entry.source for outcome in outcomes})
    width = max((len(source) for source in sources), default=0)
    lines = ["", f"{'source':{width}}  {MADE:>8}  {KEPT:>8}  {MISSING:>8}"]
    for source in sources:
        lines.append(f"{source:{width}}  " + "  ".join(f"{counts[source, state]:8}" for state in (MADE, KEPT, MISSING)))
    for title, said in (
        ("Not made:", [(each.said, each.entry.name) for each in outcomes if each.state == MISSING]),
        ("Not verified:", [(each.entry.unverified, each.entry.name) for each in outcomes if each.entry.unverified]),
    ):
        lines += ["", title] if said else []
        for why in dict(said):
            lines.append(f"  {why}: {', '.join(name for each, name in said if each == why)}")
    return "\n".join(lines)


def _make(
    entry: Entry, manifest: Manifest, out: Path, seed: int, rare: dict[str, str], index: dict[str, Any], settings: str
) -> Outcome:
    try:
        train, test, left_out = draw_task(entry, manifest.folder, manifest.caps, seed, rare)
    except Exception as error:  # `datasets`, its network and templates raise all kinds; the other tasks go on
        return Outcome(entry, MISSING, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    for file, rows in zip(_files(out, entry.name), (train, test), strict=True):
        write_text(file, "".join(json.dumps(row) + "\n" for row in map(_as_json, rows)))
    about = {key: getattr(entry, key) for key in ("source", "licence", "kind", "metric", "split", "origin")}
    index[entry.name] = {**about, "train": len(train), "test": len(test), "settings": settings}
    left = "".join(f"; {number} {reason}" for reason, number in sorted(left_out.items()) if number)
    return Outcome(entry, MADE, f"{len(train)} train, {len(test)} test{left}")


def _judged(names: Sequence[str], out: Path) -> tuple[str, dict[str, str]]:
    """A digest of the test rows of these tasks, and their passages."""
    texts = {name: [row.text for row in read_rows(_files(out, name)[1])] for name in sorted(names)}
    return digest_json(texts), rare_passages(texts)


def _files(out: Path, name: str) -> tuple[Path, Path]:
    return out / f"{name}.train.jsonl", out / f"{name}.test.jsonl"


def _as_json(row: TaskRow) -> dict[str, Any]:
    more = {"references": row.references} if len(row.references) > 1 else {}
    return {"prompt": row.prompt, "response": row.response, **more}


if __name__ == "__main__":
    sys.exit(main())
