"""Base and adapter as one model, in the folder that transformers, vLLM, SGLang and mlx-lm load.

    base's weights --(a tensor at a time: in float32 + alpha/rank · B·A, cast)--> safetensors, config, tokenizer

Every parameter is written once, under its first name: tied embeddings stay tied, and `lm_head` is not touched.
One tensor beyond the base's own is in memory at a time.
"""

from __future__ import annotations

import copy
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.adapter.shards import write_shards
from engine.base.config_file import complete_config
from engine.events import Stage
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


def write_merged(
    folder: Path,
    base: LoadedBase,
    adapter: LoraAdapter,
    *,
    base_id: str,
    float_type: str = "float32",
    stage: Stage | None = None,
) -> dict[str, str]:
    """Write the merged model into an existing folder; the SHA-256 of each weight file.

    Args:
        base: not changed.
        float_type: of all weights.
        stage: hears every tensor.

    Raises:
        EngineError: a file cannot be written.
    """
    dtype = getattr(torch, float_type)
    # Without the names that share a parameter with an earlier one.
    parameters = dict(base.model.named_parameters(remove_duplicate=True))
    modules = {f"{module.path}.weight": module.path for module in adapter.layout.modules}

    def tensor(name: str) -> torch.Tensor:
        weight = parameters[name].detach()
        if name in modules:
            weight = weight.float() + update(adapter, modules[name]).to(weight.device)
        return weight.to("cpu", dtype)

    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    digests = write_shards(folder, shapes, tensor, float_type, stage)
    config = copy.deepcopy(base.model.config)
    config.dtype = dtype
    config.architectures = [type(base.model).__name__]
    config._name_or_path = base_id  # not the place of the base on this machine
    config.save_pretrained(folder)
    complete_config(folder / "config.json")
    generation: Any = base.model.generation_config
    if generation is not None:
        generation.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return digests


def update(adapter: LoraAdapter, path: str) -> torch.Tensor:
    """alpha / rank · B·A of a module: (out, in), float32."""
    return adapter.layout.lora.scaling * (adapter.b[path] @ adapter.a[path])


def use_up(base: LoadedBase) -> None:
    """Give the memory of the base's weights back. It is of no use afterwards."""
    for parameter in base.model.parameters():
        parameter.data = parameter.data.new_empty(0)
    gc.collect()
