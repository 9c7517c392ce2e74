"""Norms of updates without forming them, against the formed update."""

from __future__ import annotations

import pytest
import torch

from engine.weights.lora import LoraAdapter, norms_by_layer, share_beyond, update_norm
from tests.unit.test_generator import hidden, make_generator


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 8, 4), (8, 64, 48)])
def test_the_norm_is_that_of_the_product(shape: tuple[int, int, int]) -> None:
    rank, outs, ins = shape
    torch.manual_seed(rank)
    a, b = torch.randn(rank, ins), torch.randn(outs, rank)
    assert update_norm(a, b, 2.5) == pytest.approx(float(torch.linalg.norm(2.5 * b @ a)), rel=1e-5)


def test_an_update_of_zeros_has_norm_zero() -> None:
    assert update_norm(torch.randn(2, 5), torch.zeros(4, 2), 2.0) == 0.0


def test_every_module_is_told_once_layer_by_layer() -> None:
    generator = make_generator("shared_a")
    adapter, own = generator.generate(hidden(3)), generator.frame.base_adapter
    layers = list(norms_by_layer(adapter, own))
    assert len(layers) == 2 and all(".1." in path for path in layers[1])
    told = {path: norms for layer in layers for path, norms in layer.items()}
    assert list(told) == [module.path for module in adapter.layout.modules]
    path = adapter.layout.modules[3].path
    scale = adapter.layout.lora.scaling
    for norm, matrices in zip(told[path], (adapter, own), strict=True):
        assert norm == pytest.approx(float(torch.linalg.norm(scale * matrices.b[path] @ matrices.a[path])), rel=1e-4)


def test_the_share_beyond_a_reference_is_that_of_the_formed_updates() -> None:
    generator = make_generator("shared_a")
    adapter, own = generator.generate(hidden(3)), generator.frame.base_adapter
    whole = torch.cat([adapter.update(path).flatten() for path in adapter.a])
    beyond = whole - torch.cat([own.update(path).flatten() for path in adapter.a])
    assert share_beyond(adapter, own) == pytest.approx(float(beyond.norm() / whole.norm()), rel=1e-4)
    assert share_beyond(own, own) == pytest.approx(0.0, abs=1e-7)
    nearly = LoraAdapter(own.layout, own.a, {path: b * 1.001 for path, b in own.b.items()})
    assert share_beyond(nearly, own) == pytest.approx(0.001 / 1.001, rel=1e-3)
    nothing = LoraAdapter(own.layout, own.a, {path: torch.zeros_like(b) for path, b in own.b.items()})
    assert share_beyond(nothing, nothing) == 0.0
