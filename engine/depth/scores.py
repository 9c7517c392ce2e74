"""What is known of a chain on some rows. Pure: no tensors here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


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
    def mean_loss(self) -> float:
        """Mean over rows, in nats a token."""
        return sum(self.loss) / len(self.loss)

    @property
    def value(self) -> float:
        """What the search maximises, in [0, 1]: mean of accuracy and likelihood of a label's token, row by row.

        Accuracy alone, as published, moves in steps of one row and is 0 for most chains of a small model: it would
        not tell which of two wrong chains is nearer.
        """
        likelihood = sum(math.exp(-loss) for loss in self.loss) / len(self.loss)
        return (self.accuracy + likelihood) / 2


def joined(parts: Iterable[RowScores]) -> RowScores:
    """The scores of several parts of the rows, as one."""
    found = list(parts)
    return RowScores(
        tuple(exact for part in found for exact in part.exact), tuple(loss for part in found for loss in part.loss)
    )
