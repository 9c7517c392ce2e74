"""How good an adapter is, in one plain sentence: scores by row and arm in, text and figures out. Pure.

    32 of 40 right; the base alone 5; always answering 'billing' 8; with 8 examples in the prompt 31

One arm is called better than another only where the rows on which they differ show it (`better`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import stdev
from typing import Any

from engine.judge.statistics import bootstrap_interval, sign_test
from engine.tasks.labels import Baselines
from engine.tasks.metrics import RIGHT_OR_WRONG

# Below this p, a difference is no accident.
_SURE = 0.05
# 95 % of a normal distribution lie so many standard deviations around its mean.
_Z = 1.959963984540054
# The bootstrap of more rows takes much memory, and there the mean is normally distributed.
_BOOTSTRAP_ROWS = 1000
# A score this close to 1 is right: scores are sums of fractions.
_RIGHT = 1 - 1e-9


@dataclass(frozen=True)
class Better:
    """How two arms differ on the same rows.

    rows: all of them. wins, losses: rows on which the first, or the second, is better; the others are ties.
    p: of the exact two-sided sign test over wins and losses, which for right and wrong is McNemar's.
    """

    rows: int
    wins: int
    losses: int
    p: float

    @property
    def sure(self) -> bool:
        """Whether one of them is better."""
        return self.p < _SURE

    def sentence(self, first: str, second: str) -> str:
        """One sentence without its full stop; `first` and `second` name the arms."""
        if not self.sure:
            return f"No sure difference between {first} and {second} on {_rows(self.rows)}"
        if self.wins < self.losses:
            first, second = second, first
        # The name of an adapter stays as it is.
        begin = first[:1].upper() + first[1:] if first.startswith("the ") else first
        return f"{begin} is better than {second} ({_p(self.p)})"


@dataclass(frozen=True)
class ArmFigures:
    """One arm over all rows.

    mean: mean score. low, high: its 95 % interval. right: rows that are wholly right.
    """

    mean: float
    low: float
    high: float
    right: int


@dataclass(frozen=True)
class Verdict:
    """What the scores show.

    subject: the arm that is judged. rows: how many rows every arm was scored on.
    arms: figures by arm, the subject's too. against: by another arm, how the subject differs from it.
    differences: what `against` shows, a sentence an arm.
    """

    subject: str
    metric: str
    rows: int
    sentence: str
    arms: Mapping[str, ArmFigures]
    baselines: Baselines | None = None
    against: Mapping[str, Better] = field(default_factory=dict)
    differences: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "subject": self.subject,
            "metric": self.metric,
            "rows": self.rows,
            "sentence": self.sentence,
            "differences": list(self.differences),
            "arms": {arm: vars(figures) for arm, figures in self.arms.items()},
            "against": {arm: vars(one) | {"sure": one.sure} for arm, one in self.against.items()},
            "baselines": vars(self.baselines) if self.baselines else None,
        }


def verdict(
    scores: Mapping[str, Sequence[float]],
    subject: str,
    metric: str,
    baselines: Baselines | None,
    titles: Mapping[str, str],
) -> Verdict:
    """Judge one arm against the others.

    Args:
        scores: by arm, from 0 to 1, of the same rows in the same order; at least one row.
        subject: the arm that is judged.
        baselines: shown where the metric knows right and wrong; None where the answers are no labels.
        titles: how an arm is called inside a sentence; arms without one are called by their names.
    """
    rows = len(scores[subject])
    counted = metric in RIGHT_OR_WRONG
    shown = baselines if counted else None
    arms = {arm: _figures(own, counted) for arm, own in scores.items()}
    against = {arm: better(scores[subject], own) for arm, own in scores.items() if arm != subject}

    def figure(arm: str) -> str:
        return str(arms[arm].right) if counted else f"{arms[arm].mean:.2f}"

    own = f"{figure(subject)} of {rows} right" if counted else f"mean score {figure(subject)} on {_rows(rows)}"
    others = [f"{titles.get(arm, arm)} {figure(arm)}" for arm in against]
    if shown:
        # After the first of the others, which is the base.
        others.insert(1, f"always answering '{shown.majority_label}' {round(shown.majority * rows)}")
    differences = (one.sentence(titles.get(subject, subject), titles.get(arm, arm)) for arm, one in against.items())
    return Verdict(subject, metric, rows, "; ".join([own, *others]), arms, baselines, against, tuple(differences))


def better(scores_a: Sequence[float], scores_b: Sequence[float]) -> Better:
    """How sure it is that one arm is better than another on the rows that both answered, by the exact sign test.

    Raises:
        ValueError: they are not of the same number of rows.
    """
    pairs = list(zip(scores_a, scores_b, strict=True))
    wins, losses = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    return Better(len(pairs), wins, losses, sign_test(wins, losses))


def interval(scores: Sequence[float], *, counted: bool) -> tuple[float, float]:
    """The 95 % interval of the mean of at least one score.

    Args:
        counted: the scores are 0 or 1: Wilson's interval of a share. Else a bootstrap over the rows, or the normal
            interval of many rows.
    """
    rows = len(scores)
    share = sum(scores) / rows
    if not counted and rows <= _BOOTSTRAP_ROWS:
        return bootstrap_interval(scores, seed=0)
    if not counted:
        half = _Z * stdev(scores) / sqrt(rows)
        return share - half, share + half
    middle = share + _Z**2 / (2 * rows)
    half = _Z * sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    # Exactly 0 and 1 at the ends, where sums of fractions end a little beside them.
    low, high = ((middle + side * half) / (1 + _Z**2 / rows) for side in (-1, 1))
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)


def _figures(scores: Sequence[float], counted: bool) -> ArmFigures:
    low, high = interval(scores, counted=counted)
    return ArmFigures(sum(scores) / len(scores), low, high, sum(score >= _RIGHT for score in scores))


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _p(value: float) -> str:
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"
