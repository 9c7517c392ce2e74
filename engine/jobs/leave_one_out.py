"""Tables of several generators, each judged on the set it did not see, put into one. Light.

In the manner of arXiv 2506.16406 (section 4, common sense reasoning). For each set, adapters and generator are made
from the other sets, and judged on it: the average score of the training LoRAs, the best of them, the generated adapter.
The best one is found by looking at the held-out set itself, so it flatters the training LoRAs; the quality table's
"best library LoRA" does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.files import read_json, write_json, write_text
from engine.jobs.results import Result
from engine.judge.report import markdown_table, three_digits
from engine.requests import LeaveOneOutRequest
from engine.tasks.arms import GENERATED, LORA, MULTI_TASK


def leave_one_out_job(request: LeaveOneOutRequest, reporter: Reporter) -> Result:
    """Read the tables of `evaluate`, write leave_one_out.json and leave_one_out.md."""
    hint = "Run evaluate into that folder first"
    table = leave_one_out([(str(folder), read_json(folder / "table.json", hint)) for folder in request.tables])
    write_json(request.out / "leave_one_out.json", table.to_json())
    target = request.out / "leave_one_out.md"
    write_text(target, table.to_markdown())
    lines = [(name, "not measured" if mean is None else f"{mean:.3f}") for name, mean in table.means().items()]
    return Result(table.to_json(), (*lines, ("table", str(target))))


@dataclass(frozen=True)
class HeldOutSet:
    """Mean scores on one held-out set; `best_of` is the training set whose LoRA is the best; None: not measured."""

    name: str
    rows: int
    base: float | None
    multi_task: float | None
    average: float
    best: float
    best_of: str
    generated: float


@dataclass(frozen=True)
class LeaveOneOut:
    """All sets, each judged with a generator that did not see it."""

    sets: Sequence[HeldOutSet]

    def means(self) -> dict[str, float | None]:
        """Mean over the sets, column by column."""
        found: dict[str, float | None] = {}
        for column in _COLUMNS:
            values = [getattr(one, column) for one in self.sets]
            found[column] = None if None in values else sum(values) / len(values)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"sets": [vars(one) for one in self.sets], "means": self.means()}

    def to_markdown(self) -> str:
        """The table, and what its columns are."""
        rows = [[one.name, str(one.rows), *(three_digits(getattr(one, c)) for c in _COLUMNS)] for one in self.sets]
        rows.append(["**Mean**", "", *map(three_digits, self.means().values())])
        bests = ", ".join(f"{one.name}: {one.best_of}" for one in self.sets)
        return (
            markdown_table(["Held-out set", "Rows", *_COLUMNS.values()], rows, 1)
            + "\nAdapters and generator of each line never saw its set. Best training LoRA is the best on the held-out "
            f"set itself ({bests}).\n"
        )


_COLUMNS = {
    "base": "Base",
    "multi_task": "Multi-task LoRA",
    "average": "Average training LoRA",
    "best": "Best training LoRA",
    GENERATED: "Generated",
}


def leave_one_out(tables: Sequence[tuple[str, Mapping[str, Any]]]) -> LeaveOneOut:
    """The table out of several of `evaluate`'s table.json, by where they come from.

    Raises:
        EngineError: there is no table, one lacks the library's single adapters or the generated arm, or judges a set
            that another has judged.
    """
    if not tables:
        raise EngineError("no table is named", hint=f"Name the folder of each set's evaluate with {setting('tables')}")
    found: dict[str, HeldOutSet] = {}
    for where, table in tables:
        try:
            sets = [_held_out(task) for task in table["tasks"]]
        except (KeyError, TypeError, ValueError):
            hint = "Run `dnd-tui lab evaluate --arm library --arm generated` into that folder"
            raise EngineError("lacks the arms of a leave-one-out table", where=where, hint=hint) from None
        for one in sets:
            if one.name in found:
                raise EngineError(f"judges {one.name} a second time", where=where, hint="Name each set's table once")
            found[one.name] = one
    return LeaveOneOut([found[name] for name in sorted(found)])


def _held_out(task: Mapping[str, Any]) -> HeldOutSet:
    """Raises KeyError, TypeError or ValueError when an arm is missing."""
    scores: Mapping[str, float | None] = task["score"]
    single = {
        arm.removeprefix(LORA): float(score)
        for arm, score in scores.items()
        if arm.startswith(LORA) and score is not None
    }
    best_of = max(sorted(single), key=lambda name: single[name])
    return HeldOutSet(
        name=str(task["name"]),
        rows=int(task["rows"]),
        base=scores.get("base"),
        multi_task=scores.get(MULTI_TASK),
        average=sum(single.values()) / len(single),
        best=single[best_of],
        best_of=best_of,
        generated=float(scores[GENERATED]),  # type: ignore[arg-type]
    )
