"""What the adapters of a training step are asked: with or without instruction, and whose adapter answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.forge.queries import ANSWERED, IN_SIGHT, INSTRUCTION, draw_queries, drawn_queries
from engine.forge.recipe import DataRecipe, DistillationRecipe, LanguageLossRecipe
from engine.forge.rows import TaskTokens, _tokenize, draw_batch
from engine.tasks.tasks import Task, TaskRow, without_instruction
from engine.training.packing import TokenRow
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer

parts = st.floats(0, 1)


@given(st.integers(1, 8), parts, parts, st.text(max_size=4))
def test_only_a_pack_with_its_instruction_is_left_to_another_adapter(
    count: int, hide: float, other: float, place: str
) -> None:
    settings = LanguageLossRecipe(hide_instruction=hide, other_adapter=other)
    hidden, adapters = drawn_queries(count, settings, place)
    assert (hidden, adapters) == drawn_queries(count, settings, place)
    assert len(hidden) == len(adapters) == count
    assert all(adapter == own for own, (adapter, without) in enumerate(zip(adapters, hidden, strict=True)) if without)
    assert all(adapter in (own, (own - 1) % count) for own, adapter in enumerate(adapters))


def test_the_parts_are_those_of_the_recipe() -> None:
    settings = LanguageLossRecipe(hide_instruction=0.5, other_adapter=0.4)
    drawn = [drawn_queries(6, settings, str(step)) for step in range(500)]
    hidden = sum(sum(without) for without, _ in drawn) / 3000
    other = sum(adapter != own for _, adapters in drawn for own, adapter in enumerate(adapters)) / 3000
    assert 0.46 < hidden < 0.54
    assert 0.17 < other < 0.23  # of the half whose instruction is in sight
    always = LanguageLossRecipe(hide_instruction=0.0, other_adapter=1.0)
    assert drawn_queries(3, always, "step") == ([False] * 3, [2, 0, 1])
    assert drawn_queries(1, always, "step") == ([False], [0])


def test_rows_lose_their_instruction_task_by_task() -> None:
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    whole, bare = (TokenRow((5, 6, 7), (8,)),) * 3, (TokenRow((7,), (8,)),) * 3
    tasks = [TaskTokens(Task(name, "", "", "", Path()), (), whole, bare) for name in ("one", "two")]
    data = DataRecipe(pack_rows=1)
    assert draw_batch(base, tasks, 1, data, "place").ids.tolist() == [[5, 6, 7, 8]] * 2
    first, second = draw_batch(base, tasks, 1, data, "place", [True, False]).ids.tolist()
    assert first[:2] == [7, 8] and second == [5, 6, 7, 8]


def answered_task(base: Any, rows: int = 40) -> TaskTokens:
    """Rows with an instruction, as they are read from a task's file."""
    labelled = [
        TaskRow(f"Reverse the word:\n\n{chr(97 + row % 26)}{row:02d}", f"{row:02d}"[::-1], ()) for row in range(rows)
    ]
    return _tokenize(base, Task("reverse", "", "", "", Path()), labelled, DataRecipe())


@given(st.sampled_from([INSTRUCTION, ANSWERED, IN_SIGHT]), st.text(max_size=4))
def test_frame_and_adapter_are_asked_the_same_rows(kind: str, place: str) -> None:
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    tokens = answered_task(base)
    drawn = draw_queries(base, tokens, DistillationRecipe(examples=3), DataRecipe(pack_rows=4), place, kind)
    assert drawn == draw_queries(base, tokens, DistillationRecipe(examples=3), DataRecipe(pack_rows=4), place, kind)
    assert 1 <= len(drawn.student) <= 4
    for teacher, student in zip(drawn.teacher, drawn.student, strict=True):
        assert teacher.answer == student.answer
        assert teacher.prompt[-4:] == student.prompt[-4:]
        assert (teacher == student) == (kind == IN_SIGHT)
        assert (student in tokens.rows) == (kind == IN_SIGHT) and (student in tokens.hidden) == (kind != IN_SIGHT)
    assert len(set(drawn.examples)) == (3 if kind == ANSWERED else 0)


def test_no_row_stands_in_its_own_context() -> None:
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    tokens = answered_task(base, rows=12)
    for place in map(str, range(30)):
        drawn = draw_queries(base, tokens, DistillationRecipe(examples=4), DataRecipe(), place, ANSWERED)
        assert not {tokens.hidden[example] for example in drawn.examples} & set(drawn.student)
        for teacher, student in zip(drawn.teacher, drawn.student, strict=True):
            read = base.tokenizer.decode(teacher.prompt)
            assert read.count("Reverse the word:") == 1
            assert all(without_instruction(tokens.prompts[example]) in read for example in drawn.examples)
            assert read.endswith(base.tokenizer.decode(student.prompt[-4:]))


def test_the_parts_of_a_distillation_are_those_of_the_recipe() -> None:
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    tokens, settings = answered_task(base), DistillationRecipe(in_sight=0.5, answered=0.3)
    kinds = [draw_queries(base, tokens, settings, DataRecipe(), str(step)).kind for step in range(400)]
    assert 0.4 < kinds.count(IN_SIGHT) / 400 < 0.6 and 0.2 < kinds.count(ANSWERED) / 400 < 0.4
