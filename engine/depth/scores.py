"""What is known of a chain on some rows, and what held-out rows show of it beside the base. Light.

A search looks at hundreds of chains: the best of them looks good on the rows it was chosen by even if all are equal.
So it is judged on rows that the search never saw, and compared with the base row by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

GAIN, NO_GAIN, LOSS = "reliable gain", "no reliable gain", "reliable loss"

_LEVEL = 0.05


@dataclass(frozen=True)
class RowScores:
    """One entry a row, in the order of the rows.

    exact: greedy decoding gives the label, whole and with its end.
    loss: mean negative log-likelihood of the label's tokens, in nats.
    """

    exact: tuple[bool, ...]
    loss: tuple[float, ...]

    @property
    def right(self) -> int:
        """How many rows are answered exactly."""
        return sum(self.exact)

    @property
    def accuracy(self) -> float:
        """Share of the rows that are answered exactly."""
        return self.right / len(self.exact)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson 1927)."""
        from engine.judge.verdict import interval

        return interval(self.exact, counted=True)

    @property
    def mean_loss(self) -> float:
        """Mean over rows, in nats a token."""
        return sum(self.loss) / len(self.loss)

    @property
    def value(self) -> float:
        """What the search maximises, in [0, 1]: mean of accuracy and likelihood of a label's token, row by row.

        Accuracy alone, as published, moves in steps of one row and is 0 for most chains of a small model: it would
        not show which of two wrong chains is nearer.
        """
        likelihood = sum(math.exp(-loss) for loss in self.loss) / len(self.loss)
        return (self.accuracy + likelihood) / 2

    def to_json(self) -> dict[str, Any]:
        """Plain data, without single rows."""
        return {
            "rows": len(self.exact),
            "right": self.right,
            "accuracy": self.accuracy,
            "loss": self.mean_loss,
            "value": self.value,
        }

    def words(self) -> str:
        """Rows right, share with its 95 % interval, loss."""
        low, high = self.interval
        right = f"{self.right} of {len(self.exact)} right, {self.accuracy:.1%}"
        return f"{right} (95 % interval {low:.1%} to {high:.1%}), loss {self.mean_loss:.3f} nats a token"


def joined(parts: Iterable[RowScores]) -> RowScores:
    """The scores of several parts of the rows, as one."""
    found = list(parts)
    return RowScores(
        tuple(exact for part in found for exact in part.exact), tuple(loss for part in found for loss in part.loss)
    )


@dataclass(frozen=True)
class Judgement:
    """A chain against the base on the same rows.

    base_right, chain_right: rows answered exactly; the intervals are those of the accuracy, 95 % (Wilson).
    gained, lost: rows only the chain, and only the base, answers exactly.
    p_value: of McNemar's exact test, two-sided.
    verdict: GAIN, NO_GAIN or LOSS. level: where the p-value counts as reliable.
    """

    rows: int
    base_right: int
    chain_right: int
    base_interval: tuple[float, float]
    chain_interval: tuple[float, float]
    gained: int
    lost: int
    p_value: float
    verdict: str
    level: float = _LEVEL

    def words(self) -> str:
        """`no reliable gain (5 gained, 8 lost, p = 0.58)`."""
        return f"{self.verdict} ({self.gained} gained, {self.lost} lost, p = {self.p_value:.3g})"


def judge(base: RowScores, chain: RowScores, tests: int = 1) -> Judgement:
    """Compare the scores of base and chain on the same rows.

    Args:
        tests: how many chains are judged from which somebody may take the best (Bonferroni's correction).
    """
    from engine.judge.verdict import better

    found, level = better(chain.exact, base.exact), _LEVEL / tests
    changed = GAIN if found.wins > found.losses else LOSS
    return Judgement(
        rows=found.rows,
        base_right=base.right,
        chain_right=chain.right,
        base_interval=base.interval,
        chain_interval=chain.interval,
        gained=found.wins,
        lost=found.losses,
        p_value=found.p,
        verdict=changed if found.p < level else NO_GAIN,
        level=level,
    )
