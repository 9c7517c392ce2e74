"""Drawn tokens: their distribution, and the random numbers that arms share."""

from __future__ import annotations

import math

import pytest
import torch

from engine.decode import chooser
from engine.errors import EngineError

LOGITS = torch.tensor([[0.0, 1.0, 2.0, -1.0]])


def test_at_temperature_0_the_likeliest_token_is_taken() -> None:
    choose = chooser(0.0, 3, [1, 2])
    assert choose(torch.cat([LOGITS, -LOGITS]), [0, 1], 1).tolist() == [2, 3]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax_of_the_logits(temperature: float) -> None:
    draws = 4000
    choose = chooser(temperature, 0, [5])
    counts = torch.bincount(torch.cat([choose(LOGITS, [0], step) for step in range(draws)]), minlength=4)
    expected = torch.softmax(LOGITS[0] / temperature, dim=-1)
    # Four standard deviations of a share near 1/2; the draws are the same at every run.
    assert torch.allclose(counts / draws, expected, atol=4 * math.sqrt(0.25 / draws))


def test_rows_of_one_prompt_share_their_random_numbers_and_others_do_not() -> None:
    flat = torch.zeros(3, 1000)
    choose = chooser(1.0, 0, [7, 7, 8])
    one, same, other = choose(flat, [0, 1, 2], 1).tolist()
    assert one == same != other
    assert choose(flat[:1], [0], 2).item() != one
    assert chooser(1.0, 1, [7])(flat[:1], [0], 1).item() != one


def test_a_row_draws_the_same_whoever_is_with_it() -> None:
    logits = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    together, alone = chooser(1.0, 0, [-1, 2, 3]), chooser(1.0, 0, [3])
    assert together(logits, [0, 1, 2], 4)[2] == together(logits[2:], [2], 4)[0] == alone(logits[2:], [0], 4)[0]


def test_a_temperature_close_to_0_still_takes_the_likeliest() -> None:
    choose = chooser(1e-40, 0, [1])
    assert all(choose(LOGITS.to(torch.bfloat16), [0], step).item() == 2 for step in range(50))


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(EngineError, match="temperature"):
        chooser(temperature, 0, [1])
