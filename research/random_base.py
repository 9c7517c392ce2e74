"""A base of the shape of Qwen2.5 7 B with random weights in bfloat16, 15 GB, to measure `--stream-layers` with.

python research/random_base.py FOLDER TOKENIZER_FOLDER
dnd-tui generate assets/examples/topics.jsonl --base FOLDER --stream-layers --dtype bfloat16 --out streamed
"""

from __future__ import annotations

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config

HIDDEN, INNER, KEYS, VOCABULARY, LAYERS = 3584, 18944, 512, 152064, 28
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@cache
def layer() -> dict[str, torch.Tensor]:
    """The tensors of every layer, by the ends of their names."""
    sizes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KEYS, HIDDEN), "self_attn.v_proj": (KEYS, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }  # fmt: skip
    source = torch.Generator().manual_seed(0)
    tensors = {f"{name}.weight": drawn(source, *size) for name, size in sizes.items()}
    tensors |= {f"{name}.bias": drawn(source, sizes[name][0]) for name in list(sizes)[:3]}
    tensors |= {f"{name}_layernorm.weight": ones() for name in ("input", "post_attention")}
    return tensors


def drawn(source: torch.Generator, *size: int) -> torch.Tensor:
    """Random weights."""
    return 0.02 * torch.randn(size, generator=source, dtype=torch.bfloat16)


def ones() -> torch.Tensor:
    """A norm that changes nothing."""
    return torch.ones(HIDDEN, dtype=torch.bfloat16)


def main(folder: Path, tokenizer: Path) -> None:
    """Write a file a layer, one for the rest, config, index and tokenizer."""
    folder.mkdir(parents=True)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False,
        architectures=["Qwen2ForCausalLM"], dtype="bfloat16",
    )  # fmt: skip
    config.save_pretrained(folder)
    source = torch.Generator().manual_seed(1)
    rest = {name: drawn(source, VOCABULARY, HIDDEN) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    index: dict[str, str] = {}
    layers = ({f"model.layers.{n}.{name}": each for name, each in layer().items()} for n in range(LAYERS))
    for number, tensors in enumerate([rest | {"model.norm.weight": ones()}, *layers]):
        name = f"model-{number:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    for name in TOKENIZER:
        shutil.copyfile(tokenizer / name, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
