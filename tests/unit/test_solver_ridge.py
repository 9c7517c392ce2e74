"""The regression of one module: what it recovers, and what it does where there is little to solve."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.solver.ridge import RIDGES, reduced_rank_ridge


def made(tokens: int, width: int, out: int, rank: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, width, generator=source)
    return inputs, inputs @ torch.randn(width, rank, generator=source) @ torch.randn(rank, out, generator=source)


def test_recovers_a_map_of_low_rank() -> None:
    inputs, wanted = made(200, 16, 12, rank=2)
    found = reduced_rank_ridge(inputs, wanted, 2, groups=torch.arange(200) // 10, ridges=(1e-6,))
    assert found.explained == pytest.approx(1, abs=1e-3)
    assert torch.allclose(inputs @ found.a.T @ found.b.T, wanted, atol=1e-2 * wanted.abs().max().item())


def test_a_higher_rank_explains_more_and_never_all_of_noise() -> None:
    torch.manual_seed(0)
    inputs, wanted = torch.randn(40, 64), torch.randn(40, 20)
    groups = torch.arange(40) // 5
    explained = [reduced_rank_ridge(inputs, wanted, rank, groups=groups).explained for rank in (1, 4, 16)]
    assert explained == sorted(explained) and explained[-1] < 1


def test_noise_asks_for_the_strongest_ridge() -> None:
    torch.manual_seed(0)
    found = reduced_rank_ridge(torch.randn(40, 64), torch.randn(40, 20), 4, groups=torch.arange(40) // 5)
    assert found.ridge == max(RIDGES)


def test_nothing_wanted_gives_an_update_of_zero() -> None:
    inputs, _ = made(30, 8, 6, rank=2)
    found = reduced_rank_ridge(inputs, torch.zeros(30, 6), 4, groups=torch.arange(30) // 3)
    assert not (found.b @ found.a).any() and found.explained == 0


def test_inputs_of_zero_give_an_update_of_zero() -> None:
    found = reduced_rank_ridge(torch.zeros(12, 8), torch.ones(12, 6), 2, groups=torch.arange(12) // 3)
    assert not (found.b @ found.a).any()


def test_one_group_alone_can_be_solved() -> None:
    inputs, wanted = made(5, 8, 6, rank=1)
    assert reduced_rank_ridge(inputs, wanted, 2, groups=torch.zeros(5, dtype=torch.long)).explained > 0


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 20), st.integers(1, 24), st.integers(0, 9))
def test_any_shape_has_the_rank_that_was_asked_for(tokens: int, width: int, out: int, rank: int, seed: int) -> None:
    inputs, wanted = made(tokens, width, out, rank=2, seed=seed)
    found = reduced_rank_ridge(inputs, wanted, rank, groups=torch.arange(tokens) // 3)
    assert found.a.shape == (rank, width) and found.b.shape == (out, rank)
    assert torch.isfinite(found.a).all() and torch.isfinite(found.b).all()
    assert found.explained <= 1 + 1e-5
    # The same numbers every time.
    again = reduced_rank_ridge(inputs, wanted, rank, groups=torch.arange(tokens) // 3)
    assert torch.equal(found.a, again.a) and torch.equal(found.b, again.b)
