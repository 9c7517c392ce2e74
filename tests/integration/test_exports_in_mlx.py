"""MLX adapter folders and merged models in the real mlx-lm, against base + adapter in transformers.

Log-probabilities of all tokens after each prefix of a prompt, everything in float32 unless said.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from engine.adapter.attach import attach
from engine.adapter.check import CHECK_PROMPT, as_stored
from engine.adapter.consumers import consumers
from engine.adapter.export import Choice, write_checked_export
from engine.adapter.peft_folder import CONFIG_FILE, read_peft_folder
from engine.adapter.writers import MLX_WEIGHTS_FILE
from engine.base.chat import prompt_ids
from engine.base.config_file import complete_config
from engine.base.load import LoadedBase, load_base, resolve_base
from engine.base.source import BaseSource, source_of
from engine.files import read_json
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.mlx_lm import log_probabilities
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.adapter_parts import random_adapter

# Two programs with sums and exponentials of their own; thirty layers add up to more than two.
PARITY = 1e-4
REAL_PARITY = 1e-3
IDS = [1, *range(40, 80)]
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def in_transformers(model: torch.nn.Module, adapter: LoraAdapter, ids: list[int]) -> np.ndarray:
    with torch.inference_mode(), attach(model, adapter) as attached:
        return attached(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()


def largest(first: np.ndarray, second: np.ndarray) -> float:
    return float(abs(first - second).max())


def export(target: Path, adapter: LoraAdapter, base: LoadedBase, ids: list[int], choice: Choice) -> Path:
    source = source_of(base.ref)
    write_checked_export(target, adapter, base, ids, choice, base_id=base.ref.id, provenance=None, base_source=source)
    return target


@pytest.mark.parametrize(
    ("family", "changes"),
    [("llama", {}), ("llama", {"rope_parameters": SCALED}), ("qwen2", {}), ("qwen3", {}), ("gemma2", {})],
)
def test_a_tiny_base_of_every_architecture(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    folder = tmp_path / "base"
    tiny_model(family, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    # Without it mlx-lm takes angles of its own for Qwen2: transformers 5 keeps them where it does not look.
    complete_config(folder / "config.json")
    base = load_base(resolve_base(str(folder)), device="cpu")
    adapter = random_adapter(derive_layout(base.model.config, LoraSpec(rank=2, alpha=3)), size=0.3)
    expected = in_transformers(base.model, adapter, IDS)
    mlx = export(tmp_path / "mlx", adapter, base, IDS, Choice(form="mlx"))
    merged = export(tmp_path / "merged", adapter, base, IDS, Choice(form="merged"))
    assert largest(log_probabilities(folder, IDS), expected) > 0.1
    assert largest(log_probabilities(folder, IDS, mlx), expected) <= PARITY
    assert largest(log_probabilities(merged, IDS), expected) <= PARITY


def test_the_default_base_with_a_generated_adapter(
    default_base: LoadedBase,
    generated_adapter: Path,
    exported: Callable[[str, str], Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    adapter, _ = read_peft_folder(generated_adapter)
    ids, base = prompt_ids(default_base.tokenizer, CHECK_PROMPT), Path(default_base.ref.folder)
    expected = in_transformers(default_base.model, adapter, ids)
    halved = in_transformers(default_base.model, as_stored(adapter, "float16"), ids)
    figures = {
        "adapter in float32": largest(log_probabilities(base, ids, exported("mlx", "float32")), expected),
        "adapter in float16": largest(log_probabilities(base, ids, exported("mlx", "float16")), expected),
        "merged": largest(log_probabilities(exported("merged", "float32"), ids), expected),
        "float16 in transformers against float32": largest(halved, expected),
        "without the adapter": largest(log_probabilities(base, ids), expected),
        "merged, without the angles": largest(
            log_probabilities(without_angles(exported("merged", "float32"), tmp_path), ids), expected
        ),
    }
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value:.1e}")
    assert figures["adapter in float32"] <= REAL_PARITY
    assert figures["merged"] <= REAL_PARITY
    assert figures["adapter in float16"] < 0.1
    assert figures["without the adapter"] > 0.1
    assert figures["merged, without the angles"] > 0.1


def without_angles(merged: Path, folder: Path) -> Path:
    """As transformers 5 would leave it."""
    for file in merged.iterdir():
        (folder / file.name).symlink_to(file)
    config = read_json(merged / "config.json")
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({name: config[name] for name in config if name != "rope_theta"}))
    return folder


def test_matrices_that_are_not_transposed_are_refused(
    default_base: LoadedBase, exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    folder = exported("mlx", "float32")
    (tmp_path / CONFIG_FILE).write_bytes((folder / CONFIG_FILE).read_bytes())
    turned = {name: matrix.T.copy() for name, matrix in load_file(folder / MLX_WEIGHTS_FILE).items()}
    save_file(turned, tmp_path / MLX_WEIGHTS_FILE)
    with pytest.raises(ValueError, match="does not match model parameter shape"):
        log_probabilities(Path(default_base.ref.folder), [1, 2], tmp_path)


def test_the_line_that_is_told_answers(default_base: LoadedBase, exported: Callable[[str, str], Path]) -> None:
    pytest.importorskip("mlx_lm", reason="mlx-lm is not installed")
    layout = derive_layout(default_base.ref.config)
    base = BaseSource(str(default_base.ref.folder), "llama")
    found = {each.consumer: each.command for each in consumers(exported("mlx", "float32"), layout, base, form="mlx")}
    line = found["MLX"]
    assert line is not None
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    words = [*shlex.split(line), "--max-tokens", "4"]
    done = subprocess.run(words, env=os.environ | {"PATH": place}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Of the words in the line's prompt; the base alone says: The colour of rice is rice.
    assert done.stdout.splitlines()[1:3] == ["red", "=" * 10]
