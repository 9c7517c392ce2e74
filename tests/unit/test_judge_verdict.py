"""One plain sentence about an adapter, and when one arm may be called better."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.judge.verdict import better, interval, verdict
from engine.tasks.labels import Baselines

TITLES = {
    "base": "the base alone",
    "examples": "with 8 examples in the prompt",
    "solved": "the adapter",
}


def shares(right: int, of: int = 40) -> list[float]:
    """The first rows right, the others wrong."""
    return [1.0] * right + [0.0] * (of - right)


def test_right_answers_are_counted_beside_the_base_chance_and_examples() -> None:
    scores = {"base": shares(5), "examples": shares(31), "solved": shares(32)}
    found = verdict(scores, "solved", "label", Baselines(0.2, 0.2, "billing"), TITLES)
    assert found.sentence == (
        "32 of 40 right; the base alone 5; always answering 'billing' 8; with 8 examples in the prompt 31"
    )
    assert found.differences == (
        "The adapter is better than the base alone (p < 0.001)",
        "No sure difference between the adapter and with 8 examples in the prompt on 40 rows",
    )
    assert (found.rows, found.arms["solved"].right, found.arms["solved"].mean) == (40, 32, 0.8)
    data = json.loads(json.dumps(found.to_json()))
    assert data["against"]["base"] == {"rows": 40, "wins": 27, "losses": 0, "p": 2 / 2**27, "sure": True}
    assert data["baselines"] == {"chance": 0.2, "majority": 0.2, "majority_label": "billing"}
    assert data["arms"]["solved"]["low"] < 0.8 < data["arms"]["solved"]["high"]


def test_an_adapter_keeps_its_own_name() -> None:
    assert better(shares(6, 6), shares(0, 6)).sentence("mine", "the base alone") == (
        "mine is better than the base alone (p = 0.031)"
    )


def test_graded_scores_are_told_by_their_means() -> None:
    scores = {"base": [0.2, 0.4], "solved": [0.5, 0.72]}
    found = verdict(scores, "solved", "rouge_l", Baselines(0.5, 0.5, "x"), TITLES)
    assert found.sentence == "mean score 0.61 on 2 rows; the base alone 0.30"
    assert found.differences == ("No sure difference between the adapter and the base alone on 2 rows",)


def test_an_adapter_that_is_worse_is_said_to_be() -> None:
    found = verdict({"base": shares(9, 9), "mine": shares(0, 9)}, "mine", "exact_match", None, TITLES)
    assert found.sentence == "0 of 9 right; the base alone 9"
    assert found.differences == ("The base alone is better than mine (p = 0.004)",)


@pytest.mark.parametrize(
    ("a", "b", "p", "sure"),
    [
        # Six rows that differ, all the same way: 2 / 2^6; five: 2 / 2^5.
        (shares(6, 9), shares(0, 9), 0.03125, True),
        (shares(5, 9), shares(0, 9), 0.0625, False),
        ([0.3] * 6, [0.2] * 6, 0.03125, True),
        ([0.5, 0.1], [0.5, 0.1], 1.0, False),
    ],
)
def test_better_only_where_it_is_sure(a: list[float], b: list[float], p: float, sure: bool) -> None:
    found = better(a, b)
    assert (found.p, found.sure) == (p, sure)
    assert (better(b, a).wins, better(b, a).losses) == (found.losses, found.wins)


def test_arms_of_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError):
        better([1.0], [1.0, 0.0])


def test_wilsons_interval_is_the_one_of_the_textbook() -> None:
    # Newcombe 1998, method 3: 81 of 263 and 0 of 20.
    assert interval(shares(81, 263), counted=True) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval(shares(0, 20), counted=True) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=200))
def test_an_interval_holds_its_mean_and_stays_between_0_and_1(scores: list[float]) -> None:
    low, high = interval(scores, counted=True)
    assert 0.0 <= low <= sum(scores) / len(scores) <= high <= 1.0


@pytest.mark.parametrize("rows", [900, 1100])
def test_the_interval_of_a_graded_mean_is_about_two_standard_errors(rows: int) -> None:
    low, high = interval([0.25, 0.75] * (rows // 2), counted=False)
    error = 0.25 / rows**0.5
    assert (low, high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=error / 10)
