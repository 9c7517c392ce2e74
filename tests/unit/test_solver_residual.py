"""Which modules write into the residual stream, in bases of different build; others are refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PretrainedConfig,
)

from engine.adapter.attach import AttachedModel
from engine.errors import EngineError
from engine.solver.residual import stream_layers
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import tiny_model
from tests.unit.adapter_parts import random_adapter

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "initializer_range": 0.15,
}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}


def built(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


def other(family: str) -> Any:
    match family:
        case "mistral":
            return built(MistralConfig(**SIZES, **GROUPED, sliding_window=24))
        case "phi3":
            return built(Phi3Config(**SIZES, num_key_value_heads=2, bos_token_id=1, eos_token_id=2))
        case "gemma3":
            return built(Gemma3TextConfig(**SIZES, **GROUPED, sliding_window=24))
        case "granite":
            return built(GraniteConfig(**SIZES, num_key_value_heads=2, residual_multiplier=0.5))
        case "gpt_neox":
            return built(GPTNeoXConfig(**SIZES))
        case _:
            return tiny_model(family)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "phi3", "gemma2", "gemma3", "granite"])
def test_attention_and_mlp_write_in_turn(family: str) -> None:
    for number, layer in enumerate(stream_layers(other(family))):
        start = f"model.layers.{number}"
        assert [w.path for w in layer.writers] == [f"{start}.self_attn.o_proj", f"{start}.mlp.down_proj"]
        assert all(w.scale == pytest.approx(0.5 if family == "granite" else 1, abs=1e-3) for w in layer.writers)
        assert all((w.norm is not None) == family.startswith("gemma") for w in layer.writers)


def test_parallel_blocks_have_the_same_two_writers() -> None:
    layer = stream_layers(other("gpt_neox"))[1]
    paths = [writer.path for writer in layer.writers]
    assert paths == ["gpt_neox.layers.1.attention.dense", "gpt_neox.layers.1.mlp.dense_4h_to_h"]


def test_with_an_adapter_attached_the_wrapped_modules_write() -> None:
    model = tiny_model("llama")
    with AttachedModel(model) as attached:
        attached.add("one", random_adapter(derive_layout(model.config, LoraSpec(rank=2, alpha=4))))
        attached.use("one")
        assert [writer.path.rsplit(".", 1)[-1] for writer in stream_layers(model)[0].writers] == ["o_proj", "down_proj"]


def test_looking_leaves_the_model_as_it_was() -> None:
    model = tiny_model("qwen3")
    ids = torch.arange(3, 20)[None]
    before = model(ids).logits
    stream_layers(model)
    assert torch.equal(before, model(ids).logits)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=300), "no linear module"),
        (MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=4), "not the sum of its linear modules"),
    ],
    ids=["gpt2", "experts"],
)
def test_other_layers_are_refused(config: PretrainedConfig, problem: str) -> None:
    with pytest.raises(EngineError, match=problem) as error:
        stream_layers(built(config))
    assert error.value.hint
