"""A few gradient steps: the answers become likelier, the rest of the base stays as it is."""

from __future__ import annotations

import random
from itertools import islice

import pytest
import torch

from engine.adapter.attach import AttachedModel
from engine.solver.fit import ROWS_A_STEP, TOKENS_A_STEP, _in_turn, balanced_scales, fit, fresh_adapter
from engine.training.losses import answer_nats
from engine.training.packing import TokenRow, packed_length
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.adapter_parts import random_adapter

KINDS = ("o_proj", "down_proj")


def made_rows(count: int = 12, length: int = 6) -> list[TokenRow]:
    """Rows whose answer is the first token of the prompt, twice."""
    chance = random.Random(0)
    prompts = [tuple(chance.randrange(3, 40) for _ in range(length)) for _ in range(count)]
    return [TokenRow(prompt, (prompt[0], prompt[0])) for prompt in prompts]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_answers_become_likelier(family: str) -> None:
    model = tiny_model(family)
    base, rows, losses = in_memory_base(model, tiny_tokenizer()), made_rows(), []
    start = fresh_adapter(derive_layout(model.config, LoraSpec(4, 4, KINDS)), 0)
    before = sum(answer_nats(base, rows, 8))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = fit(base, start, rows, 30, rate=1e-2, on_step=losses.append)
    with AttachedModel(model) as attached:
        attached.add("fitted", adapter)
        attached.use("fitted")
        after = sum(answer_nats(base, rows, 8))
    assert after < 0.7 * before and len(losses) == 30 and losses[-1] < losses[0]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_no_step_changes_nothing_and_no_time_is_no_step() -> None:
    model = tiny_model("llama")
    base = in_memory_base(model, tiny_tokenizer())
    start = random_adapter(derive_layout(model.config, LoraSpec(2, 2, KINDS)))
    assert fit(base, start, made_rows(), 0) is start
    steps: list[float] = []
    fit(base, start, made_rows(), 5, seconds=-1, on_step=steps.append)
    assert not steps


def test_balancing_leaves_the_update_as_it_is() -> None:
    adapter = random_adapter(derive_layout(tiny_model("llama").config, LoraSpec(3, 6, KINDS)))
    adapter.b["model.layers.0.self_attn.o_proj"][:, 1] = 0
    even = balanced_scales(adapter)
    for path in adapter.a:
        assert torch.allclose(even.b[path] @ even.a[path], adapter.b[path] @ adapter.a[path], atol=1e-5)
        lengths = even.a[path].norm(dim=1), even.b[path].norm(dim=0)
        used = lengths[1] > 0
        assert torch.allclose(lengths[0][used], lengths[1][used], rtol=1e-4)


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_every_row_has_its_turn(count: int) -> None:
    rows = made_rows(count)
    steps = list(islice(_in_turn(rows, 0), 10))
    seen = [row for step in steps for row in step]
    assert all(len(step) == min(count, ROWS_A_STEP) for step in steps)
    assert {row: seen.count(row) for row in rows}.keys() == set(rows)
    assert max(map(seen.count, rows)) - min(map(seen.count, rows)) <= 1


def test_of_long_rows_fewer_go_into_a_step() -> None:
    steps = list(islice(_in_turn(made_rows(12, length=200), 0), 6))
    assert all(len(step) == 2 and packed_length(step) <= TOKENS_A_STEP for step in steps)
    longest = list(islice(_in_turn(made_rows(3, length=900), 0), 3))
    assert all(len(step) == 1 for step in longest)
