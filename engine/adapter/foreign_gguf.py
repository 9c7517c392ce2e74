"""A GGUF adapter that any tool wrote: llama.cpp's convert_lora_to_gguf.py, an export of ours, or somebody's own.

    general.type = adapter, adapter.type = lora, general.architecture, adapter.lora.alpha
    blk.3.attn_q.weight.lora_a (rank, in) and .lora_b (out, rank), rows of q and k as llama.cpp has them (`gguf`)

llama.cpp multiplies B A by alpha / rank of each pair, and by 1 where alpha is 0 or not there (`get_scale` of
llama-adapter.h). It leaves norm vectors out. The file names no base for sure, so it fits whatever base has these
modules in these sizes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.foreign import (
    BROKEN,
    FLOAT_TYPES,
    OTHER_BASE,
    Fitted,
    Foreign,
    Read,
    paired,
    shown,
    widened,
)
from engine.adapter.gguf import GGUF_ARCHITECTURES, gguf_architecture, module_path, peft_rows
from engine.adapter.peft_folder import LARGEST_ALPHA, LARGEST_WEIGHTS, quoted
from engine.base.gguf_header import FLOATS, LARGEST_HEADER, BrokenHeader, GgufTensor, parse_header
from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

_ALPHA = "adapter.lora.alpha"
_ARCHITECTURE = "general.architecture"
_INVOCATION = "adapter.alora.invocation_tokens"
_HALVES = {".lora_a": "A", ".lora_b": "B"}


@dataclass(frozen=True, kw_only=True)
class ForeignGguf(Foreign):
    """A GGUF adapter: its tensors by name, and the architecture and alpha that it states."""

    architecture: str
    alpha: Fraction
    tensors: Mapping[str, GgufTensor]

    def scales_for(self, fitted: Fitted) -> dict[str, Fraction]:
        """alpha / rank of each pair, or 1."""
        return {path: self.alpha / pair.rank if self.alpha else Fraction(1) for path, pair in fitted.pairs.items()}

    def check_base(self, config: PretrainedConfig) -> None:
        """Raises EngineError when the file is for a base of another architecture."""
        architecture = gguf_architecture(config)
        if architecture != self.architecture:
            problem = f"is for bases of type {self.architecture}, this one is of type {architecture}"
            raise EngineError(problem, where=str(self.weights), hint=OTHER_BASE)

    @contextmanager
    def reading(self, config: PretrainedConfig) -> Iterator[Read]:
        """The matrices as peft has them: rows of q and k put back into transformers' order."""
        with open(self.weights, "rb") as file:

            def matrix(name: str) -> Tensor:
                tensor = self.tensors[name]
                file.seek(tensor.start)
                return _matrix(file.read(tensor.bytes), tensor, f"{self.weights}, {shown(name)}")

            yield lambda path, pair: (matrix(pair.a), peft_rows(matrix(pair.b), path, config).contiguous())


def open_foreign_gguf(file: Path) -> ForeignGguf:
    """Look through the header of a GGUF adapter.

    Raises:
        EngineError: it is no whole GGUF file, no LoRA, or more than LoRA of linear modules of the layers.
    """
    where = str(file)
    try:
        size = file.stat().st_size
        if size > LARGEST_WEIGHTS:
            raise EngineError(f"is larger than {LARGEST_WEIGHTS:,} bytes", where=where)
        with open(file, "rb") as opened:
            fields, tensors = parse_header(opened.read(LARGEST_HEADER), size)
    except BrokenHeader as error:
        hint = "The file is truncated or was changed: copy it again from its source"
        raise EngineError(f"is not a whole GGUF file ({error})", where=where, hint=hint) from None
    except OSError as error:
        raise EngineError(f"cannot be read: {error}", where=where) from error
    architecture, alpha = _checked_fields(fields, where)
    halves: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    matrices = [tensor for tensor in tensors if not tensor.name.endswith("_norm.weight")]
    norms = len(tensors) - len(matrices)
    for tensor in matrices:
        path, half = _place(tensor, where)
        halves.setdefault(path, {})[half] = (tensor.name, tensor.shape)
    return ForeignGguf(
        weights=file,
        pairs=paired(halves, where),
        changes=(
            *(() if alpha else ("It has no alpha, or one of 0, which llama.cpp takes for a scale of 1.",)),
            *((f"{norms} norm vectors were left out, as llama.cpp does.",) if norms else ()),
            *widened({FLOATS[each.type][0] for each in matrices}),
        ),
        architecture=architecture,
        alpha=alpha,
        tensors={tensor.name: tensor for tensor in tensors},
    )


def _checked_fields(fields: Mapping[str, Any], where: str) -> tuple[str, Fraction]:
    """Architecture and alpha."""
    kind, form = fields.get("general.type"), fields.get("adapter.type")
    if (kind, form) != ("adapter", "lora"):
        raise EngineError(f"is of type {quoted(kind)}, {quoted(form)}, not adapter, lora", where=where)
    if _INVOCATION in fields:
        hint = "It cannot be used here"
        raise EngineError("is an aLoRA, which is on only after certain tokens", where=where, hint=hint)
    architecture = fields.get(_ARCHITECTURE)
    known = sorted(set(GGUF_ARCHITECTURES.values()))
    if architecture not in known:
        hint = f"Names of tensors are known of {', '.join(known)}"
        raise EngineError(f"is for bases of type {quoted(architecture)}", where=where, hint=hint)
    alpha = fields.get(_ALPHA, 0)
    if (
        isinstance(alpha, bool)
        or not isinstance(alpha, int | float)
        or not math.isfinite(alpha)
        or not (alpha == 0 or 2**-20 <= alpha <= LARGEST_ALPHA)
    ):
        problem = f"{_ALPHA} is {quoted(alpha)}, not a number from 0 to {LARGEST_ALPHA}"
        raise EngineError(problem, where=where, hint=BROKEN)
    return architecture, Fraction(alpha)


def _place(tensor: GgufTensor, where: str) -> tuple[str, str]:
    """Path in the base and half."""
    place = f"{where}, {shown(tensor.name)}"
    half = next((half for ending, half in _HALVES.items() if tensor.name.endswith(ending)), None)
    if half is None:
        raise EngineError("is no matrix of LoRA; only LoRA alone is imported", where=place)
    if tensor.type not in FLOATS:
        floats = ", ".join(name for name, _ in FLOATS.values())
        hint = "Convert the adapter again with --outtype f32"
        raise EngineError(f"is quantised, or for another reason none of {floats}", where=place, hint=hint)
    try:
        return module_path(tensor.name.removesuffix(f".lora_{half.lower()}")), half
    except EngineError as error:
        hint = "Only LoRA on the linear modules of the layers is imported"
        raise EngineError("is LoRA of a module that is not known here", where=place, hint=hint) from error


def _matrix(data: bytes, tensor: GgufTensor, where: str) -> Tensor:
    """float32, in memory of its own."""
    import torch

    if len(data) != tensor.bytes:
        raise EngineError("was changed while it was read", where=where, hint="Try again")
    dtype = getattr(torch, FLOAT_TYPES[FLOATS[tensor.type][0]])
    return torch.frombuffer(bytearray(data), dtype=dtype).float().reshape(tensor.shape)
