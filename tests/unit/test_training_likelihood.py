"""Bits per byte: the formula, and that packing and batching change nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge_parts import tiny

from engine.base import prefix
from engine.training.losses import answer_nats, bits_per_byte
from engine.training.packing import TokenRow
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer


def test_one_bit_a_byte_is_ln_2_nats() -> None:
    assert bits_per_byte([3 * math.log(2), 5 * math.log(2)], [3, 5]) == pytest.approx(1.0)
    # All answers together, not the mean of each: 4 bits over 5 bytes.
    assert bits_per_byte([2 * math.log(2), 2 * math.log(2)], [1, 4]) == pytest.approx(0.8)
    assert bits_per_byte([1.0], [0]) is None


@given(st.lists(st.tuples(st.floats(0, 1e3), st.integers(1, 400)), min_size=1), st.integers(1, 5))
def test_the_same_rows_again_change_nothing(rows: list[tuple[float, int]], times: int) -> None:
    nats, sizes = [nats for nats, _ in rows], [size for _, size in rows]
    assert bits_per_byte(nats * times, sizes * times) == pytest.approx(bits_per_byte(nats, sizes))


def rows_of(count: int, common: int) -> list[TokenRow]:
    random = torch.Generator().manual_seed(0)

    def draw(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (length,), generator=random).tolist())

    start = draw(common)
    return [TokenRow(start + draw(2 + number % 3), draw(1 + number % 4)) for number in range(count)]


def plain_nats(base: Any, rows: list[TokenRow]) -> list[float]:
    """Of each row in a forward pass of its own."""
    expected = []
    for row in rows:
        with torch.no_grad():
            chances = base.model(torch.tensor([row.prompt + row.answer])).logits[0].double().log_softmax(-1)
        places = range(len(row.prompt) - 1, len(row) - 1)
        expected.append(-sum(chances[place, token].item() for place, token in zip(places, row.answer, strict=True)))
    return expected


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("tokens", [1, 40, 512])
def test_rows_after_one_beginning_have_the_nats_of_plain_forward_passes(
    monkeypatch: pytest.MonkeyPatch, batch: int, tokens: int
) -> None:
    monkeypatch.setattr(prefix, "_CACHED_TOKENS", tokens)
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    rows = rows_of(9, common=7)
    steps: list[None] = []
    assert answer_nats(base, rows, batch, lambda: steps.append(None)) == pytest.approx(plain_nats(base, rows), rel=1e-4)
    assert steps


@pytest.mark.parametrize("kind", ["lfm2", "gemma2"])
def test_rows_are_right_where_layers_reach_by_distance(kind: str) -> None:
    """Convolutions reach into the row before, whatever the mask says; a window of 16 tokens is unknown to it."""
    base: Any = in_memory_base(tiny(kind), tiny_tokenizer())
    rows = rows_of(6, common=30)
    assert answer_nats(base, rows, 4) == pytest.approx(plain_nats(base, rows), rel=1e-4)
