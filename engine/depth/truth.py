"""What held-out rows say about a chain: intervals, a paired exact test, and the verdict in words. Pure.

A search looks at hundreds of chains: the best of them looks good on the rows it was chosen by even if all are equal.
So it is judged on rows that the search never saw, and compared with the base row by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.depth.scores import RowScores

GAIN, NO_GAIN, LOSS = "reliable gain", "no reliable gain", "reliable loss"

_Z = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_LEVEL = 0.05


@dataclass(frozen=True)
class Judgement:
    """A chain against the base on the same rows.

    base_right, chain_right: rows answered exactly; the intervals are those of the accuracy, 95 % (Wilson).
    gained, lost: rows only the chain, and only the base, answers exactly.
    p_value: of McNemar's exact test, two-sided.
    level: where the p-value counts as reliable.
    """

    rows: int
    base_right: int
    chain_right: int
    base_interval: tuple[float, float]
    chain_interval: tuple[float, float]
    gained: int
    lost: int
    p_value: float
    level: float

    @property
    def verdict(self) -> str:
        """GAIN, NO_GAIN or LOSS."""
        if self.p_value >= self.level:
            return NO_GAIN
        return GAIN if self.gained > self.lost else LOSS


def judge(base: RowScores, chain: RowScores, tests: int = 1) -> Judgement:
    """Compare the scores of base and chain on the same rows.

    Args:
        tests: how many chains are judged from which somebody may take the best (Bonferroni's correction).
    """
    rows = len(base.exact)
    pairs = list(zip(base.exact, chain.exact, strict=True))
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    return Judgement(
        rows=rows,
        base_right=base.right,
        chain_right=chain.right,
        base_interval=wilson_interval(base.right, rows),
        chain_interval=wilson_interval(chain.right, rows),
        gained=gained,
        lost=lost,
        p_value=mcnemar_p_value(gained, lost),
        level=_LEVEL / tests,
    )


def wilson_interval(right: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), also right near 0 and 1 and for few rows."""
    share, square = right / rows, _Z * _Z
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    half = _Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows * rows)) / (1 + square / rows)
    # At the ends rounding would leave a trace.
    return 0.0 if right == 0 else middle - half, 1.0 if right == rows else middle + half


def mcnemar_p_value(gained: int, lost: int) -> float:
    """Two-sided p-value of McNemar's exact test: how likely so uneven a split of the changed rows is by chance."""
    changed = gained + lost
    tail = sum(math.comb(changed, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)
