"""Which packs of a training step lose their instruction, and whose adapter answers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.forge.recipe import DataRecipe, LanguageLossRecipe
from engine.forge.rows import TaskTokens, draw_batch
from engine.forge.train import drawn_queries
from engine.tasks.tasks import Task
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
