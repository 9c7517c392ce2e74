"""The header of a GGUF file, read by hand: safe on anything, and quick where one field is looked for.

    "GGUF" | version u32 | tensors u64 | fields u64
    fields     name, type u32, value                                     name: length u64, UTF-8
    tensors    name, dimensions u32, sizes u64 ..., type u32, offset u64
    (padding to general.alignment) data

Everything is little-endian. The `gguf` package's own reader makes an object of every number of every array, so that a
file of some MB can ask for all the memory there is; here arrays are stepped over, and every count is limited. Source:
docs/gguf.md of ggml.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LARGEST_HEADER = 2**24
"""Bytes read at most; far above any adapter's header, which holds no vocabulary."""
FLOATS = {0: ("F32", 4), 1: ("F16", 2), 30: ("BF16", 2)}
"""By the number of a tensor's type: its name, and the bytes of a value. All others are quantised or no floats."""
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"
# Far above any real file's: seven matrices in a few hundred layers, a few dozen fields.
_MOST_TENSORS, _MOST_FIELDS, _MOST_SIZES = 2**16, 2**12, 4
_LONGEST_NAME = 2**10
_STRING, _ARRAY = 8, 9
# By the number of the type: how `struct` reads it.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


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
        return math.prod(self.shape) * FLOATS[self.type][1]


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
    for tensor in sorted((each for each in tensors if each.type in FLOATS), key=lambda each: each.start):
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
        if tensors > _MOST_TENSORS or fields > _MOST_FIELDS:
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
            return self._text(LARGEST_HEADER)
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
