"""How sure a difference over tasks is: paired bootstrap, sign test, recovery. Numbers in, numbers out.

Tasks are what is resampled, because the question is how an arm does on a task it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

SAMPLES = 10_000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Difference:
    """How much one arm differs from another, over the tasks measured with both.

    mean: mean difference of the task means, `arm` less `than`. low, high: its 95 % interval. wins, losses: tasks on
    which `arm` is better or worse; the other tasks are ties. p: of the sign test over wins and losses.
    """

    arm: str
    than: str
    tasks: int
    mean: float
    low: float
    high: float
    wins: int
    losses: int
    p: float


@dataclass(frozen=True)
class Recovery:
    """How much of the oracle's gain over the multi-task adapter another arm reaches, over `tasks` tasks.

    gain: what the oracle gains, in the units of the figure, better being positive. gain_low, gain_high: its 95 %
    interval. part: the part of it that is reached, 1 being all; None where the gain is not surely above zero, since
    a ratio to about nothing means nothing. low, high: the 95 % interval of the part.
    """

    tasks: int
    gain: float
    gain_low: float
    gain_high: float
    part: float | None
    low: float | None
    high: float | None


def bootstrap_interval(values: Sequence[float], *, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of at least one value."""
    low, high = np.quantile(_resampled_means(np.asarray(values, dtype=np.float64)[None], seed)[0], [0.025, 0.975])
    return float(low), float(high)


def difference(
    arm: str, than: str, differences: Sequence[float], *, seed: int, lower_is_better: bool = False
) -> Difference | None:
    """The mean of paired differences and its 95 % percentile bootstrap interval; None without any.

    Args:
        differences: one a task, `arm` less `than`.
    """
    if not differences:
        return None
    low, high = bootstrap_interval(differences, seed=seed)
    above, below = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    wins, losses = (below, above) if lower_is_better else (above, below)
    mean = sum(differences) / len(differences)
    return Difference(arm, than, len(differences), mean, low, high, wins, losses, sign_test(wins, losses))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of the exact sign test: how likely a split at least this uneven is if both arms are equally good.

    Ties are left out before.
    """
    count, few = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(comb(count, below) for below in range(few + 1)) / 2**count)


def recovery(gains: Sequence[float], oracle_gains: Sequence[float], *, seed: int) -> Recovery | None:
    """Part of the oracle's gain that is reached: the ratio of the mean gains, with a bootstrap over tasks.

    Args:
        gains, oracle_gains: by task, what the arm and the oracle gain over the multi-task adapter, better being
            positive; both of the same tasks. None comes back without any.
    """
    if not gains:
        return None
    own, oracle = _resampled_means(np.asarray([gains, oracle_gains], dtype=np.float64), seed)
    gain = float(np.mean(oracle_gains))
    gain_low, gain_high = (float(end) for end in np.quantile(oracle, [0.025, 0.975]))
    if gain_low <= 0:
        return Recovery(len(gains), gain, gain_low, gain_high, None, None, None)
    # The few samples in which the oracle gains nothing have no ratio; they count as the ends they run off to.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(oracle > 0, own / oracle, np.copysign(np.inf, own))
    low, high = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf")
    return Recovery(len(gains), gain, gain_low, gain_high, float(np.mean(gains)) / gain, float(low), float(high))


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """(K, tasks) -> (K, SAMPLES): means over tasks drawn with replacement, the same draw for each of the K."""
    drawn = np.random.default_rng(seed).integers(0, values.shape[1], size=(SAMPLES, values.shape[1]))
    return values[:, drawn].mean(axis=2)
