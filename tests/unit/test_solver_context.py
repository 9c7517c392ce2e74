"""Rows with their context as tokens: no row sees its own answer, and what does not fit is left out and told."""

from __future__ import annotations

from typing import Any

import pytest

from engine.base.chat import answer_ids, prompt_ids
from engine.errors import EngineError
from engine.events import Event, Note, Reporter
from engine.prompts import PromptRow
from engine.solver.context import context_tokens
from engine.solver.plan import ContextPlan, plan_context
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import TURNS, tiny_tokenizer

TASK = "Name the colour of the thing in one word."


def base_of(template: str | None = "", window: int = 4096) -> Any:
    tokenizer = tiny_tokenizer() if template == "" else tiny_tokenizer(template)
    return in_memory_base(tiny_model("llama", max_position_embeddings=window), tokenizer)


def answered(count: int, length: int = 4) -> list[PromptRow]:
    return [PromptRow(n, f"{TASK}\n\nthing {n} {'x' * length}", (f"colour{n}",)) for n in range(1, count + 1)]


def planned(rows: list[PromptRow], **choice: Any) -> ContextPlan:
    return plan_context(rows, held_out=0, **choice)


def text_of(base: Any, ids: tuple[int, ...]) -> str:
    return str(base.tokenizer.decode(ids))


