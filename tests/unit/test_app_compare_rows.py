"""Answers by prompt and arm: what the Compare screen counts."""

from __future__ import annotations

import pytest

from dnd_tui.screens.compare.rows import Answer, Comparison
from engine.events import AnswerText


def answered(
    comparison: Comparison, row: int, arm: str, text: str, score: float | None, *, seconds: float = 2.0
) -> None:
    answer = comparison.prompts[row].answers.setdefault(arm, Answer())
    answer.take(AnswerText(row, arm, "", tokens=1, seconds=1.0))
    answer.take(AnswerText(row, arm, text, done=True, tokens=5, seconds=seconds, score=score, asked=30))


@pytest.fixture
def comparison() -> Comparison:
    comparison = Comparison(("base", "topics"))
    for number in (1, 2, 3):
        comparison.prompt(number, f"prompt {number}", ("yes",))
    return comparison


def test_scores_count_only_prompts_that_every_arm_answered(comparison: Comparison) -> None:
    answered(comparison, 1, "base", "no", 0.0)
    answered(comparison, 1, "topics", "yes", 1.0)
    answered(comparison, 2, "base", "yes", 1.0)
    base, topics = comparison.scores({})
    assert (base.mean, base.right, base.judged) == (0.0, 0, 1)
    assert (topics.mean, topics.right, topics.judged) == (1.0, 1, 1)
    answered(comparison, 2, "topics", "perhaps", 0.5)
    base, topics = comparison.scores({})
    assert (base.mean, topics.mean, topics.right, topics.judged) == (0.5, 0.75, 1, 2)


def test_without_labels_nothing_is_scored(comparison: Comparison) -> None:
    for arm in comparison.arms:
        answered(comparison, 1, arm, "hm", None)
    assert comparison.measured("rouge_l") == []
    assert [(arm.mean, arm.words) for arm in comparison.scores({})] == [(None, ["1 answered"])] * 2
    assert comparison.prompts[1].sign("base") == "•"


def test_signs_tell_right_wrong_and_between(comparison: Comparison) -> None:
    prompt = comparison.prompts[1]
    assert prompt.sign("base") == "·"
    prompt.answers["base"] = Answer("y")
    assert prompt.sign("base") == "…"
    for score, sign in ((1.0, "✓"), (0.0, "✗"), (0.4, "~")):
        comparison.begin([1])
        answered(comparison, 1, "base", "yes", score)
        assert prompt.sign("base") == sign


def test_half_an_answer_of_a_stopped_run_is_forgotten(comparison: Comparison) -> None:
    for arm in comparison.arms:
        answered(comparison, 1, arm, "yes", 1.0)
    answered(comparison, 2, "base", "yes", 1.0)
    comparison.prompts[2].answers["topics"] = Answer("y")
    comparison.forget_unfinished()
    assert comparison.prompts[1].done and not comparison.prompts[2].answers
    assert [row.number for row in comparison.transcript_rows()] == [1]


def test_picks_add_to_earlier_ones_and_can_be_taken_back(comparison: Comparison) -> None:
    comparison.prompts[1].pick = "topics"
    comparison.prompts[2].pick = "base"
    assert comparison.picks({"topics": 3}) == {"base": 1, "topics": 4}
    comparison.prompts[2].pick = None
    assert comparison.picks({"topics": 3}) == {"base": 0, "topics": 4}


def test_the_next_pick_goes_round_the_arms_beside_the_base() -> None:
    comparison = Comparison(("base", "one", "two"))
    prompt = comparison.prompt(1, "prompt")
    picked = []
    for which in ("next", "next", "next", "base", "next", "none"):
        comparison.pick(prompt, which)
        picked.append(prompt.pick)
    assert picked == ["one", "two", "one", "base", "one", None]


def test_a_pick_and_a_tie_stand_before_the_signs(comparison: Comparison) -> None:
    prompt = comparison.prompts[1]
    assert prompt.signs(comparison.arms) == " · ·"
    answered(comparison, 1, "base", "no", 0.0)
    answered(comparison, 1, "topics", "yes", 1.0)
    shown = []
    for which in ("next", "base", "none", "next"):
        comparison.pick(prompt, which)
        shown.append(prompt.signs(comparison.arms))
    assert shown == [" ✗◆✓", "◆✗ ✓", "=✗=✓", " ✗◆✓"]


def test_with_other_arms_prompts_are_answered_anew_and_stay_picked(comparison: Comparison) -> None:
    for arm in comparison.arms:
        answered(comparison, 1, arm, "yes", 1.0)
    comparison.prompts[1].pick = "topics"
    comparison.change_arms(("base", "examples in the prompt", "topics"))
    assert comparison.judged() == [] and not comparison.prompts[1].done
    assert comparison.picks({}) == {"base": 0, "examples in the prompt": 0, "topics": 1}
    for arm in comparison.arms:
        answered(comparison, 1, arm, "yes", 1.0)
    assert comparison.judged() == [(("yes",), dict.fromkeys(comparison.arms, 1.0))]


def test_times_are_of_the_answer_itself(comparison: Comparison) -> None:
    for arm in comparison.arms:
        answered(comparison, 1, arm, "yes", 1.0, seconds=3.0)
    assert comparison.prompts[1].answers["base"].tokens_per_second == pytest.approx(2.0)
    assert comparison.timings()["topics"] == pytest.approx(
        {"tokens_a_query": 30.0, "seconds_a_query": 3.0, "first_token_seconds": 1.0, "tokens_per_second": 2.0}
    )
