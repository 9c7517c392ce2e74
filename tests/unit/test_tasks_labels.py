"""Which metric fits a set, and what is reached on it without reading a prompt."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tasks.labels import balanced, baselines, chosen_metric, few_labels


def rows(*answers: str) -> list[tuple[str, ...]]:
    return [(answer,) for answer in answers]


@pytest.mark.parametrize(
    ("references", "labels"),
    [
        (rows("yes", "No.", "no", "yes", "no", "no"), ("no", "yes")),
        ([("yes",), (), ("no", "No."), ("yes",), ("no",), ("yes",), ("yes",), ()], ("yes", "no")),
        # Too few rows an answer, one answer only, an answer that is too long, and one that is nothing.
        (rows("yes", "no", "yes", "no", "yes"), ()),
        (rows(*["yes"] * 9), ()),
        (rows(*["yes"] * 9, "x" * 41), ()),
        (rows(*["yes"] * 9, *["x" * 40] * 3), ("yes", "x" * 40)),
        (rows(*["yes"] * 9, *["no"] * 9, ""), ()),
        (rows(*map(str, range(20))) * 3, tuple(sorted(map(str, range(20)), key=int))),
        (rows(*map(str, range(21))) * 9, ()),
        ([], ()),
    ],
)
def test_few_labels(references: list[tuple[str, ...]], labels: tuple[str, ...]) -> None:
    assert few_labels(references) == labels


@pytest.mark.parametrize(
    ("references", "metric"),
    [
        (rows(*["spam", "ham"] * 3), "label"),
        (rows("12", "7.5", "-3"), "last_number"),
        (rows("12", "seven"), "rouge_l"),
        (rows("a sentence", "and another"), "rouge_l"),
        ([(), ()], "rouge_l"),
    ],
)
def test_the_metric_that_fits(references: list[tuple[str, ...]], metric: str) -> None:
    assert chosen_metric(references) == metric


def test_baselines_are_of_the_rows_that_are_judged() -> None:
    labels = ("billing", "refund", "other", "spam")
    found = baselines(rows("Refund", "refund", "spam", "billing"), labels)
    assert found and (found.chance, found.majority, found.majority_label) == (0.25, 0.5, "refund")
    assert found.words == "chance 25%, majority 50%"
    assert baselines([(), ()], labels) is None and baselines(rows("refund"), ()) is None


pairs = st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=30)


@given(pairs, st.integers(0, 30), st.integers(0, 5))
def test_a_balanced_draw_takes_the_labels_in_turns(found: list[tuple[str, int]], count: int, seed: int) -> None:
    numbered = [(label, (label, place)) for place, (label, _) in enumerate(found)]
    drawn = balanced(numbered, count, seed)
    assert drawn == balanced(numbered, count, seed)
    assert len(drawn) == len(set(drawn)) == min(count, len(found))
    there, taken = Counter(label for label, _ in found), Counter(label for label, _ in drawn)
    # A label is behind another only where all of it was taken.
    for label in there:
        assert taken[label] >= min(there[label], max(taken.values(), default=0) - 1)


def test_another_seed_draws_others() -> None:
    numbered = [(label, place) for place, label in enumerate("ab" * 20)]
    assert balanced(numbered, 8, 0) != balanced(numbered, 8, 1)
