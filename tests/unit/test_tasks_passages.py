"""Passages of 13 words that training rows share with judged rows."""

from __future__ import annotations

import random
import string

from hypothesis import given
from hypothesis import strategies as st

from engine.tasks.tasks import WORDS, SharedPassages, shared_passages


def text(seed: int, words: int) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices(string.ascii_lowercase, k=6)) for _ in range(words))


def test_rows_that_hold_a_passage_of_a_judged_row_are_counted_by_task() -> None:
    passage = text(0, WORDS)
    trained = {
        "none": [text(1, 40), text(2, 40)],
        "two": [f"{text(3, 5)} {passage} {text(4, 5)}", text(5, 30), passage, text(6, 30)],
        "one": [passage],
    }
    judged = {"unseen": [text(7, 30), f"{passage} {text(8, 9)}"], "other": [text(9, 30)]}
    assert shared_passages(trained.items(), judged) == [
        SharedPassages("one", "unseen", 1, 1),
        SharedPassages("two", "unseen", 2, 4),
    ]


def test_case_and_punctuation_do_not_count_and_twelve_words_are_no_passage() -> None:
    words = text(0, WORDS).split()
    shouted = ", ".join(words).upper() + "!"
    assert shared_passages([("task", [shouted])], {"judged": [" ".join(words)]})
    assert not shared_passages([("task", [" ".join(words[1:])])], {"judged": [" ".join(words)]})


def test_the_wording_of_the_questions_is_no_shared_text() -> None:
    asked = text(0, WORDS)
    judged = {"judged": [f"{asked} {text(number, 6)}" for number in range(1, 9)]}
    assert not shared_passages([("task", [f"{asked} {text(20, 6)}"])], judged)


@given(st.lists(st.text("ab ", max_size=60), max_size=6), st.lists(st.text("ab ", max_size=60), max_size=6))
def test_a_pair_is_found_exactly_where_a_rare_passage_stands_in_both(trained: list[str], judged: list[str]) -> None:
    def passages(row: str) -> set[tuple[str, ...]]:
        words = row.split()
        return {tuple(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}

    rare = {passage for row in judged for passage in passages(row)}
    rare = {passage for passage in rare if sum(passage in passages(row) for row in judged) <= 3}
    rows = sum(bool(passages(row) & rare) for row in trained)
    expected = [SharedPassages("task", "judged", rows, len(trained))] if rows else []
    assert shared_passages([("task", trained)], {"judged": judged}) == expected
