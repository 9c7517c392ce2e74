"""The table of chains over tasks: base, best chains, generated adapter, adapter and chain. Pure.

Every arm of a task is judged on the same rows, that no search saw, and compared with the base row by row. One test a
cell: of many cells some look reliable by chance, so their number stands beside the reliable ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.depth.chain import Chain, format_chain
from engine.depth.scores import RowScores
from engine.depth.speed import Speed
from engine.depth.truth import GAIN, LOSS, Judgement, judge

BASE, ADAPTER, ADAPTER_CHAIN = "base", "adapter", "adapter_chain"
CHAIN_ARMS = ("skip", "loop", "both")
"""Arms of the base alone with its best chain, by what the search may do."""

ARMS: Mapping[str, str] = {
    BASE: "Base",
    "skip": "Best skips",
    "loop": "Best loops",
    "both": "Best of both",
    ADAPTER: "Adapter",
    ADAPTER_CHAIN: "Adapter, best of both",
}
"""Titles of the arms, in their order."""


@dataclass(frozen=True)
class Cell:
    """One arm of one task.

    chain: that the arm runs. scores: on the held-out rows.
    search_right: how many rows of the search it answers; None where nothing was searched.
    """

    chain: Chain
    scores: RowScores
    search_right: int | None = None


@dataclass(frozen=True)
class TaskCells:
    """A task's finished arms; `speed` is empty until all of them are there.

    rows: of the search.
    """

    name: str
    split: str
    rows: int
    cells: Mapping[str, Cell] = field(default_factory=dict)
    speed: Mapping[str, Speed] = field(default_factory=dict)

    def against(self, arm: str, other: str = BASE) -> Judgement | None:
        """The comparison of an arm with another one; None while one of them is missing."""
        if arm not in self.cells or other not in self.cells:
            return None
        return judge(self.cells[other].scores, self.cells[arm].scores)

    def ratio(self, arm: str) -> Speed | None:
        """How many times the base's speed; None where it was not measured."""
        if arm not in self.speed:
            return None
        own, base = self.speed[arm], self.speed[BASE]
        return Speed(own.prefill / base.prefill, own.decode / base.decode)


@dataclass(frozen=True)
class DepthTable:
    """All tasks so far.

    settings: plain data, what the table was made with.
    left_out: tasks that cannot be measured, and why.
    """

    settings: Mapping[str, Any]
    tasks: Sequence[TaskCells]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def arm(self, arm: str) -> dict[str, Any]:
        """An arm over all tasks whose arms are all there: arithmetic means, of speed ratios geometric ones."""
        whole = [task for task in self.tasks if len(task.cells) == len(ARMS)]
        judged = [judgement for task in whole if (judgement := task.against(arm)) is not None]
        ratios = [ratio for task in whole if (ratio := task.ratio(arm)) is not None]
        return {
            "tasks": len(whole),
            "accuracy": _mean(task.cells[arm].scores.accuracy for task in whole),
            "layers": _mean(len(task.cells[arm].chain) for task in whole),
            "prefill_ratio": _geometric_mean(ratio.prefill for ratio in ratios),
            "decode_ratio": _geometric_mean(ratio.decode for ratio in ratios),
            "reliable_gains": sum(judgement.verdict == GAIN for judgement in judged),
            "reliable_losses": sum(judgement.verdict == LOSS for judgement in judged),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "settings": dict(self.settings),
            "arms": {arm: {"title": title} | self.arm(arm) for arm, title in ARMS.items()},
            "tasks": [
                {
                    "name": task.name,
                    "split": task.split,
                    "search_rows": task.rows,
                    "arms": {arm: _cell_data(task, arm) for arm in ARMS if arm in task.cells},
                }
                for task in self.tasks
            ],
            "left_out": dict(self.left_out),
        }


def _cell_data(task: TaskCells, arm: str) -> dict[str, Any]:
    cell, speed, ratio = task.cells[arm], task.speed.get(arm), task.ratio(arm)
    return {
        "chain": format_chain(cell.chain),
        "length": len(cell.chain),
        "search_right": cell.search_right,
        "right": cell.scores.right,
        "accuracy": cell.scores.accuracy,
        "loss": cell.scores.mean_loss,
        "against_base": _judgement_data(task.against(arm)),
        "against_adapter": _judgement_data(task.against(arm, ADAPTER)) if arm == ADAPTER_CHAIN else None,
        "speed": None if speed is None else asdict(speed),
        "speed_ratio": None if ratio is None else asdict(ratio),
    }


def _judgement_data(judgement: Judgement | None) -> dict[str, Any] | None:
    return None if judgement is None else asdict(judgement) | {"verdict": judgement.verdict}


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _geometric_mean(values: Iterable[float]) -> float | None:
    mean = _mean(map(math.log, values))
    return None if mean is None else math.exp(mean)
