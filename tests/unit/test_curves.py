"""Points of a curve and ticks of its axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.widgets.curves import Curve, LogTicks, Ticks, thinned
from engine.forge.curves import smoothed

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300).map(np.array)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    curve = Curve()
    for step, value in enumerate([1.0, math.nan, 0.0, math.inf, -1.0, 2.0]):
        curve.add(step, value)
    assert curve.left_out == 2 and len(curve) == 4 and curve.last == 2.0
    assert curve.points()[1].tolist() == [1.0, 0.0, -1.0, 2.0]
    assert curve.points(positive=True)[0].tolist() == [0.0, 5.0]


def test_points_can_be_added_after_they_were_looked_at_and_come_in_the_order_of_steps() -> None:
    curve = Curve()
    curve.add(2, 20.0)
    curve.points()
    curve.add(1, 10.0)
    assert curve.points()[0].tolist() == [1.0, 2.0]


@given(VALUES)
def test_the_mean_stays_between_the_extremes(values: np.ndarray) -> None:
    mean = smoothed(values)
    assert mean.shape == values.shape
    room = 1e-6 * (1 + np.abs(values).sum())
    assert mean.min() >= values.min() - room and mean.max() <= values.max() + room


def test_the_mean_evens_out_a_zigzag() -> None:
    assert np.ptp(smoothed(np.tile([0.0, 1.0], 600))) < 0.1


@given(VALUES, st.integers(2, 50))
def test_thinning_keeps_the_order_and_the_extremes(values: np.ndarray, most: int) -> None:
    steps, kept = thinned(np.arange(float(len(values))), values, most)
    assert len(steps) <= max(most, 2)
    assert np.all(np.diff(steps) > 0) and np.array_equal(values[steps.astype(int)], kept)
    assert kept.min() == values.min() and kept.max() == values.max()


@pytest.mark.parametrize("kind", [Ticks, LogTicks])
@given(st.floats(-6, 6), st.floats(0.001, 10), st.integers(2, 20))
def test_ticks_are_inside_the_axis_in_order_and_not_too_many(
    kind: type[Ticks], low: float, length: float, most: int
) -> None:
    ticks = kind()
    ticks.most = most
    found, labels = ticks.get_ticks_and_labels(low, low + length)
    assert len(found) == len(labels) <= most + 1
    assert found == sorted(set(found))
    assert all(low - 1e-9 <= tick <= low + length + 1e-9 for tick in found)
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 100_000.0, ["0", "20k", "40k", "60k", "80k", "100k"]),
        (0.0, 3.1, ["0", "1", "2", "3"]),
        (0.21, 0.34, ["0.25", "0.30"]),
        (0.0, 4e7, ["0", "10M", "20M", "30M", "40M"]),
        (0.0, 0.00031, ["0", "1.0e-04", "2.0e-04", "3.0e-04"]),
    ],
)
def test_labels_are_short(low: float, high: float, labels: list[str]) -> None:
    ticks = Ticks()
    ticks.most = 5
    assert ticks.get_ticks_and_labels(low, high)[1] == labels


def test_labels_of_logarithms_are_the_values() -> None:
    ticks = LogTicks()
    ticks.most = 5
    assert ticks.get_ticks_and_labels(math.log10(0.04), math.log10(1.5))[1] == ["0.05", "0.1", "0.2", "0.5", "1"]
