"""The quality table: two figures of the arms over unseen tasks, and how sure their differences are.

An arm is a way to answer (`arms`). A task counts once, however many rows it has: arms are compared by the mean of
their task means. Where an arm draws something at random, the mean is over seeds first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.judge.statistics import SAMPLES, Difference, Recovery, bootstrap_interval, difference, recovery
from engine.tasks.arms import ARMS, GENERATED, MULTI_TASK, ORACLE, OTHER_PROMPTS, SOLVED, TABLE_ARMS, arm_title
from engine.tasks.tasks import SharedPassages


@dataclass(frozen=True)
class Figure:
    """What is measured of an answer."""

    name: str
    title: str
    lower_is_better: bool


SCORE = Figure("score", "Score", lower_is_better=False)
BITS = Figure("bits_per_byte", "Bits per byte", lower_is_better=True)
FIGURES = (SCORE, BITS)


@dataclass(frozen=True)
class Run:
    """One arm's answers to one task with one seed.

    scores: of every test row. bits_per_byte: of the reference answers; None where these have no text.
    """

    seed: int
    scores: Sequence[float]
    bits_per_byte: float | None

    def figure(self, figure: Figure) -> float | None:
        """Its mean over the rows."""
        return self.bits_per_byte if figure is BITS else sum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class TaskRuns:
    """A task and its runs by arm, one a seed."""

    name: str
    metric: str
    source: str
    runs: Mapping[str, Sequence[Run]]

    def mean(self, arm: str, figure: Figure = SCORE) -> float | None:
        """Mean over the seeds; None if it was not measured."""
        return _mean(self.by_seed(arm, figure).values())

    def by_seed(self, arm: str, figure: Figure) -> dict[int, float]:
        """The figure by seed."""
        found = ((run.seed, run.figure(figure)) for run in self.runs.get(arm, ()))
        return {seed: value for seed, value in found if value is not None}

    @property
    def rows(self) -> int:
        """Number of judged test rows."""
        return max((len(run.scores) for runs in self.runs.values() for run in runs), default=0)


@dataclass(frozen=True)
class Cost:
    """Device seconds of one seed of an arm.

    making: for one task, mean: choosing, training or generating its adapter, and attaching it.
    answering: writing the answers to all tasks.
    """

    making: float
    answering: float


@dataclass(frozen=True)
class QualityTable:
    """Task figures with what follows from them.

    costs: by arm. unmeasured: by arm, why there are no figures. settings: by arm, what its answers depend on besides
    the settings of all. hide_instruction: the judged rows had lost their instruction. shared: passages of
    theirs that training rows hold too. seed: of the bootstrap.
    """

    tasks: Sequence[TaskRuns]
    costs: Mapping[str, Cost]
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hide_instruction: bool = False
    shared: Sequence[SharedPassages] = ()
    seed: int = 0

    @property
    def arms(self) -> list[str]:
        """Names of the arms in the order of the table, measured or not."""
        there = {arm for task in self.tasks for arm in task.runs} | set(self.unmeasured) | set(TABLE_ARMS)
        others = (arm for task in self.tasks for arm in task.runs if arm not in ARMS)
        return list(dict.fromkeys([*(arm for arm in ARMS if arm in there), *others, *self.unmeasured]))

    def task_means(self, arm: str, figure: Figure = SCORE) -> dict[str, float]:
        """Mean figure by task, of the tasks measured with this arm."""
        means = ((task.name, task.mean(arm, figure)) for task in self.tasks)
        return {name: mean for name, mean in means if mean is not None}

    def mean(self, arm: str, figure: Figure = SCORE) -> float | None:
        """Mean of the task means; None if the arm was not measured."""
        return _mean(self.task_means(arm, figure).values())

    def interval(self, arm: str, figure: Figure = SCORE) -> tuple[float, float] | None:
        """95 % bootstrap interval of that mean, over tasks."""
        means = list(self.task_means(arm, figure).values())
        return bootstrap_interval(means, seed=self.seed) if means else None

    def seed_means(self, arm: str, figure: Figure = SCORE) -> dict[int, float]:
        """Mean of the task figures by seed, of the seeds measured on every task of this arm."""
        tasks = [values for task in self.tasks if (values := task.by_seed(arm, figure))]
        common = set.intersection(*map(set, tasks)) if tasks else set()
        return {seed: sum(values[seed] for values in tasks) / len(tasks) for seed in sorted(common)}

    def spread(self, arm: str, figure: Figure = SCORE) -> float | None:
        """Standard deviation of the seeds' means; None below two seeds."""
        means = list(self.seed_means(arm, figure).values())
        if len(means) < 2:
            return None
        middle = sum(means) / len(means)
        return math.sqrt(sum((mean - middle) ** 2 for mean in means) / (len(means) - 1))

    def difference(self, arm: str, than: str, figure: Figure = SCORE) -> Difference | None:
        """`arm` against `than`; None if no task was measured with both."""
        one, other = self.task_means(arm, figure), self.task_means(than, figure)
        differences = [one[name] - other[name] for name in one if name in other]
        return difference(arm, than, differences, seed=self.seed, lower_is_better=figure.lower_is_better)

    @property
    def subject(self) -> str:
        """The arm that the table is about: the solved one where it was measured, else the generated one."""
        return SOLVED if self.task_means(SOLVED) else GENERATED

    def differences(self, figure: Figure = SCORE) -> list[Difference]:
        """The subject against each other arm that was measured."""
        found = (self.difference(self.subject, arm, figure) for arm in self.arms if arm != self.subject)
        return [one for one in found if one is not None]

    def recovery(self, arm: str = GENERATED, figure: Figure = SCORE) -> Recovery | None:
        """Part of the oracle's gain over the multi-task adapter that `arm` reaches; None if one was not measured."""
        start, own, oracle = (self.task_means(name, figure) for name in (MULTI_TASK, arm, ORACLE))
        names = [name for name in start if name in own and name in oracle]
        sign = -1 if figure.lower_is_better else 1
        return recovery(
            [sign * (own[name] - start[name]) for name in names],
            [sign * (oracle[name] - start[name]) for name in names],
            seed=self.seed,
        )

    def missing(self, arm: str) -> str:
        """Why an arm has no figures."""
        return self.unmeasured.get(arm, "was not asked for")

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; null stands for what was not measured."""
        return {
            "hide_instruction": self.hide_instruction,
            "subject": self.subject,
            "arms": {arm: self._arm_json(arm) for arm in self.arms},
            "differences": {figure.name: [vars(one) for one in self.differences(figure)] for figure in FIGURES},
            "recovery": {
                arm: {figure.name: vars(found) if (found := self.recovery(arm, figure)) else None for figure in FIGURES}
                for arm in (GENERATED, OTHER_PROMPTS)
            },
            "shared_passages": [pair._asdict() for pair in self.shared],
            "bootstrap": {"samples": SAMPLES, "seed": self.seed, "over": "tasks", "interval": 0.95},
            "tasks": [
                {
                    "name": task.name,
                    "source": task.source,
                    "metric": task.metric,
                    "rows": task.rows,
                    **{figure.name: {arm: task.mean(arm, figure) for arm in self.arms} for figure in FIGURES},
                }
                for task in self.tasks
            ],
        }

    def _arm_json(self, arm: str) -> dict[str, Any]:
        cost = self.costs.get(arm)
        figures = {
            figure.name: {
                "mean": self.mean(arm, figure),
                "interval": self.interval(arm, figure),
                "by_seed": self.seed_means(arm, figure),
                "spread": self.spread(arm, figure),
            }
            for figure in FIGURES
        }
        measured = len(self.task_means(arm))
        return {
            "title": arm_title(arm),
            "rule": ARMS[arm].rule if arm in ARMS else None,
            "settings": dict(self.settings.get(arm, {})),
            "tasks_measured": measured,
            "not_measured": None if measured else self.missing(arm),
            **figures,
            "making_seconds": cost.making if cost else None,
            "answering_seconds": cost.answering if cost else None,
        }


def _mean(values: Any) -> float | None:
    kept = list(values)
    return sum(kept) / len(kept) if kept else None
