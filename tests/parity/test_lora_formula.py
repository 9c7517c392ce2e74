"""The attached model against the LoRA formula written out by hand: W + alpha / r * B @ A, merged into a copy."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from engine.adapter.attach import BASE_ROW, attach
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
CONFIGS = [LlamaConfig(**SIZES), Qwen2Config(**SIZES), Qwen3Config(**SIZES), Gemma2Config(**SIZES)]
# Merging changes only the order of float32 sums. Logits here are below 10 in size; 3 layers of sums over at most 48
# products leave a relative error of some 1e-6. A wrong scale or a swapped matrix moves the logits by over 1e-2.
TOLERANCE = 2e-5


@pytest.fixture(params=CONFIGS, ids=lambda config: config.model_type)
def config(request: pytest.FixtureRequest) -> PretrainedConfig:
    return request.param


@pytest.fixture
def model(config: PretrainedConfig) -> torch.nn.Module:
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@pytest.fixture
def adapter(config: PretrainedConfig) -> LoraAdapter:
    layout = derive_layout(config, LoraSpec(rank=4, alpha=12))
    seeded = torch.Generator().manual_seed(2)
    a = {m.path: torch.randn(4, m.in_features, generator=seeded) * 0.2 for m in layout.modules}
    b = {m.path: torch.randn(m.out_features, 4, generator=seeded) * 0.2 for m in layout.modules}
    return LoraAdapter(layout, a, b)


def merged_by_hand(model: torch.nn.Module, adapter: LoraAdapter) -> torch.nn.Module:
    merged = copy.deepcopy(model)
    weights = dict(merged.named_parameters())
    lora = adapter.layout.lora
    for module in adapter.layout.modules:
        update = torch.einsum("or,ri->oi", adapter.b[module.path], adapter.a[module.path])
        weights[f"{module.path}.weight"].add_(update * (lora.alpha / lora.rank))
    return merged


IDS = torch.tensor([[5, 11, 90, 2, 44], [7, 7, 1, 60, 3]])


def test_attached_equals_merged_weights(model: torch.nn.Module, adapter: LoraAdapter) -> None:
    base_logits = model(input_ids=IDS).logits
    expected = merged_by_hand(model, adapter)(input_ids=IDS).logits
    assert (expected - base_logits).abs().max() > 1000 * TOLERANCE
    with attach(model, adapter) as attached:
        assert (attached(input_ids=IDS).logits - expected).abs().max() <= TOLERANCE


def test_off_and_detached_are_bit_equal_to_the_base(model: torch.nn.Module, adapter: LoraAdapter) -> None:
    before = model(input_ids=IDS).logits
    attached = attach(model, adapter)
    attached.use(None)
    assert torch.equal(attached(input_ids=IDS).logits, before)
    attached.use("adapted")
    assert not torch.equal(attached(input_ids=IDS).logits, before)
    assert torch.equal(attached.detach()(input_ids=IDS).logits, before)


def test_mixed_batch_equals_separate_runs(model: torch.nn.Module, adapter: LoraAdapter) -> None:
    with attach(model, adapter) as attached:
        mixed = attached(input_ids=IDS, adapter_names=[BASE_ROW, "adapted"]).logits
        adapted = attached(input_ids=IDS).logits
        attached.use(None)
        base = attached(input_ids=IDS).logits
    # The base's products run on the same batch in all three, so its row has no rounding of its own.
    assert torch.equal(mixed[0], base[0])
    assert (mixed[1] - adapted[1]).abs().max() <= TOLERANCE
