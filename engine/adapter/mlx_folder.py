"""A LoRA as mlx-lm reads it: `mlx_lm.generate --adapter-path FOLDER`.

    adapter_config.json     fine_tune_type, num_layers (from the last), lora_parameters {rank, scale, dropout, keys}
    adapters.safetensors    <path>.lora_a (in, rank) and <path>.lora_b (rank, out): peft's matrices transposed

MLX computes  x @ W.T + scale · (x @ lora_a) @ lora_b,  so scale = alpha / rank.
Source: mlx_lm/tuner/utils.py (`load_adapters`) and mlx_lm/tuner/lora.py (`LoRALinear`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapter.peft_folder import stored_state
from engine.errors import EngineError
from engine.files import read_json
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapters.safetensors"


def write_mlx_files(folder: Path, adapter: LoraAdapter, *, layers: int, float_type: str = "float32") -> None:
    """Write the two files into an existing folder.

    Args:
        layers: of the base, all of them.

    Raises:
        EngineError: a module lies outside of the layers; a value is not finite or too large for `float_type`.
    """
    from safetensors.torch import save

    layout = adapter.layout
    # Of a kind that is not adapted in every layer, mlx-lm starts the rest with zeros, which change nothing.
    keys = list(dict.fromkeys(_in_its_layer(module.path) for module in layout.modules))
    parameters = {"rank": layout.lora.rank, "scale": layout.lora.scaling, "dropout": 0.0, "keys": keys}
    config = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = stored_state(adapter, float_type)
    tensors = {_name(key): matrix.T.contiguous() for key, matrix in state.items()}
    # Its own way to a file hides what the disk says.
    (folder / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "mlx"}))


def read_mlx_files(folder: Path, layout: Layout) -> LoraAdapter:
    """The adapter of a folder that `write_mlx_files` wrote for `layout`, in float32: for comparison.

    Raises:
        EngineError: a file is broken, says another rank or scale, or lacks a matrix.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said = read_json(folder / CONFIG_FILE)["lora_parameters"]
    if (said["rank"], said["scale"]) != (layout.lora.rank, layout.lora.scaling):
        raise EngineError(f"is not the adapter that was written: it says {said}", where=str(folder))
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
        a = {module.path: _back(tensors[f"{module.path}.lora_a"]) for module in layout.modules}
        b = {module.path: _back(tensors[f"{module.path}.lora_b"]) for module in layout.modules}
    except (SafetensorError, KeyError) as error:
        raise EngineError(f"is not what was written: {error}", where=str(folder / WEIGHTS_FILE)) from error
    return LoraAdapter(layout, a, b)


def _name(key: str) -> str:
    path, half, _ = key.removeprefix("base_model.model.").rsplit(".", 2)
    return f"{path}.{half.lower()}"


def _in_its_layer(path: str) -> str:
    """`self_attn.q_proj` of `model.layers.3.self_attn.q_proj`."""
    _, found, rest = path.partition(".layers.")
    number, _, key = rest.partition(".")
    if not found or not number.isdecimal() or not key:
        raise EngineError("mlx-lm adapts modules of the layers only", where=path, hint="Export it as merged")
    return key


def _back(matrix: Tensor) -> Tensor:
    return matrix.float().T.contiguous()
