"""What the modules of a base are called in a GGUF file, and the order of the rows that llama.cpp wants there.

    model.layers.3.self_attn.q_proj   <->   blk.3.attn_q.weight      (its LoRA: + .lora_a and .lora_b)

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
from types import MappingProxyType
from typing import Any, TypeVar

from engine.errors import EngineError

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


def permuted_heads(path: str, architecture: str, *, heads: int, key_value_heads: int) -> int | None:
    """How many heads the rows of a module are reordered in; None where GGUF keeps their order.

    Args:
        path: of the module, as transformers has it.
        architecture: `general.architecture` of the GGUF file.
        heads: query heads (`num_attention_heads`, `llama.attention.head_count`).
        key_value_heads: key and value heads (`num_key_value_heads`, `llama.attention.head_count_kv`).
    """
    if architecture not in _PERMUTED:
        return None
    return {"q_proj": heads, "k_proj": key_value_heads}.get(path.rsplit(".", 1)[-1])


def permute_rows(matrix: Matrix, heads: int) -> Matrix:
    """The rows in GGUF's order, from transformers'; (heads * 2 * n, columns), any float type.

    Row i of a head's first half goes to row 2i of the head, row i of its second half to row 2i + 1.
    """
    return _swapped(matrix, heads, first=2)


def unpermute_rows(matrix: Matrix, heads: int) -> Matrix:
    """The rows in transformers' order, from GGUF's; the inverse of `permute_rows`."""
    return _swapped(matrix, heads, first=-1)


def _swapped(matrix: Matrix, heads: int, *, first: int) -> Matrix:
    """Each head's rows seen as a grid of (2, n) or (n, 2), transposed."""
    rows, columns = matrix.shape
    if heads < 1 or rows % (2 * heads):
        raise EngineError(f"{rows} rows cannot be those of {heads} heads with rotary positions")
    grid = (2, rows // heads // 2) if first == 2 else (rows // heads // 2, 2)
    return matrix.reshape(heads, *grid, columns).swapaxes(1, 2).reshape(rows, columns)
