"""Sums of adapters: exact, compressed, of unequal ranks, alphas and modules; and what cannot be added up."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.adapter.combine import combine
from engine.errors import EngineError
from engine.weights.layout import Layout, LayoutModule, LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.unit.adapter_parts import TINY, random_adapter, tiny_with

PATHS = [module.path for module in derive_layout(TINY).modules]
# Float32 sums of a few dozen products of values below 1.
EXACT = 1e-6


def adapter(rank: int, alpha: int, seed: int, kinds: tuple[str, ...] = ("q_proj", "down_proj")) -> LoraAdapter:
    return random_adapter(derive_layout(TINY, LoraSpec(rank, alpha, kinds)), seed, size=0.2)


def update(made: LoraAdapter, path: str) -> Tensor:
    """(out, in), in float64."""
    return made.layout.lora.scaling * (made.b[path].double() @ made.a[path].double())


def expected(adapters: list[LoraAdapter], weights: list[float], path: str) -> Tensor:
    return sum(
        (weight * update(each, path) for each, weight in zip(adapters, weights, strict=True) if path in each.a),
        torch.zeros(()),
    )


def assert_sum(made: LoraAdapter, adapters: list[LoraAdapter], weights: list[float]) -> None:
    for module in made.layout.modules:
        torch.testing.assert_close(
            update(made, module.path), expected(adapters, weights, module.path), rtol=EXACT, atol=EXACT
        )


def test_an_exact_sum_of_unequal_ranks_and_alphas_is_the_sum_of_the_updates() -> None:
    adapters = [adapter(2, 4, 1), adapter(5, 5, 2), adapter(3, 1, 3)]
    combined = combine(adapters, [0.7, -1.5, 2])
    assert combined.kept is None and combined.adapter.layout.lora == LoraSpec(10, 10, ("q_proj", "down_proj"))
    assert_sum(combined.adapter, adapters, [0.7, -1.5, 2])


def test_the_difference_of_an_adapter_and_itself_is_nothing() -> None:
    one = adapter(3, 6, 1)
    combined = combine([one, one], [1, -1])
    assert max(float(update(combined.adapter, m.path).abs().max()) for m in combined.adapter.layout.modules) <= EXACT
    other = adapter(2, 3, 2)
    back = combine([combine([one, other], [1, -1]).adapter, other], [1, 1]).adapter
    assert_sum(back, [one], [1])


def test_an_update_of_zeros_loses_nothing() -> None:
    combined = combine([adapter(3, 6, 1)], [0], rank=1)
    assert combined.kept is not None and combined.kept["all"] == 1.0


@pytest.mark.parametrize("rank", [1, 3, 5, 8])
def test_kept_energy_and_update_are_those_of_an_svd_of_the_full_matrix(rank: int) -> None:
    adapters, weights = [adapter(5, 10, 1), adapter(3, 2, 2)], [1.0, -0.5]
    combined = combine(adapters, weights, rank)
    assert combined.kept is not None and combined.adapter.layout.lora.rank == rank
    kept: dict[str, float] = {}
    whole: dict[str, float] = {}
    for module in combined.adapter.layout.modules:
        u, s, vh = torch.linalg.svd(expected(adapters, weights, module.path), full_matrices=False)
        nearest = (u[:, :rank] * s[:rank]) @ vh[:rank]
        torch.testing.assert_close(update(combined.adapter, module.path), nearest, rtol=EXACT, atol=EXACT)
        kept[module.kind] = kept.get(module.kind, 0) + float(s[:rank].square().sum())
        whole[module.kind] = whole.get(module.kind, 0) + float(s.square().sum())
    assert {kind: combined.kept[kind] for kind in kept} == pytest.approx(
        {kind: kept[kind] / whole[kind] for kind in kept}
    )
    assert combined.kept["all"] == pytest.approx(sum(kept.values()) / sum(whole.values()))


def test_a_full_rank_keeps_all_and_more_rank_never_keeps_less() -> None:
    one = adapter(6, 6, 1)
    shares = [combined.kept["all"] for rank in range(1, 7) if (combined := combine([one], [1], rank)).kept]
    assert shares[-1] == pytest.approx(1) and all(low <= high for low, high in pairwise(shares)) and len(shares) == 6


def test_a_module_narrower_than_the_rank_is_filled_with_zeros() -> None:
    narrow = random_adapter(Layout((LayoutModule("layers.0.thin", 3, 8),), LoraSpec(5, 5, ("thin",))), 1, size=0.2)
    combined = combine([narrow], [1], 5)
    assert combined.adapter.a["layers.0.thin"].shape == (5, 3)
    assert_sum(combined.adapter, [narrow], [1])


def test_adapters_of_different_modules_give_all_of_them() -> None:
    adapters = [adapter(2, 2, 1, ("q_proj", "v_proj")), adapter(3, 6, 2, ("v_proj", "up_proj"))]
    made = combine(adapters, [1, 1]).adapter
    assert set(made.layout.lora.target_modules) == {"q_proj", "v_proj", "up_proj"}
    assert [m.path for m in made.layout.modules] == [p for p in PATHS if p.rsplit(".", 1)[-1] in made.layout.kinds]
    assert_sum(made, adapters, [1, 1])


@given(
    parts=st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 12), st.floats(-2, 2), st.integers(0, 9)), min_size=2, max_size=4
    ),
    share=st.floats(0, 1),
)
def test_any_weights_and_ranks(parts: list[tuple[int, int, float, int]], share: float) -> None:
    adapters = [adapter(rank, alpha, seed, ("k_proj",)) for rank, alpha, _, seed in parts]
    weights = [weight for _, _, weight, _ in parts]
    # Weights of any size add up to updates of up to some hundreds: relative to those.
    size = sum(abs(w) * float(update(a, m.path).abs().max()) for a, w in zip(adapters, weights, strict=True)
               for m in a.layout.modules)  # fmt: skip
    exact = combine(adapters, weights).adapter
    whole = sum(rank for rank, *_ in parts)
    assert exact.layout.lora.rank == whole
    rank = max(1, round(share * whole))
    combined = combine(adapters, weights, rank)
    assert combined.kept is not None and 0 <= combined.kept["all"] <= 1 + 1e-9
    lost = total = 0.0
    for module in exact.layout.modules:
        full = expected(adapters, weights, module.path)
        torch.testing.assert_close(update(exact, module.path), full, rtol=0, atol=EXACT * (1 + size))
        lost += float((update(combined.adapter, module.path) - full).square().sum())
        total += float(full.square().sum())
    assert lost == pytest.approx((1 - combined.kept["all"]) * total, rel=1e-3, abs=EXACT * (1 + size))


@pytest.mark.parametrize(
    ("weights", "rank", "told"),
    [
        ([1.0], None, "1 weights do not go with 2 adapters"),
        ([1.0, math.nan], None, "nan is not a finite number"),
        ([1.0, math.inf], None, "inf is not a finite number"),
        ([1e300, 1.0], None, "a value of the sum is not finite"),
        ([1.0, 1.0], 6, "6 is not a rank from 1 to 5"),
        ([1.0, 1.0], 0, "0 is not a rank from 1 to 5"),
    ],
)
def test_what_cannot_be_added_up_is_told(weights: list[float], rank: int | None, told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        combine([adapter(2, 2, 1), adapter(3, 3, 2)], weights, rank)
    assert caught.value.hint


def test_a_mere_copy_a_rank_that_none_reads_and_another_base_are_refused() -> None:
    one = adapter(2, 2, 1)
    with pytest.raises(EngineError, match="only be copied"):
        combine([one], [1])
    large = random_adapter(derive_layout(TINY, LoraSpec(3000, 1, ("q_proj",))))
    with pytest.raises(EngineError, match="rank 6000"):
        combine([large, large], [1, 1])
    other = random_adapter(derive_layout(tiny_with(intermediate_size=32), LoraSpec(2, 2, ("down_proj",))))
    with pytest.raises(EngineError, match="one adapter maps 24 to 16"):
        combine([one, other], [1, 1])