def told(base: Any, plan: ContextPlan, **choice: Any) -> tuple[Any, list[str]]:
    notes: list[str] = []

    def sink(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    return context_tokens(
        base, plan, lambda prompts: [f"own {len(p)}" for p in prompts], Reporter(sink), **choice
    ), notes


@pytest.mark.parametrize("template", ["", TURNS, None], ids=["chatml", "turns", "no template"])
def test_examples_stand_before_the_row_and_never_its_own_answer(template: str | None) -> None:
    base = base_of(template)
    tokens, notes = told(base, planned(answered(20)))
    assert not notes and tokens.examples == 8
    rows = [row for group in tokens.groups for row in group]
    assert len(rows) == 20
    for row in rows:
        teacher, student = text_of(base, row.teacher.prompt), text_of(base, row.student.prompt)
        answer = text_of(base, row.student.answer).split("<")[0].strip()
        assert teacher.count("colour") == 9 * TASK.count("colour") + 8 and f"{answer}\n" not in f"{teacher}\n"
        assert TASK in student and "colour1" not in student
    assert text_of(base, rows[0].teacher.prompt).count(TASK) == 9


def test_of_long_examples_only_the_first_carries_what_all_prompts_begin_with() -> None:
    base = base_of()
    tokens, _ = told(base, planned(answered(20, length=100)))
    for row in (row for group in tokens.groups for row in group):
        # And the row itself, as it will be asked.
        assert text_of(base, row.teacher.prompt).count(TASK) == 2


def test_the_student_reads_what_a_person_will_ask() -> None:
    base = base_of()
    plan = planned(answered(4))
    tokens, _ = told(base, plan)
    asked = {row.prompt: row.references[0] for row in plan.rows}
    for row in tokens.rows:
        prompt = next(p for p, a in asked.items() if tuple(answer_ids(base.tokenizer, a)) == row.answer)
        assert row.prompt == tuple(prompt_ids(base.tokenizer, prompt))


def test_an_instruction_leaves_the_query_and_the_base_answers_itself() -> None:
    base = base_of()
    tokens, _ = told(base, planned([row._replace(references=()) for row in answered(6)]))
    for row in (row for group in tokens.groups for row in group):
        assert TASK in text_of(base, row.teacher.prompt) and TASK not in text_of(base, row.student.prompt)
        assert text_of(base, row.student.answer).startswith("own ")


def test_some_rows_are_read_with_the_instruction_in_sight_too() -> None:
    base = base_of()
    tokens, _ = told(base, planned([row._replace(references=()) for row in answered(6)]))
    assert tokens.read == [*tokens.groups, *tokens.in_sight]
    twins = [row for group in tokens.in_sight for row in group]
    teachers = [row.teacher for group in tokens.groups for row in group]
    assert 0 < len(twins) < len(teachers)
    # Without examples in its context nothing is to change there.
    assert all(row.teacher == row.student and row.teacher in teachers for row in twins)
    both, _ = told(base, planned(answered(8), made_from="both"), examples=2)
    for row in (row for group in both.in_sight for row in group):
        teacher, student = text_of(base, row.teacher.prompt), text_of(base, row.student.prompt)
        assert student.count(TASK) == 1 and teacher.count("colour") > student.count("colour")
    assert not told(base, planned(answered(8)))[0].in_sight


def test_a_row_that_is_read_twice_counts_once() -> None:
    tokens, _ = told(base_of(), planned([row._replace(references=()) for row in answered(6)]))
    assert tokens.right([True] * 4 + [False] * 2 + [True] * 3) == "4 of 6 answers right"


def test_both_gives_the_teacher_examples_and_instruction() -> None:
    base = base_of()
    tokens, _ = told(base, planned(answered(6), made_from="both"), examples=2)
    row = tokens.groups[0][0]
    assert TASK in text_of(base, row.teacher.prompt) and TASK not in text_of(base, row.student.prompt)
    assert text_of(base, row.teacher.prompt).count("colour") > 2


def test_fewer_examples_where_they_do_not_fit() -> None:
    base = base_of(window=600)
    tokens, notes = told(base, planned(answered(20, length=60)))
    assert 0 < tokens.examples < 8 and f"{tokens.examples} examples" in notes[0]
    assert all(len(row.teacher) <= 600 for group in tokens.groups for row in group)


def test_none_fits() -> None:
    with pytest.raises(EngineError, match="no example fits"):
        told(base_of(window=330), planned(answered(6, length=180)))


def test_rows_beyond_the_window_are_left_out_and_told() -> None:
    rows = answered(6)
    rows[2] = PromptRow(3, rows[2].prompt, ("z" * 5000,))
    tokens, notes = told(base_of(), planned(rows))
    assert len(tokens.rows) == 5 and any("1 rows are longer" in note for note in notes)
    with pytest.raises(EngineError, match="every row is longer"):
        told(base_of(window=20), planned(answered(4)))


def test_two_answered_rows_are_each_others_example() -> None:
    tokens, notes = told(base_of(), planned(answered(2)))
    assert tokens.examples == 1 and [len(group) for group in tokens.groups] == [1, 1] and not notes


def test_a_row_without_the_instruction_gets_it_before_it() -> None:
    base = base_of()
    rows = [row._replace(references=()) for row in answered(20)]
    rows[4] = PromptRow(5, "thing five alone")
    tokens, _ = told(base, planned(rows, count=20))
    for row in (row for group in tokens.groups for row in group):
        teacher, student = text_of(base, row.teacher.prompt), text_of(base, row.student.prompt)
        assert TASK in teacher and TASK not in student
        assert teacher.split(TASK)[1].strip() == student.split("user\n")[1].strip()


def test_of_two_labels_every_context_shows_both() -> None:
    base = base_of()
    rows = [PromptRow(n, f"{TASK}\n\nthing {n}", (("red", "blue")[n % 2],)) for n in range(1, 33)]
    tokens, _ = told(base, planned(rows))
    for group in tokens.groups:
        answers = [text_of(base, row.student.answer) for row in group]
        assert abs(sum("red" in answer for answer in answers) - len(answers) / 2) <= 1
        before = text_of(base, group[0].teacher.prompt)
        assert before.count("\nred") == before.count("\nblue") == 4


def test_of_long_rows_fewer_are_solved_from_and_all_are_fitted() -> None:
    base = base_of(window=8192)
    tokens, _ = told(base, planned(answered(32, length=900)), examples=2)
    solved = [row for group in tokens.groups for row in group]
    assert 8 <= len(solved) < 32 and len(tokens.rows) == 32
    assert {row.student for row in solved} <= set(tokens.rows)
