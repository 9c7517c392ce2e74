"""What an adapter can be made from, found in the prompts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.prompts import PromptRow
from engine.solver.plan import (
    BOTH,
    EXAMPLES,
    GENERATOR,
    INSTRUCTION,
    common_beginning,
    distinct,
    in_turn,
    plan_context,
    with_beginning,
    without_beginning,
)

TASK = "Say in one word what the customer wants from the shop."


def rows(count: int, *, instruction: str = TASK, labels: tuple[str, ...] = (), answered: int | None = None):
    start = f"{instruction}\n\n" if instruction else ""
    return [
        PromptRow(
            number,
            f"{start}{'ABCDEFGHIJ'[number % 10]}{number * 7919} wrote in",
            (labels[number % len(labels)],) if labels and (answered is None or number <= answered) else (),
        )
        for number in range(1, count + 1)
    ]


def test_answers_make_it_from_examples() -> None:
    plan = plan_context(rows(50, labels=("refund", "exchange")))
    assert plan.kind == EXAMPLES and plan.reason == "50 answers found"
    assert len(plan.rows) == 32 and len(plan.held_out) == 18
    # The queries will come as they are, so nothing is taken from them.
    assert plan.instruction == "" and plan.query(plan.rows[0].prompt) == plan.rows[0].prompt


def test_without_answers_the_common_instruction() -> None:
    plan = plan_context(rows(50))
    assert plan.kind == INSTRUCTION and plan.instruction == TASK
    row = plan.rows[0]
    assert plan.query(row.prompt) == row.prompt.removeprefix(TASK).strip()
    assert plan.shown(plan.query(row.prompt)) == row.prompt


def test_with_neither_the_generator() -> None:
    plan = plan_context(rows(50, instruction=""))
    assert plan.kind == GENERATOR and "no answers" in plan.reason and not plan.rows


def test_a_named_instruction_goes_with_answers(tmp_path: Path) -> None:
    named = tmp_path / "task.txt"
    named.write_text(f"  {TASK}\n")
    plan = plan_context(rows(12, instruction="", labels=("a", "b")), context=str(named))
    assert plan.kind == BOTH and plan.instruction == TASK
    assert plan.shown(plan.rows[0].prompt).startswith(f"{TASK}\n\n")
    assert plan_context(rows(12, instruction=""), context=TASK).kind == INSTRUCTION


def test_an_instruction_may_look_like_a_path() -> None:
    assert plan_context(rows(12, instruction=""), context="~nobody says this").instruction == "~nobody says this"


def test_few_labels_take_turns_and_are_in_the_check_too() -> None:
    lopsided = [*rows(60, labels=("billing",)), *rows(9, instruction="Other instruction", labels=("refund",))]
    plan = plan_context([row._replace(number=place) for place, row in enumerate(lopsided, 1)], count=12)
    counts = Counter(row.references[0] for row in plan.rows)
    assert counts == {"billing": 6, "refund": 6}


def test_many_labels_keep_their_shares() -> None:
    labels = ("flight",) * 12 + tuple(f"rare{number}" for number in range(9))
    given = [PromptRow(n, f"request {n}", (labels[n % len(labels)],)) for n in range(1, 211)]
    counts = Counter(row.references[0] for row in in_turn(given, 0)[:84])
    assert counts["flight"] > 30


def test_answers_are_learned_but_not_beside_an_instruction_alone() -> None:
    answered = rows(40, labels=("x", "y"))
    assert plan_context(answered).learned == plan_context(answered).rows != ()
    plan = plan_context(answered, made_from=INSTRUCTION)
    assert plan.rows[0].references and plan.learned == ()


def test_an_instruction_needs_no_answers_and_checks_on_prompts() -> None:
    plan = plan_context(rows(40, labels=("x",), answered=3), made_from=INSTRUCTION)
    assert plan.kind == INSTRUCTION and len(plan.rows) == 32 and len(plan.held_out) == 8


@pytest.mark.parametrize("count", [1, 2, 5, 9, 10, 33, 200])
def test_no_row_is_solved_from_and_checked_on(count: int) -> None:
    plan = plan_context(
        rows(count, labels=("a", "b", "c")), made_from="auto" if count > 1 else INSTRUCTION, context=TASK
    )
    solved, checked = {row.number for row in plan.rows}, {row.number for row in plan.held_out}
    assert not solved & checked and len(solved | checked) <= count and solved
    assert bool(checked) == (count >= 10)


def test_equal_prompts_count_once_and_the_answered_one_stays() -> None:
    found = distinct(
        [PromptRow(1, "a  b"), PromptRow(2, "A b", ("x",)), PromptRow(3, "c"), PromptRow(4, "a b", ("y",))]
    )
    assert [(row.number, row.references) for row in found] == [(2, ("x",)), (3, ())]


@pytest.mark.parametrize(
    ("made_from", "given", "problem"),
    [
        (EXAMPLES, rows(5), "no answered row"),
        (EXAMPLES, rows(5, labels=("a",), answered=1), "one answered row"),
        (INSTRUCTION, rows(5, instruction=""), "common instruction"),
        (BOTH, rows(5, instruction="", labels=("a", "b")), "common instruction"),
        ("nothing", rows(5), "'nothing'"),
    ],
)
def test_what_is_not_there_is_an_error_with_advice(made_from: str, given: list[PromptRow], problem: str) -> None:
    with pytest.raises(EngineError, match=problem) as error:
        plan_context(given, made_from=made_from)
    assert error.value.hint


@pytest.mark.parametrize(("context", "problem"), [("   ", "empty"), ("missing.txt", "no such file")])
def test_an_instruction_that_is_none(context: str, problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        plan_context(rows(5), context=context)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([f"{TASK}\n\n{word}" for word in ("one", "two", "three")], TASK),
        ([f"{TASK} {word}" for word in ("one", "Two", "three")], TASK),
        (["Sentiment of this review: good", "Sentiment of this review: bad"], "Sentiment of this review:"),
        (["What is it?", "What was it?"], ""),
        (["The shop in Rome is closed", "The shop in Rimini is open"], ""),
        ([TASK, TASK], ""),
        ([TASK], ""),
        ([*(f"{TASK}\n\nline {number}" for number in range(19)), "one without it"], TASK),
    ],
    ids=["paragraph", "sentence", "colon", "short", "no end", "nothing after", "one", "one row lacks it"],
)
def test_the_common_beginning_ends_where_a_sentence_does(prompts: list[str], expected: str) -> None:
    assert common_beginning(prompts) == expected


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_an_instruction_put_before_a_prompt_can_be_taken_away(instruction: str, prompt: str) -> None:
    instruction, prompt = instruction.strip(), prompt.strip()
    if instruction and prompt and not prompt.startswith(instruction):
        assert without_beginning(with_beginning(prompt, instruction), instruction) == prompt


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=40), st.integers(0, 5))
def test_taking_turns_loses_no_row(labels: list[str], seed: int) -> None:
    given_rows = [PromptRow(number, f"p{number}", (label,)) for number, label in enumerate(labels)]
    found = in_turn(given_rows, seed)
    assert sorted(row.number for row in found) == list(range(len(labels)))
    assert found == in_turn(given_rows, seed)
