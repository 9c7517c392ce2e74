"""What the Compare screen tells of scores, what it keeps back, and what the library keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnd_tui.judged import kept_as_examples, verdict_text
from dnd_tui.screens.compare.arms import Compared, CompareOptions
from dnd_tui.screens.compare.rows import Answer, Comparison
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore
from engine.events import AnswersScored, AnswerText
from engine.requests import PromptChoice

LABELS = {number: ("spam",) if number % 3 else ("ham",) for number in range(1, 13)}


def record(name: str) -> AdapterRecord:
    return AdapterRecord(
        id=name, name=name, folder=Path("/library", name), source=Path("/data/p.jsonl"), base_id="tiny", base="default",
        device="cpu", dtype="auto", made="2025-01-01", seconds={}, warm=True, parameters=1, bytes=1,
        picks={"base": 2, "adapted": 5},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "examples", "kept"),
    [
        (range(1, 13), 4, 4),
        (range(1, 13), 8, 6),
        (range(1, 4), 8, 0),
        (range(1, 7), 8, 2),
        ([3], 12, 0),
        ([], 8, 0),
    ],
)
def test_so_many_prompts_are_kept_back_that_there_are_examples(numbers: range, examples: int, kept: int) -> None:
    found = kept_as_examples(LABELS, numbers, examples, 0)
    assert len(found) == kept and found <= set(numbers)
    assert found == kept_as_examples(LABELS, numbers, examples, 0)
    # As many of both labels as there can be.
    assert abs(sum(LABELS[number] == ("ham",) for number in found) - kept / 2) <= 0.5


def test_only_prompts_with_answers_are_kept_back() -> None:
    assert kept_as_examples({2: ("a long answer",), 7: ("another one",)}, range(1, 20), 8, 0) == {2, 7}
    assert kept_as_examples({}, range(1, 20), 8, 0) == set()


def test_the_verdict_tells_chance_and_which_differences_are_sure() -> None:
    rows = [(("Spam",), {"base": 0.0, "mine": 1.0})] * 6 + [(("ham",), {"base": 1.0, "mine": 1.0})] * 2
    titles = {"base": "the base alone", "mine": "the adapter"}
    assert verdict_text(rows, ["mine", "base"], AnswersScored("label", ("ham", "spam")), titles) == (
        "8 of 8 right; the base alone 2; always answering 'spam' 6 (chance 50%, majority 75%). "
        "The adapter is better than the base alone (p = 0.031)."
    )
    graded = verdict_text(rows, ["mine", "base"], AnswersScored("rouge_l"), titles)
    assert graded.startswith("mean score 1.00 on 8 rows; the base alone 0.25. ")
    assert verdict_text([], ["mine", "base"], AnswersScored("label"), titles) == ""


def test_the_base_with_examples_is_an_arm_of_its_own_for_the_person_and_the_engine() -> None:
    compared = Compared.of_records([record("examples in the prompt"), record("two")])
    arms = compared.arms(8)
    assert arms == ("base", "examples in the prompt", "examples in the prompt (adapter)", "two")
    options = CompareOptions(examples=8)
    request = compared.request([], ["typed"], options)
    assert len(request.arms) == len(arms) and request.arms[1] == "examples"
    # Examples come from the prompts, for a prompt that is typed too.
    assert request.prompts == PromptChoice(source=Path("/data/p.jsonl"))
    assert compared.request([], ["typed"], CompareOptions()).prompts is None
    assert options.lines()["examples in the prompt"] == "8" and options.lines()["metric"] == "chosen by itself"


def test_the_library_keeps_scores_and_picks_of_one_adapter_and_its_base() -> None:
    one = Compared.of_records([record("mine")])
    comparison = Comparison(one.arms(8))
    prompt = comparison.prompt(1, "prompt", ("ham",))
    prompt.pick = "examples in the prompt"
    for arm in comparison.arms:
        prompt.answers.setdefault(arm, Answer()).take(AnswerText(1, arm, "ham", done=True, score=1.0))
    kept = one.kept(comparison.measured("label"), comparison.picks(one.earlier_picks))
    scores = [AdapterScore(arm=arm, metric="label", rows=1, mean=1.0) for arm in ("base", "adapted")]
    assert kept == ("mine", scores, {"base": 2, "adapted": 5})
    several = Compared.of_records([record("mine"), record("two")])
    assert several.earlier_picks == {} and several.kept([], {}) is None
    scored = AnswersScored("label", ("ham", "spam"), 8)
    assert one.verdict(comparison, scored).startswith("1 of 1 right; the base alone 1; always answering 'ham' 1; the ")
