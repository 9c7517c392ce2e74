"""Points of a training curve as a plot needs them: in order, thinned out, with ticks that can be read.

numpy comes with the plot; only screens with a plot import it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import ceil, floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray
from textual_plot import AxisFormatter

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


class Curve:
    """Points in the order of their steps; what is not finite is counted and left out."""

    def __init__(self) -> None:
        self._steps = array("d")
        self._values = array("d")
        self.left_out = 0

    def add(self, step: float, value: float) -> None:
        """Take in one point."""
        if isfinite(step) and isfinite(value):
            self._steps.append(step)
            self._values.append(value)
        else:
            self.left_out += 1

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last(self) -> float:
        """The newest value."""
        return self._values[-1]

    def points(self, *, positive: bool = False) -> Points:
        """Steps and values by step; `positive` leaves out what a logarithm does not know."""
        # Copies: a view would forbid the arrays to grow.
        steps, values = np.array(self._steps), np.array(self._values)
        order = np.argsort(steps, kind="stable")  # a resumed run goes over some steps again
        steps, values = steps[order], values[order]
        keep = values > 0 if positive else slice(None)
        return steps[keep], values[keep]


def thinned(steps: NDArray[np.float64], values: NDArray[np.float64], most: int) -> Points:
    """At most `most` points: the lowest and the highest of every stretch, so that no peak is lost."""
    if len(steps) <= most:
        return steps, values
    stretches = np.array_split(np.arange(len(steps)), max(most // 2, 1))
    extremes = [part[[values[part].argmin(), values[part].argmax()]] for part in stretches]
    kept = np.unique(np.concatenate(extremes))
    return steps[kept], values[kept]


class Ticks(AxisFormatter):
    """Ticks at 1, 2, 5, 10, ...; at most `most` of them."""

    def __init__(self) -> None:
        self.most = 8

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Multiples of the smallest such distance that gives no more than `most` ticks."""
        if not max_ > min_:  # zoomed in as far as numbers go
            return []
        least = (max_ - min_) / max(self.most, 1)
        power = 10.0 ** floor(log10(least))
        distance = next(times * power for times in (1, 2, 5, 10, 20) if times * power >= least)
        first = ceil(min_ / distance)
        return [number * distance for number in range(first, floor(max_ / distance) + 1)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """As many digits as the distance asks for; thousands as `k`, millions as `M`."""
        if not ticks:
            return []
        distance = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
        largest = max(map(abs, ticks))
        if 0 < largest < 1e-3:
            digits = max(1, floor(log10(largest)) - floor(log10(distance) + 1e-9))
            return [f"{tick:.{digits}e}" if tick else "0" for tick in ticks]
        size, letter = (1e6, "M") if largest >= 1e7 else (1e3, "k") if largest >= 1e4 else (1.0, "")
        digits = max(0, -floor(log10(distance / size) + 1e-9))
        return [f"{tick / size:.{digits}f}{letter if tick else ''}" for tick in ticks]


class LogTicks(Ticks):
    """The same for values of which the logarithm is plotted: 0.1, 0.2, 0.5, 1, ..."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Whole powers of ten and what is between them, as far as there is room; even distances in a narrow range."""
        powers = range(floor(min_), ceil(max_) + 1)
        for steps in ((1, 2, 5), (1,)):
            ticks = [power + log10(step) for power in powers for step in steps]
            ticks = [tick for tick in ticks if min_ <= tick <= max_]
            if len(ticks) <= self.most:
                break
        else:
            return ticks[:: ceil(len(ticks) / self.most)]
        if len(ticks) >= 2:
            return ticks
        return [log10(tick) for tick in super().get_ticks(10**min_, 10**max_) if tick > 0]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """The values themselves."""
        values = [10**tick for tick in ticks]
        labels = [f"{value:.4g}" for value in values]
        return labels if len(set(labels)) == len(labels) else super().get_labels_for_ticks(values)
