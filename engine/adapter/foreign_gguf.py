"""A GGUF adapter that any tool wrote: llama.cpp's convert_lora_to_gguf.py, an export of ours, or somebody's own.

    general.type = adapter, adapter.type = lora, general.architecture, adapter.lora.alpha
    blk.3.attn_q.weight.lora_a (rank, in) and .lora_b (out, rank), rows of q and k as llama.cpp has them (`gguf`)

llama.cpp multiplies B A by alpha / rank of each pair, and by 1 where alpha is 0 or not there (`get_scale` of
llama-adapter.h). It leaves norm vectors out. The file names no base for sure, so it fits whatever base has these
modules in these sizes.

The header is read by hand; everything in it is little-endian:

    "GGUF" | version u32 | tensors u64 | fields u64
    fields     name, type u32, value                                     name: length u64, UTF-8
    tensors    name, dimensions u32, sizes u64 ..., type u32, offset u64
    (padding to general.alignment) data

The `gguf` package's own reader makes an object of every number of every array, so that a file of some MB can ask for
all the memory there is; here arrays are stepped over, and every count is limited. Source: docs/gguf.md of ggml.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.foreign import (
    BROKEN,
    FLOAT_TYPES,
    MOST_TENSORS,
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
from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

_ALPHA = "adapter.lora.alpha"
_ARCHITECTURE = "general.architecture"
_INVOCATION = "adapter.alora.invocation_tokens"
_HALVES = {".lora_a": "A", ".lora_b": "B"}
_MAGIC = b"GGUF"
# Bytes read at most; far above any adapter's header, which holds no vocabulary.
_LARGEST_HEADER = 2**24
_VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"
# Far above any real adapter's dozen fields.
_MOST_FIELDS, _MOST_SIZES = 2**12, 4
_LONGEST_NAME = 2**10
_STRING, _ARRAY = 8, 9
# By the number of the type: how `struct` reads it.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# By the number of a tensor's type: its name, and the bytes of a value. All others are quantised or no floats.
_FLOATS = {0: ("F32", 4), 1: ("F16", 2), 30: ("BF16", 2)}


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
            fields, tensors = parse_header(opened.read(_LARGEST_HEADER), size)
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
            *widened({_FLOATS[each.type][0] for each in matrices}),
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
    if tensor.type not in _FLOATS:
        floats = ", ".join(name for name, _ in _FLOATS.values())
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
    dtype = getattr(torch, FLOAT_TYPES[_FLOATS[tensor.type][0]])
    return torch.frombuffer(bytearray(data), dtype=dtype).float().reshape(tensor.shape)


class BrokenHeader(ValueError):
    """It is no whole header of a GGUF file; the text explains why."""


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of the list: its shape as numpy has it, its type's number, where in the file it begins."""

    name: str
    shape: tuple[int, ...]
    type: int
    start: int

    @property
    def bytes(self) -> int:
        """Its size, of a float type."""
        return math.prod(self.shape) * _FLOATS[self.type][1]


def read_field(data: bytes, name: str) -> Any:
    """The first field called `name` in the first bytes of a file; None if it is not among them. Never raises."""
    try:
        reader = _Reader(data)
        _tensors, count = reader.counts()
        return next((value for found, value in reader.fields(count) if found == name), None)
    except BrokenHeader:
        return None


def parse_header(data: bytes, file_size: int) -> tuple[dict[str, Any], tuple[GgufTensor, ...]]:
    """Fields by name (None for an array, which is stepped over), and tensors, every one of them inside of the file.

    Args:
        data: the first 16 MiB of the file, or all of it.
        file_size: of the whole file, in bytes.

    Raises:
        BrokenHeader: it is cut off, states something twice, or states what cannot be.
    """
    reader = _Reader(data)
    tensors, count = reader.counts()
    fields: dict[str, Any] = {}
    for name, value in reader.fields(count):
        if name in fields:
            raise BrokenHeader(f"the field {name!r} is there twice")
        fields[name] = value
    infos = [reader.tensor() for _ in range(tensors)]
    alignment = fields.get(_ALIGNMENT, 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**16 or alignment & (alignment - 1):
        raise BrokenHeader(f"{_ALIGNMENT} is {alignment!r}")
    start = -(-reader.at // alignment) * alignment
    placed = tuple(GgufTensor(each.name, each.shape, each.type, start + each.start) for each in infos)
    _check_places(placed, start, file_size)
    return fields, placed


def _check_places(tensors: tuple[GgufTensor, ...], start: int, file_size: int) -> None:
    """Names differ, and tensors of float types lie in the file, one after another."""
    if len({each.name for each in tensors}) != len(tensors):
        raise BrokenHeader("a tensor is there twice")
    end = start
    for tensor in sorted((each for each in tensors if each.type in _FLOATS), key=lambda each: each.start):
        if tensor.start < end or tensor.start + tensor.bytes > file_size:
            raise BrokenHeader(f"{tensor.name} does not lie in the file's {file_size:,} bytes, or on another tensor")
        end = tensor.start + tensor.bytes


class _Reader:
    """Goes through the bytes of a header from its beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def counts(self) -> tuple[int, int]:
        """How many tensors and how many fields there are."""
        if self._take(4) != _MAGIC:
            raise BrokenHeader("it does not begin with GGUF")
        version = self._number("I")
        if version not in _VERSIONS:
            raise BrokenHeader(f"version {version} is not one of {_VERSIONS}")
        tensors, fields = self._number("Q"), self._number("Q")
        if tensors > MOST_TENSORS or fields > _MOST_FIELDS:
            raise BrokenHeader(f"it claims to have {tensors:,} tensors and {fields:,} fields")
        return tensors, fields

    def fields(self, count: int) -> Iterator[tuple[str, Any]]:
        """Name and value of each field, one after another."""
        for _ in range(count):
            yield self._text(_LONGEST_NAME), self._value(self._number("I"))

    def tensor(self) -> GgufTensor:
        """One entry of the list; `start` is still the offset from where the data begins."""
        name = self._text(_LONGEST_NAME)
        dimensions = self._number("I")
        if dimensions > _MOST_SIZES:
            raise BrokenHeader(f"a tensor of {dimensions} dimensions")
        sizes = tuple(self._number("Q") for _ in range(dimensions))
        return GgufTensor(name, sizes[::-1], self._number("I"), self._number("Q"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text(_LARGEST_HEADER)
        if kind != _ARRAY:
            return self._number(_scalar(kind))
        of, length = self._number("I"), self._number("Q")
        if of == _STRING:
            # Every element takes bytes, so a long array ends at the end of the data.
            for _ in range(length):
                self._take(self._number("Q"))
        else:
            self._take(length * struct.calcsize(_scalar(of)))
        return None

    def _text(self, longest: int) -> str:
        length = self._number("Q")
        if length > longest:
            raise BrokenHeader(f"a text of {length:,} bytes")
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise BrokenHeader(f"a text is not UTF-8 ({error.reason})") from None

    def _number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self._take(struct.calcsize(kind)))[0]

    def _take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            raise BrokenHeader("it is cut off")
        taken = self._data[self.at : end]
        self.at = end
        return taken


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise BrokenHeader(f"a value of the unknown type {kind}")
    return _SCALARS[kind]
