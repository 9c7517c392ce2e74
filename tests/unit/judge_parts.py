"""Tiny random models, a tokenizer and adapters for the tests of the judge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

SIZES: dict[str, Any] = {
    "vocab_size": 257,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte: every character beyond ASCII is spread over several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


TOKENIZER = byte_tokenizer()


def tiny(kind: str) -> Any:
    """A random model whose next token depends on all tokens before (large weights instead of near-uniform logits)."""
    torch.manual_seed(0)
    model: PreTrainedModel
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES, initializer_range=0.5, attention_bias=True))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, initializer_range=0.5))
    elif kind == "lfm2":
        types = ["conv", "full_attention", "conv"]
        model = Lfm2ForCausalLM(Lfm2Config(**SIZES, layer_types=types, initializer_range=0.5))
    else:
        config = Gemma2Config(**SIZES, head_dim=8, initializer_range=0.5, sliding_window=16, tie_word_embeddings=False)
        model = Gemma2ForCausalLM(config)
    return model.eval().requires_grad_(False)


def tiny_base() -> Any:
    """What the judge uses of a loaded base."""
    return SimpleNamespace(
        model=tiny("llama"),
        tokenizer=TOKENIZER,
        ref=SimpleNamespace(fingerprint="tiny"),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )


def random_adapter(config: PretrainedConfig, seed: int = 0) -> LoraAdapter:
    """An adapter that changes the answers of a tiny model."""
    layout = derive_layout(config, LoraSpec(rank=2, alpha=4))
    generator = torch.Generator().manual_seed(seed)
    a = {one.path: torch.randn(2, one.in_features, generator=generator) for one in layout.modules}
    b = {one.path: torch.randn(one.out_features, 2, generator=generator) for one in layout.modules}
    return LoraAdapter(layout, a, b)
