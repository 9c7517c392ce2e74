"""A LoRA as a GGUF file, and what the modules of a base are called in one.

    model.layers.3.self_attn.q_proj   <->   blk.3.attn_q.weight

    general.type = adapter, general.architecture, adapter.type = lora, adapter.lora.alpha (float32)
    blk.3.attn_q.weight.lora_a  (rank, in)      as peft has it
    blk.3.attn_q.weight.lora_b  (out, rank)     rows in the order of the base's own GGUF file

Shapes as numpy has them; GGUF lists dimensions the other way round. llama.cpp multiplies by alpha / rank.
Source: llama.cpp's convert_lora_to_gguf.py and `llama_adapter_lora_init`.

Notable
- Names are the same for all architectures here: those of `gguf.get_tensor_name_map`, which a test compares.
- For architecture "llama" alone the conversion (`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py) reorders
  the rows of q and k within each head: transformers rotates the first half of a head against its second half,
  llama.cpp rotates each even row against the odd one after it. A LoRA's update has the rows of B, so the rows of
  lora_B of q and k are reordered in the same way; A is left as it is. For qwen2 and qwen3 llama.cpp rotates halves
  like transformers, and nothing is reordered.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from engine.adapter.peft_folder import stored
from engine.base.gguf import close_gguf, gguf_field, open_gguf
from engine.errors import EngineError
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

Matrix = TypeVar("Matrix", bound=Any)
"""A numpy array or a torch tensor."""

GGUF_ARCHITECTURES = MappingProxyType({"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"})
"""`model_type` of a transformers config -> `general.architecture` of a GGUF file."""

_PERMUTED = frozenset({"llama"})
_KINDS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_MODULES = {name: kind for kind, name in _KINDS.items()}
_PATH = re.compile(r"model\.layers\.(\d+)\.(\w+\.\w+)", re.ASCII)
_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.weight", re.ASCII)
_ADAPTER, _LORA = "adapter", "lora"
_TYPE, _LORA_TYPE, _ALPHA = "general.type", "adapter.type", "adapter.lora.alpha"


def tensor_name(path: str) -> str:
    """`blk.3.attn_q.weight` for the module `model.layers.3.self_attn.q_proj`.

    Raises:
        EngineError: GGUF has no name for this module here.
    """
    found = _PATH.fullmatch(path)
    if found is None or found[2] not in _KINDS:
        hint = f"There are names for the layers' {', '.join(_KINDS)}"
        raise EngineError("this module has no name in a GGUF file", where=path, hint=hint)
    return f"blk.{int(found[1])}.{_KINDS[found[2]]}.weight"


def module_path(name: str) -> str:
    """`model.layers.3.self_attn.q_proj` for the tensor `blk.3.attn_q.weight`; the inverse of `tensor_name`.

    Raises:
        EngineError: it is the weight of no module that is known here.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[2] not in _MODULES:
        hint = f"Known are the blocks' {', '.join(_MODULES)}"
        raise EngineError("is the weight of no module that is known here", where=name, hint=hint)
    return f"model.layers.{int(found[1])}.{_MODULES[found[2]]}"


def permuted_heads(path: str, config: PretrainedConfig) -> int | None:
    """How many heads the rows of a module of this base are reordered in; None where GGUF keeps their order."""
    if gguf_architecture(config) not in _PERMUTED:
        return None
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads or config.num_attention_heads}
    return heads.get(path.rsplit(".", 1)[-1])


def permute_rows(matrix: Matrix, heads: int) -> Matrix:
    """The rows in GGUF's order, from transformers'; (heads * 2 * n, columns), any float type.

    Row i of a head's first half goes to row 2i of the head, row i of its second half to row 2i + 1.
    """
    return _transposed(matrix, heads, 2, -1)


def unpermute_rows(matrix: Matrix, heads: int) -> Matrix:
    """The rows in transformers' order, from GGUF's; the inverse of `permute_rows`."""
    return _transposed(matrix, heads, -1, 2)


def _transposed(matrix: Matrix, heads: int, *grid: int) -> Matrix:
    """Each head's rows seen as a grid, transposed."""
    if heads < 1 or len(matrix) % (2 * heads):
        raise EngineError(f"{len(matrix)} rows cannot be those of {heads} heads with rotary positions")
    return matrix.reshape(heads, *grid, matrix.shape[1]).swapaxes(1, 2).reshape(matrix.shape)


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
    made = stored(adapter, float_type)
    for path, a in made.a.items():
        tensor = tensor_name(path)
        writer.add_tensor(f"{tensor}.lora_a", a.numpy())
        writer.add_tensor(f"{tensor}.lora_b", gguf_rows(made.b[path], path, config).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    close_gguf(writer, file)


def read_gguf_adapter(file: Path, config: PretrainedConfig, layout: Layout) -> LoraAdapter:
    """The adapter of a file that `write_gguf_adapter` wrote for `layout`, in float32: for comparison.

    Raises:
        EngineError: the file is broken, has another alpha, or lacks a matrix.
    """
    import torch

    reader = open_gguf(file)
    found = {name: gguf_field(reader, name) for name in (_TYPE, _LORA_TYPE, _ALPHA)}
    if found != {_TYPE: _ADAPTER, _LORA_TYPE: _LORA, _ALPHA: float(layout.lora.alpha)}:
        raise EngineError(f"is not the adapter that was written: it has {found}", where=str(file))
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def matrix(name: str) -> Tensor:
        if name not in tensors:
            raise EngineError("is missing", where=f"{file}, {name}")
        return torch.from_numpy(tensors[name].data.astype("float32"))

    names = {module.path: tensor_name(module.path) for module in layout.modules}
    a = {path: matrix(f"{name}.lora_a") for path, name in names.items()}
    b = {path: peft_rows(matrix(f"{name}.lora_b"), path, config) for path, name in names.items()}
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
    heads = permuted_heads(path, config)
    return matrix if heads is None else permute_rows(matrix, heads)


def peft_rows(matrix: Tensor, path: str, config: PretrainedConfig) -> Tensor:
    """The inverse of `gguf_rows`."""
    heads = permuted_heads(path, config)
    return matrix if heads is None else unpermute_rows(matrix, heads)
