"""Intervals and tests against known values; rows that stay apart."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.depth.rows import MOST_HELD_OUT, distinct_rows, split_rows
from engine.depth.scores import GAIN, LOSS, NO_GAIN, RowScores, judge
from engine.errors import EngineError
from engine.judge.statistics import sign_test
from engine.prompts import PromptRow

SOURCE = Path("rows.jsonl")


def scores(text: str) -> RowScores:
    return RowScores(tuple(letter == "1" for letter in text), (1.0,) * len(text))


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (8, 1, 0.0390625), (5, 5, 1.0)],
)
def test_mcnemar_by_hand(gained: int, lost: int, p: float) -> None:
    base, chain = scores("0" * gained + "1" * lost + "1"), scores("1" * gained + "0" * lost + "1")
    assert judge(base, chain).p_value == pytest.approx(p)
    assert judge(chain, base).p_value == judge(base, chain).p_value


@given(st.integers(0, 60))
def test_mcnemar_is_wrong_as_often_as_it_says_at_most(changed: int) -> None:
    """Exact: over all splits by fair chance, p < 0.05 comes up in at most 5 %."""
    weights = [math.comb(changed, gained) / 2**changed for gained in range(changed + 1)]
    small = [sign_test(gained, changed - gained) < 0.05 for gained in range(changed + 1)]
    assert sum(weight for weight, one in zip(weights, small, strict=True) if one) <= 0.05


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_of_the_literature(right: int, rows: int, low: float, high: float) -> None:
    assert scores("1" * right + "0" * (rows - right)).interval == pytest.approx((low, high), abs=1e-4)


def test_a_judgement_in_words() -> None:
    better = judge(scores("0" * 8 + "1" * 8), scores("1" * 16))
    assert (better.gained, better.lost, better.verdict) == (8, 0, GAIN)
    assert (better.base_right, better.chain_right, better.rows) == (8, 16, 16)
    assert judge(scores("1" * 16), scores("0" * 8 + "1" * 8)).verdict == LOSS
    assert judge(scores("0011"), scores("1111")).verdict == NO_GAIN
    # What is reliable for one chain need not be for the best of ten.
    assert judge(scores("0" * 8), scores("1" * 8), tests=1).verdict == GAIN
    assert judge(scores("0" * 8), scores("1" * 8), tests=10).verdict == NO_GAIN


def rows_of(*prompts: str) -> list[PromptRow]:
    return [PromptRow(number, prompt, ("yes",)) for number, prompt in enumerate(prompts, 1)]


def numbered(count: int, start: int = 0) -> list[PromptRow]:
    return rows_of(*(f"prompt {number}" for number in range(start, start + count)))


def test_prompts_that_come_again_are_left_out() -> None:
    rows = [*rows_of("One  two", "one TWO ", "three"), PromptRow(4, "four")]
    assert [row.number for row in distinct_rows(rows)] == [1, 3]
    assert [row.number for row in distinct_rows(rows, without=rows_of("THREE"))] == [1]


@given(st.integers(16, 200), st.integers(8, 64), st.integers(0, 5))
def test_no_prompt_is_on_both_sides(count: int, search: int, seed: int) -> None:
    rows = numbered(count) + numbered(count // 2)
    split = split_rows(rows, search, seed, source=SOURCE)
    one, other = ({row.prompt for row in side} for side in (split.search, split.held_out))
    assert not one & other and len(one) == len(split.search) == min(search, count // 2)
    assert len(other) == len(split.held_out) == min(MOST_HELD_OUT, count - len(one))
    assert split == split_rows(rows, search, seed, source=SOURCE)


def test_held_out_rows_of_their_own() -> None:
    split = split_rows(numbered(40), 32, 0, source=SOURCE, held_out=numbered(60), held_out_source=Path("test.jsonl"))
    searched = {row.prompt for row in split.search}
    assert len(searched) == 32 and len(split.held_out) == 28
    assert not searched & {row.prompt for row in split.held_out}


@pytest.mark.parametrize(
    ("rows", "held_out", "told"),
    [
        (numbered(15), None, "rows.jsonl: 15 different usable rows with labels; at least 16 are needed"),
        (rows_of(*["the same"] * 40), None, "rows.jsonl: 1 different usable rows"),
        ([PromptRow(number, f"{number}") for number in range(40)], None, "rows.jsonl: 0 different usable rows"),
        (numbered(40), numbered(15, 100), "test.jsonl: 15 different usable rows"),
        (numbered(32), numbered(40), "test.jsonl: 8 different usable rows"),
    ],
)
def test_too_few_rows_are_told(rows: list[PromptRow], held_out: list[PromptRow] | None, told: str) -> None:
    with pytest.raises(EngineError) as failed:
        split_rows(rows, 32, 0, source=SOURCE, held_out=held_out, held_out_source=Path("test.jsonl"))
    assert told in str(failed.value)
