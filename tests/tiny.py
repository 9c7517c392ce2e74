"""Tiny random models built in memory, for tests that need a model's shape and not its knowledge."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

CONFIGS: dict[str, type[PretrainedConfig]] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma2": Gemma2Config,
}


def tiny_config(family: str, **changes: Any) -> PretrainedConfig:
    """Hidden 32, two layers, four heads (two for keys and values), a vocabulary of 300."""
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 300,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return CONFIGS[family](**(settings | changes))


def tiny_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A random model with weights large enough for answers to depend on the prompt."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(tiny_config(family, initializer_range=0.15, **changes))
    return model.eval().requires_grad_(False)


def ends_its_answers(folder: Path) -> Path:
    """Change a random model of `folder` so that its answers come to an end: many of its tokens are one."""
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": list(range(0, 300, 3))}))
    return folder


def write_tasks(folder: Path, names: list[str], rows: int = 24, split: str = "seen", seed: int = 0) -> Path:
    """A task folder with short rows: repeat a word, in a manner that differs by task."""
    folder.mkdir(parents=True, exist_ok=True)
    index_file = folder / "tasks.json"
    index = json.loads(index_file.read_text()) if index_file.exists() else {}
    for name in names:
        index[name] = {"metric": "exact_match", "split": split, "source": "made here"}
        chance = random.Random(f"{seed}/{name}")
        for part in ("train", "test"):
            with open(folder / f"{name}.{part}.jsonl", "w", encoding="utf-8") as file:
                for _ in range(rows):
                    word = "".join(chance.choices("abcdef", k=3))
                    file.write(json.dumps({"prompt": f"{name}:\n\n{word}", "response": word[::-1]}) + "\n")
    index_file.write_text(json.dumps(index))
    return folder


def in_memory_base(model: Any, tokenizer: Any, name: str = "tiny") -> Any:
    """What the forge needs of a loaded base."""
    ref = SimpleNamespace(id=name, fingerprint=name, config=model.config)
    return SimpleNamespace(
        model=model, tokenizer=tokenizer, device=torch.device("cpu"), dtype=torch.float32, ref=ref, streamed=None
    )


def generator_about(**fields: Any) -> str:
    """A generator.json that says what is given and nothing else of use."""
    empty: dict[str, Any] = {
        "format": 1, "sha256": "", "layout": {}, "condition": {}, "cascade": [], "kernel": 3, "base": {}, "history": {},
        "frame": "shared_a",
    }  # fmt: skip
    return json.dumps(empty | fields)
