"""The moving mean of a training curve, for every place that draws one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def smoothed(values: ArrayLike) -> NDArray[np.float64]:
    """Moving mean over a thirtieth of the points around each: (n,) to (n,)."""
    values = np.asarray(values, np.float64)
    reach = len(values) // 60
    sums = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(len(values))
    first, end = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)
