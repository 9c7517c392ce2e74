"""Packed rows and batched adapters give what separate rows and separate adapters give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge_parts import tiny

from engine.forge.recipe import DataRecipe
from engine.forge.rows import TaskTokens, draw_batch, draw_pack
from engine.tasks.tasks import Task
from engine.training.loop import clip_each, cosine
from engine.training.losses import adapters_in_batch, token_losses
from engine.training.packing import IGNORED, TokenRow, common_prefix, pack, packed_length, take_that_fit
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer

ids = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(tuple)
rows_of_tokens = st.lists(st.builds(TokenRow, ids, ids), min_size=1, max_size=5)


@given(rows_of_tokens)
def test_a_packed_line_holds_every_row_after_the_common_prefix(rows: list[TokenRow]) -> None:
    prefix = common_prefix(rows)
    assert all(row.prompt[:prefix] == rows[0].prompt[:prefix] for row in rows)
    assert all(prefix < len(row.prompt) for row in rows)
    batch = pack([rows], pad_id=0)
    assert batch.tokens == packed_length(rows)
    asked = batch.targets[batch.targets != IGNORED].tolist()
    assert asked == [token for row in rows for token in row.answer]


@given(rows_of_tokens)
def test_no_row_sees_another(rows: list[TokenRow]) -> None:
    batch = pack([rows, rows[:1]], pad_id=0)
    prefix, place = common_prefix(rows), common_prefix(rows)
    for row in rows:
        end = place + len(row) - prefix
        for position in range(place, end):
            seen = batch.mask[0, 0, position].nonzero().flatten().tolist()
            assert seen == [*range(prefix), *range(place, position + 1)]
        place = end
    assert bool(batch.mask.any(-1).all())  # padding sees something, or its softmax would be undefined


def test_padding_to_a_multiple_changes_no_loss() -> None:
    model = tiny_model("llama")
    layout = derive_layout(model.config, LoraSpec(rank=2))
    a, b = _adapters(layout, 1, seed=1)
    rows = _rows(0, 3)
    padded = pack([rows], 0, multiple=32)
    assert padded.ids.shape[1] % 32 == 0 and padded.tokens > packed_length(rows)
    with torch.no_grad(), adapters_in_batch(model, layout, a, b):
        assert torch.allclose(token_losses(model, padded, 1), token_losses(model, pack([rows], 0), 1), atol=1e-6)


def test_take_that_fit_keeps_to_the_budget() -> None:
    rows = [TokenRow((1, 2, number), (4, 5)) for number in range(10)]
    taken = take_that_fit(rows, 11)
    assert len(taken) == 3 and packed_length(taken) == 11
    assert take_that_fit(rows, 1) == rows[:1]


def _rows(seed: int, count: int, most: int = 300) -> list[TokenRow]:
    random = torch.Generator().manual_seed(seed)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, most, (length,), generator=random).tolist())

    start = draw(6)
    return [TokenRow(start + draw(3 + number), draw(2 + number)) for number in range(count)]


def _adapters(layout, count: int, seed: int):  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    a = {module.path: torch.randn(layout.lora.rank, module.in_features) for module in layout.modules}
    b = {module.path: torch.randn(count, module.out_features, layout.lora.rank) * 0.05 for module in layout.modules}
    return a, b


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2"])
def test_the_loss_of_packed_rows_is_that_of_separate_rows(family: str) -> None:
    model = tiny_model(family)
    layout = derive_layout(model.config, LoraSpec(rank=2))
    a, b = _adapters(layout, 1, seed=1)
    rows = _rows(0, 4)
    with torch.no_grad(), adapters_in_batch(model, layout, a, b):
        together = token_losses(model, pack([rows], 0), 1)
        apart = [token_losses(model, pack([[row]], 0), 1) * len(row.answer) for row in rows]
    assert torch.allclose(together, sum(apart) / sum(len(row.answer) for row in rows), atol=1e-5)


def test_the_loss_is_that_of_transformers_with_peft_like_matrices() -> None:
    """An independent way: merge the adapter into the weights by hand, let transformers compute the loss."""
    model = tiny_model("llama")
    layout = derive_layout(model.config, LoraSpec(rank=2, alpha=6))
    a, b = _adapters(layout, 1, seed=2)
    row = _rows(5, 1)[0]
    with torch.no_grad(), adapters_in_batch(model, layout, a, b):
        ours = token_losses(model, pack([[row]], 0), 1)[0]
    merged = tiny_model("llama")
    for module in layout.modules:
        merged.get_submodule(module.path).weight.data += 3.0 * b[module.path][0] @ a[module.path]
    tokens = torch.tensor([row.prompt + row.answer])
    labels = torch.tensor([[IGNORED] * len(row.prompt) + list(row.answer)])
    assert torch.allclose(ours, merged(input_ids=tokens, labels=labels).loss, atol=1e-5)


def test_training_adapters_in_one_batch_is_training_them_apart() -> None:
    model = tiny_model("llama")
    layout = derive_layout(model.config, LoraSpec(rank=2))
    a, start = _adapters(layout, 1, seed=3)
    rows = [_rows(seed, 3) for seed in range(3)]

    def train(chosen: list[int]) -> dict[str, torch.Tensor]:
        b = {path: value.expand(len(chosen), -1, -1).clone().requires_grad_() for path, value in start.items()}
        optimizer = torch.optim.AdamW(b.values(), lr=1e-2)
        for _ in range(4):
            with adapters_in_batch(model, layout, a, b):
                # All padded alike, so that the sums have the same order.
                batch = pack([rows[index] for index in chosen], 0)
                token_losses(model, batch, len(chosen)).sum().backward()
            clip_each([value.grad for value in b.values()])
            optimizer.step()
            optimizer.zero_grad()
        return {path: value.detach() for path, value in b.items()}

    together = train([0, 1, 2])
    for index in range(3):
        alone = train([index])
        # Processors sum in orders of their own, and the steps after the first feel that: a tenth of a step of 1e-2.
        assert all(torch.allclose(together[path][index], value[0], atol=1e-3) for path, value in alone.items())
    assert not torch.allclose(together[layout.modules[0].path][0], together[layout.modules[0].path][1])


def test_gradients_of_a_batch_are_those_of_separate_adapters() -> None:
    model = tiny_model("llama")
    layout = derive_layout(model.config, LoraSpec(rank=2))
    a, start = _adapters(layout, 1, seed=3)
    rows = [_rows(seed, 3) for seed in range(3)]

    def gradients(chosen: list[int]) -> dict[str, torch.Tensor]:
        b = {path: value.expand(len(chosen), -1, -1).clone().requires_grad_() for path, value in start.items()}
        with adapters_in_batch(model, layout, a, b):
            token_losses(model, pack([rows[index] for index in chosen], 0), len(chosen)).sum().backward()
        return {path: value.grad for path, value in b.items() if value.grad is not None}

    together = gradients([0, 1, 2])
    for index in range(3):
        alone = gradients([index])
        for path, value in alone.items():
            # Of the size of the whole gradient: its smallest entries are sums that nearly cancel out.
            assert (together[path][index] - value[0]).norm() <= 1e-5 * value.norm()


def test_hooks_are_gone_afterwards() -> None:
    model = tiny_model("llama")
    layout = derive_layout(model.config, LoraSpec(rank=2))
    a, b = _adapters(layout, 1, seed=1)
    tokens = torch.tensor([[5, 6, 7]])
    before = model(tokens).logits
    with pytest.raises(RuntimeError), adapters_in_batch(model, layout, a, b):
        assert not torch.equal(model(tokens).logits, before)
        raise RuntimeError
    assert torch.equal(model(tokens).logits, before)


def test_each_adapter_is_clipped_by_its_own_norm() -> None:
    gradients = [torch.tensor([[3.0], [0.3]]), torch.tensor([[4.0], [0.4]])]
    norms = clip_each(gradients)
    assert torch.allclose(norms, torch.tensor([5.0, 0.5]))
    assert torch.allclose(gradients[0], torch.tensor([[0.6], [0.3]]), atol=1e-5)


def test_the_schedule_warms_up_peaks_and_ends_near_zero() -> None:
    rates = [cosine(step, 100, 1.0, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0) and rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("family", ["lfm2", "gemma2"])
def test_rows_of_a_batch_stay_apart_where_layers_reach_by_distance(family: str) -> None:
    """A convolution reaches into the row before, a window of 16 tokens misses the row's own beginning."""
    base: Any = in_memory_base(tiny(family), tiny_tokenizer())
    layout = derive_layout(base.model.config, LoraSpec(rank=2))
    a, b = _adapters(layout, 2, seed=1)
    rows = [tuple(_rows(seed, 4, most=250)) for seed in range(2)]
    tasks: list[Any] = [TaskTokens(Task(f"task{seed}", "", "", "", Path()), (), rows[seed], ()) for seed in range(2)]
    batch = draw_batch(base, tasks, 1, DataRecipe(pack_rows=3), "place")
    with torch.no_grad():
        with adapters_in_batch(base.model, layout, a, b):
            together = token_losses(base.model, batch, 2)
        for index, tokens in enumerate(tasks):
            own = {path: value[index : index + 1] for path, value in b.items()}
            drawn = draw_pack(tokens, DataRecipe(pack_rows=3), "place/0")
            with adapters_in_batch(base.model, layout, a, own):
                sums = [_plain_loss(base.model, row) for row in drawn]
            apart = sum(sums) / sum(len(row.answer) for row in drawn)
            assert together[index].item() == pytest.approx(apart, rel=1e-4)


def _plain_loss(model: Any, row: TokenRow) -> float:
    """Summed over the answer, in a forward pass of its own."""
    labels = torch.tensor([[IGNORED] * len(row.prompt) + list(row.answer)])
    return model(torch.tensor([row.prompt + row.answer]), labels=labels).loss.item() * len(row.answer)
