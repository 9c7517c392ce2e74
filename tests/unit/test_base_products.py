"""Shorter products: faster on some CPUs, never in the stream, the head or a regression."""

from __future__ import annotations

import torch

from engine.base.device import exact_products, short_products
from engine.base.network import output_logits
from tests.tiny import tiny_model


def test_the_stream_keeps_its_dtype_and_comes_near() -> None:
    model, ids = tiny_model("llama"), torch.arange(3, 40)[None]
    with torch.inference_mode():
        exact = model.base_model(ids).last_hidden_state
        with short_products():
            short = model.base_model(ids).last_hidden_state
    assert short.dtype == exact.dtype == torch.float32
    assert float((short - exact).norm() / exact.norm()) < 0.02


def test_inside_the_head_and_exact_blocks_are_exact() -> None:
    model = tiny_model("llama")
    hidden = torch.randn(5, model.config.hidden_size)
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    with torch.inference_mode():
        logits, product = output_logits(model, hidden), a @ b
        with short_products():
            assert torch.equal(output_logits(model, hidden), logits)
            with exact_products():
                assert torch.equal(a @ b, product)
