"""The quality table: scores of the arms over unseen tasks, and how sure their differences are.

An arm is a way to answer: the base alone, one LoRA for all tasks, a LoRA generated from a task's prompts. A task
counts once, however many rows it has: arms are compared by the mean of their task means. The differences are
bootstrapped over tasks, because the question is how an arm does on a task it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

GENERATED = "generated"

ARM_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "base": "Base",
        "mean": "Mean adapter",
        "multi_task": "Multi-task LoRA",
        "other_prompts": "Generated, other tasks' prompts",
        GENERATED: "Generated",
    }
)
"""The arms every table names, in the order of the table; further arms follow in the order they were measured."""

_MISSING = "not measured"


@dataclass(frozen=True)
class TaskScores:
    """A task, and the score of every test row by arm: `rows[arm]` is as long as the task has judged rows."""

    name: str
    metric: str
    source: str
    rows: Mapping[str, Sequence[float]]

    def mean(self, arm: str) -> float | None:
        """Mean score of the arm over the rows; None if it was not measured."""
        scores = self.rows.get(arm)
        return sum(scores) / len(scores) if scores else None


@dataclass(frozen=True)
class Difference:
    """How much better one arm is than another, over the tasks measured with both.

    mean: mean difference of the task means. low, high: its 95 % interval. wins, losses: tasks with a higher or lower
    mean; the other tasks are ties.
    """

    arm: str
    than: str
    tasks: int
    mean: float
    low: float
    high: float
    wins: int
    losses: int


@dataclass(frozen=True)
class QualityTable:
    """Task scores with what follows from them.

    seconds: by arm, device seconds spent on all its tasks: making and attaching its adapters, and answering.
    seed: of the bootstrap.
    """

    tasks: Sequence[TaskScores]
    seconds: Mapping[str, float]
    seed: int = 0

    @property
    def arms(self) -> list[str]:
        """Names of the arms in the order of the table, measured or not."""
        measured = (arm for task in self.tasks for arm in task.rows)
        return list(dict.fromkeys([*ARM_TITLES, *measured]))

    def task_means(self, arm: str) -> dict[str, float]:
        """Mean score by task, of the tasks measured with this arm."""
        means = ((task.name, task.mean(arm)) for task in self.tasks)
        return {name: mean for name, mean in means if mean is not None}

    def mean(self, arm: str) -> float | None:
        """Mean of the task means; None if the arm was not measured."""
        means = self.task_means(arm).values()
        return sum(means) / len(means) if means else None

    def difference(self, arm: str, than: str) -> Difference | None:
        """`arm` against `than`; None if no task was measured with both."""
        one, other = self.task_means(arm), self.task_means(than)
        return difference(arm, than, [one[name] - other[name] for name in one if name in other], seed=self.seed)

    def differences(self) -> list[Difference]:
        """The generated arm against each other arm that was measured."""
        found = (self.difference(GENERATED, arm) for arm in self.arms if arm != GENERATED)
        return [one for one in found if one is not None]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; null stands for what was not measured."""
        return {
            "arms": {
                arm: {
                    "title": _title(arm),
                    "mean": self.mean(arm),
                    "tasks_measured": len(self.task_means(arm)),
                    "device_seconds": self.seconds.get(arm),
                }
                for arm in self.arms
            },
            "differences": [vars(one) for one in self.differences()],
            "bootstrap": {"samples": _SAMPLES, "seed": self.seed, "over": "tasks"},
            "tasks": [
                {
                    "name": task.name,
                    "source": task.source,
                    "metric": task.metric,
                    "rows": _row_count(task),
                    "means": {arm: task.mean(arm) for arm in self.arms},
                }
                for task in self.tasks
            ],
        }

    def to_markdown(self) -> str:
        """Two tables: means by task and arm, and the generated arm against each other."""
        arms = self.arms
        lines = [_line(["Task", "Source", "Metric", "Rows", *map(_title, arms)])]
        lines.append(_line(["---", "---", "---", "---:"] + ["---:"] * len(arms)))
        for task in self.tasks:
            figures = [_figure(task.mean(arm)) for arm in arms]
            lines.append(_line([task.name, task.source, task.metric, str(_row_count(task)), *figures]))
        lines.append(_line(["**Mean over tasks**", "", "", "", *map(self._mean_cell, arms)]))
        seconds = [f"{self.seconds[arm]:.0f}" if arm in self.seconds else _MISSING for arm in arms]
        lines.append(_line(["Device seconds", "", "", "", *seconds]))
        found = self.differences()
        if found:
            lines += ["", _line(["Generated against", "Difference", "95 % interval", "Better on", "Worse on", "Tasks"])]
            lines.append(_line(["---"] + ["---:"] * 5))
        for one in found:
            interval = f"{one.low:+.3f} to {one.high:+.3f}"
            counts = [str(one.wins), str(one.losses), str(one.tasks)]
            lines.append(_line([_title(one.than), f"{one.mean:+.3f}", interval, *counts]))
        return "\n".join(lines) + "\n"

    def _mean_cell(self, arm: str) -> str:
        measured = len(self.task_means(arm))
        note = f" ({measured} of {len(self.tasks)} tasks)" if 0 < measured < len(self.tasks) else ""
        return _figure(self.mean(arm)) + note


def difference(arm: str, than: str, differences: Sequence[float], *, seed: int) -> Difference | None:
    """The mean of paired differences and its 95 % percentile bootstrap interval; None without any.

    Args:
        differences: one a task, `arm` less `than`.
    """
    if not differences:
        return None
    values = np.asarray(differences, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(values), size=(_SAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Difference(
        arm=arm,
        than=than,
        tasks=len(values),
        mean=float(values.mean()),
        low=float(low),
        high=float(high),
        wins=int((values > 0).sum()),
        losses=int((values < 0).sum()),
    )


_SAMPLES = 10_000


def _title(arm: str) -> str:
    return ARM_TITLES.get(arm, arm)


def _row_count(task: TaskScores) -> int:
    return max(map(len, task.rows.values()), default=0)


def _figure(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
