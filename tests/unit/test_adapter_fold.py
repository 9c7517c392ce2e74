"""The update of every module is that of the adapter that came in, whatever its ranks and scales."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.adapter.foreign import Pair, Read, fit, fold, paired, plan
from engine.errors import EngineError
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.unit.adapter_parts import TINY, tiny_with

SIZES = {module.path: (module.in_features, module.out_features) for module in derive_layout(TINY).modules}
PATHS = list(SIZES)
Q0, K0, Q1 = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.1.self_attn.q_proj"


def pair(path: str, rank: int) -> Pair:
    return Pair(path, rank, *SIZES[path], f"{path}.A", f"{path}.B")


def matrices(pairs: list[Pair]) -> dict[str, Tensor]:
    seeded = torch.Generator().manual_seed(1)
    made = {}
    for each in pairs:
        made[each.a] = torch.randn(each.rank, each.in_features, generator=seeded)
        made[each.b] = torch.randn(each.out_features, each.rank, generator=seeded)
    return made


def reading(stored: Mapping[str, Tensor]) -> Read:
    return lambda path, pair: (stored[pair.a].clone(), stored[pair.b].clone())


def folded(pairs: list[Pair], scales: Mapping[str, Fraction]) -> tuple[LoraAdapter, dict[str, Tensor], tuple[str, ...]]:
    made, stored = plan(fit(pairs, TINY), scales), matrices(pairs)
    return fold(made, reading(stored)), stored, made.changes


def assert_same_updates(
    adapter: LoraAdapter, pairs: list[Pair], scales: Mapping[str, Fraction], stored: Mapping[str, Tensor]
) -> None:
    for each in pairs:
        ours = adapter.layout.lora.scaling * (adapter.b[each.path].double() @ adapter.a[each.path].double())
        theirs = float(scales[each.path]) * (stored[each.b].double() @ stored[each.a].double())
        # One rounding to float32 of each value of B.
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6 * float(theirs.abs().max()))


@given(
    chosen=st.dictionaries(
        st.sampled_from(PATHS), st.tuples(st.integers(1, 9), st.fractions("1/1000", 500)), min_size=1
    )
)
def test_any_ranks_and_scales(chosen: dict[str, tuple[int, Fraction]]) -> None:
    pairs = [pair(path, rank) for path, (rank, _) in chosen.items()]
    scales = {path: scale for path, (_, scale) in chosen.items()}
    adapter, stored, _ = folded(pairs, scales)
    assert adapter.layout.lora.rank == max(rank for rank, _ in chosen.values())
    assert [module.path for module in adapter.layout.modules] == [path for path in PATHS if path in chosen]
    assert_same_updates(adapter, pairs, scales, stored)


@pytest.mark.parametrize(
    ("ranks", "scales", "lora"),
    [
        ((4, 4), ("2", "2"), (4, 8)),
        ((4, 2), ("2", "2"), (4, 8)),
        ((4, 4), ("4", "4"), (4, 16)),  # rsLoRA of alpha 8
        ((8, 8), ("15/16", "15/16"), (8, 15)),  # alpha 7.5: half of it goes into B
    ],
)
def test_no_digit_changes_where_one_alpha_holds_all_scales(
    ranks: tuple[int, int], scales: tuple[str, str], lora: tuple[int, int]
) -> None:
    pairs = [pair(path, rank) for path, rank in zip((Q0, K0), ranks, strict=True)]
    given_scales = dict(zip((Q0, K0), map(Fraction, scales), strict=True))
    adapter, stored, _ = folded(pairs, given_scales)
    assert (adapter.layout.lora.rank, adapter.layout.lora.alpha) == lora
    for each in pairs:
        factor = float(given_scales[each.path]) / adapter.layout.lora.scaling
        assert torch.equal(adapter.a[each.path][: each.rank], stored[each.a])
        assert torch.equal(adapter.b[each.path][:, : each.rank], stored[each.b] * factor) and factor in (1, 0.5)
        assert not adapter.a[each.path][each.rank :].any() and not adapter.b[each.path][:, each.rank :].any()


def test_the_matrices_of_most_modules_stay_as_they_are() -> None:
    pairs = [pair(path, 4) for path in (Q0, K0, Q1)]
    scales = {Q0: Fraction(1, 3), K0: Fraction(2), Q1: Fraction(2)}
    adapter, stored, changes = folded(pairs, scales)
    assert torch.equal(adapter.b[K0], stored[f"{K0}.B"]) and torch.equal(adapter.b[Q1], stored[f"{Q1}.B"])
    assert_same_updates(adapter, pairs, scales, stored)
    assert changes[0] == "The scale of 1 module went into lora_B, times 0.166667; alpha / rank = 8 / 4."


def test_nothing_is_told_where_nothing_changed() -> None:
    pairs = [pair(path, 4) for path in PATHS]
    adapter, _, changes = folded(pairs, dict.fromkeys(PATHS, Fraction(2)))
    assert changes == () and adapter.layout == derive_layout(TINY, LoraSpec(4, 8))


def test_a_part_of_the_modules_stays_a_part() -> None:
    adapter, _, changes = folded([pair(Q0, 2), pair(Q1, 2)], {Q0: Fraction(1), Q1: Fraction(1)})
    assert adapter.layout.lora.target_modules == ("q_proj",) and changes == ()
    adapter, _, changes = folded([pair(Q1, 2)], {Q1: Fraction(1)})
    assert adapter.layout.lora.target_modules == (Q1,)
    assert changes == ("Adapted are 1 module in 1 layer (q_proj); all others stay as the base has them.",)


@pytest.mark.parametrize(("written", "told"), [("layers.1.self_attn.q_proj", "got"), (f"model.{Q1}", "lost")])
def test_a_model_in_front_may_be_missing_or_too_many(written: str, told: str) -> None:
    fitted = fit([Pair(written, 2, *SIZES[Q1], "a", "b")], TINY)
    assert list(fitted.pairs) == [Q1] and fitted.pairs[Q1].path == written
    assert fitted.changes[0].startswith(f"Module paths {told} a model. in front")


def test_another_base_is_told() -> None:
    with pytest.raises(EngineError, match=r"layers\.7\.self_attn\.q_proj: the base has no such") as caught:
        fit([pair(Q0, 2), Pair("model.layers.7.self_attn.q_proj", 2, 16, 16, "a", "b")], TINY)
    assert "with base" in str(caught.value)
    with pytest.raises(EngineError, match="maps 16 to 24 values, the base 16 to 40"):
        fit([pair("model.layers.0.mlp.up_proj", 2)], tiny_with(intermediate_size=40))
    with pytest.raises(EngineError, match=r"no linear module of any of its 1 kinds\. Linear modules there: .*q_proj"):
        fit([Pair("model.layers.0.c_attn", 2, 16, 16, "a", "b")], TINY)
    with pytest.raises(EngineError, match="no such linear module"):
        fit([pair(Q0, 2), Pair(Q0.removeprefix("model."), 2, 16, 16, "a", "b")], TINY)


def test_one_huge_rank_does_not_blow_up_all_others() -> None:
    config = tiny_with(num_hidden_layers=1200, hidden_size=64)
    inner = {module.path: module for module in derive_layout(config, LoraSpec(1, 1, ("q_proj",))).modules}
    pairs = [Pair(path, 1, m.in_features, m.out_features, "a", "b") for path, m in inner.items()]
    pairs[5] = Pair(pairs[5].path, 4096, pairs[5].in_features, pairs[5].out_features, "a", "b")
    with pytest.raises(EngineError, match=r"layers\.5\.self_attn\.q_proj: is of rank 4096; .* are no zeros"):
        plan(fit(pairs, config), dict.fromkeys(inner, Fraction(1)))


def halves(path: str, a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
    return {path: {"A": ("a", a), "B": ("b", b)}}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({}, "no matrices of LoRA"),
        ({Q0: {"A": ("a", (2, 16))}}, "has a lora_A and no lora_B"),
        ({Q0: {"B": ("b", (16, 2))}}, "has a lora_B and no lora_A"),
        (halves(Q0, (2, 16), (16, 3)), "lora_A is of rank 2, lora_B of rank 3"),
        (halves(Q0, (2, 16, 1), (16, 2)), r"has the shape \(2, 16, 1\)"),
        (halves(Q0, (0, 16), (16, 0)), r"has the shape \(0, 16\)"),
        (halves(Q0, (5000, 16), (16, 5000)), "is of rank 5000, more than 4096"),
        (halves("lm_head", (2, 16), (61, 2)), "outside of the layers"),
    ],
)
def test_a_header_that_cannot_be_is_told(header: dict[str, dict[str, tuple[str, tuple[int, ...]]]], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        paired(header, "file")


def test_values_that_are_not_finite_and_shapes_that_changed_are_told() -> None:
    pairs = [pair(Q0, 2)]
    made, stored = plan(fit(pairs, TINY), {Q0: Fraction(1)}), matrices(pairs)
    broken = {**stored, f"{Q0}.B": torch.full((16, 2), torch.nan)}
    with pytest.raises(EngineError, match="a value is not finite"):
        fold(made, reading(broken))
    with pytest.raises(EngineError, match="was changed while it was read"):
        fold(made, reading({**stored, f"{Q0}.A": torch.zeros(3, 16)}))
    large = plan(fit(pairs, TINY), {Q0: Fraction(10**6) + Fraction(1, 3)})
    with pytest.raises(EngineError, match="a value is not finite"):
        fold(large, reading({**stored, f"{Q0}.B": torch.full((16, 2), 1e35)}))
