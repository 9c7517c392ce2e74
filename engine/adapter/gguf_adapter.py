"""A LoRA as a GGUF file: what `llama-server --lora` and Ollama's ADAPTER read.

    general.type = adapter, general.architecture, adapter.type = lora, adapter.lora.alpha (float32)
    blk.3.attn_q.weight.lora_a  (rank, in)      as peft has it
    blk.3.attn_q.weight.lora_b  (out, rank)     rows in the order of the base's own GGUF file (`gguf_names`)

Shapes as numpy has them; GGUF lists dimensions the other way round. llama.cpp multiplies by alpha / rank.
Source: llama.cpp's convert_lora_to_gguf.py and `llama_adapter_lora_init`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.gguf_names import GGUF_ARCHITECTURES, permute_rows, permuted_heads, tensor_name, unpermute_rows
from engine.adapter.peft_folder import stored_state
from engine.base.gguf import close_gguf, gguf_field, open_gguf
from engine.errors import EngineError
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

_ADAPTER, _LORA = "adapter", "lora"
_TYPE, _LORA_TYPE, _ALPHA = "general.type", "adapter.type", "adapter.lora.alpha"


def write_gguf_adapter(
    file: Path, adapter: LoraAdapter, config: PretrainedConfig, *, name: str, float_type: str = "float32"
) -> None:
    """Write `adapter` to `file`.

    Args:
        config: of the base.
        name: what the file calls itself.
        float_type: of the matrices, "float32" or "float16".

    Raises:
        EngineError: GGUF has no name for a module, or a value is not finite or too large for `float_type`.
    """
    import gguf

    architecture = gguf_architecture(config)
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_type(_ADAPTER)
    writer.add_name(name)
    writer.add_string(_LORA_TYPE, _LORA)
    writer.add_float32(_ALPHA, float(adapter.layout.lora.alpha))
    state = stored_state(adapter, float_type)
    for path, (a, b) in _pairs(adapter.layout, state).items():
        tensor = tensor_name(path)
        writer.add_tensor(f"{tensor}.lora_a", a.numpy())
        writer.add_tensor(f"{tensor}.lora_b", gguf_rows(b, path, config).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    close_gguf(writer, file)


def read_gguf_adapter(file: Path, config: PretrainedConfig, layout: Layout) -> LoraAdapter:
    """The adapter of a file that `write_gguf_adapter` wrote for `layout`, in float32: for comparison.

    Raises:
        EngineError: the file is broken, says another alpha, or lacks a matrix.
    """
    import torch

    reader = open_gguf(file)
    said = {name: gguf_field(reader, name) for name in (_TYPE, _LORA_TYPE, _ALPHA)}
    if said != {_TYPE: _ADAPTER, _LORA_TYPE: _LORA, _ALPHA: float(layout.lora.alpha)}:
        raise EngineError(f"is not the adapter that was written: it says {said}", where=str(file))
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def matrix(name: str) -> Tensor:
        if name not in tensors:
            raise EngineError("is missing", where=f"{file}, {name}")
        return torch.from_numpy(tensors[name].data.astype("float32"))

    a = {module.path: matrix(f"{tensor_name(module.path)}.lora_a") for module in layout.modules}
    b = {
        module.path: peft_rows(matrix(f"{tensor_name(module.path)}.lora_b"), module.path, config)
        for module in layout.modules
    }
    return LoraAdapter(layout, a, b)


def gguf_architecture(config: PretrainedConfig) -> str:
    """`general.architecture` of a base.

    Raises:
        EngineError: it is none of those whose names are known.
    """
    found = GGUF_ARCHITECTURES.get(config.model_type)
    if found is None:
        hint = f"There is: {', '.join(sorted(GGUF_ARCHITECTURES))}"
        raise EngineError(f"the GGUF names of a base of type {config.model_type} are not known", hint=hint)
    return found


def gguf_rows(matrix: Tensor, path: str, config: PretrainedConfig) -> Tensor:
    """Rows of a module's weight or lora_B, from transformers' order to GGUF's."""
    heads = _heads(path, config)
    return matrix if heads is None else permute_rows(matrix, heads)


def peft_rows(matrix: Tensor, path: str, config: PretrainedConfig) -> Tensor:
    """The inverse of `gguf_rows`."""
    heads = _heads(path, config)
    return matrix if heads is None else unpermute_rows(matrix, heads)


def _heads(path: str, config: Any) -> int | None:
    return permuted_heads(
        path,
        gguf_architecture(config),
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads or config.num_attention_heads,
    )


def _pairs(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    return {
        module.path: (
            state[f"base_model.model.{module.path}.lora_A.weight"],
            state[f"base_model.model.{module.path}.lora_B.weight"],
        )
        for module in layout.modules
    }
