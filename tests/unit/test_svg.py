"""Axes of the pictures."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from engine.svg import axis_ticks


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_axis_ticks_enclose_what_they_measure(low: float, span: float) -> None:
    ticks = axis_ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span)
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 8 and all(after > before for before, after in pairwise(ticks))
