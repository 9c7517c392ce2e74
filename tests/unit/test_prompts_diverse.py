"""Which few prompts a person is asked to answer: such that differ."""

from __future__ import annotations

from engine.prompts.sample import MOST_LOOKED_AT, diverse_places

LEGS = [f"How many legs has a {animal}?" for animal in ("cat", "dog", "hen", "cow", "bee", "fox")]
OTHERS = ["Translate to French: I am hungry.", "Write a poem on autumn leaves", "12 + 7 ="]


def test_one_of_each_kind_is_chosen_before_two_of_one_kind() -> None:
    prompts = [*LEGS[:3], OTHERS[0], *LEGS[3:], *OTHERS[1:]]
    chosen = [prompts[place] for place in diverse_places(prompts, 4)]
    assert sum(prompt in LEGS for prompt in chosen) == 1
    assert set(OTHERS) < set(chosen)


def test_the_first_is_an_ordinary_one() -> None:
    prompts = [OTHERS[2], *LEGS]
    assert [prompts[place] in LEGS for place in diverse_places(prompts, 1)] == [True]


def test_equal_and_empty_prompts_are_asked_once_or_never() -> None:
    assert diverse_places(["one thing", "", "One  THING", "  ", "another"], 5) == [0, 4]
    assert diverse_places([], 3) == diverse_places(["", " "], 3) == diverse_places(LEGS, 0) == []


def test_fewer_prompts_than_wanted_are_all_taken_in_their_order() -> None:
    assert diverse_places(LEGS, 8) == list(range(6))


def test_later_prompts_are_not_looked_at() -> None:
    prompts = [*(f"prompt {number}" for number in range(MOST_LOOKED_AT)), "something else altogether"]
    chosen = diverse_places(prompts, 8)
    assert len(chosen) == 8 and max(chosen) < MOST_LOOKED_AT


def test_short_prompts_differ_too() -> None:
    assert diverse_places(["a", "b", "a"], 3) == [0, 1]
