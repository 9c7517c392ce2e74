"""A tiny base, random adapters for it, and folders of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from engine.adapter.peft_folder import peft_files, write_files
from engine.files import replacing_folder
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

TINY = LlamaConfig(
    vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, head_dim=8
)


def tiny_with(**changes: int) -> LlamaConfig:
    """The tiny config with other sizes."""
    return LlamaConfig(**(TINY.to_dict() | changes))


def tiny_model() -> torch.nn.Module:
    """Frozen, in eval mode, the same weights every time."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(TINY).eval().requires_grad_(False)


def random_adapter(layout: Layout, seed: int = 0, size: float = 1.0) -> LoraAdapter:
    """Normal matrices of standard deviation `size`."""
    seeded = torch.Generator().manual_seed(seed)
    rank = layout.lora.rank
    a = {m.path: torch.randn(rank, m.in_features, generator=seeded) * size for m in layout.modules}
    b = {m.path: torch.randn(m.out_features, rank, generator=seeded) * size for m in layout.modules}
    return LoraAdapter(layout, a, b)


def write_peft_folder(
    folder: Path,
    adapter: LoraAdapter,
    base_id: str,
    *,
    float_type: str = "float32",
    extra_files: Mapping[str, str] | None = None,
    replace: bool = False,
) -> None:
    """A PEFT folder, with more text files by name."""
    files = peft_files(adapter, base_id, float_type=float_type)
    with replacing_folder(folder, replace=replace) as part:
        write_files(part, files, extra_files or {})
