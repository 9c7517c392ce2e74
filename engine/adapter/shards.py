"""A model's tensors as safetensors files, written one tensor at a time.

    model.safetensors                                    of a model that fits into one file
    model-00001-of-00002.safetensors, ..., model.safetensors.index.json      of a larger one

safetensors' own writer takes all tensors of a file at once; here one is in memory at a time. The format is theirs:
8 bytes of length, a JSON header of types, shapes and places, the values in little-endian order.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.formats import NUMBER_SIZES
from engine.errors import EngineError
from engine.events import Stage
from engine.files import digest_file

if TYPE_CHECKING:
    from torch import Tensor

SHARD_BYTES = 4_000_000_000
"""Largest file; a single larger tensor has one of its own."""

_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_ALIGNMENT = 8


@dataclass(frozen=True)
class _Shard:
    file: str
    names: tuple[str, ...]


def write_shards(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensor: Callable[[str], Tensor],
    float_type: str,
    stage: Stage | None = None,
) -> dict[str, str]:
    """Write all tensors into an existing folder; the SHA-256 of each weight file, of the bytes that were handed out.

    Args:
        shapes: of every tensor, by name, in order.
        tensor: makes the one called so, of `float_type`, when its turn comes.
        stage: hears every tensor.
    """
    if sys.byteorder != "little":
        raise EngineError("merged models are written on little-endian machines only")
    if stage is not None:
        stage.total = len(shapes)
    digests: dict[str, str] = {}
    shards = _shards(shapes, NUMBER_SIZES[float_type])
    for shard in shards:
        state = hashlib.sha256()
        with open(folder / shard.file, "wb") as file:

            def put(data: Any, state: Any = state, file: Any = file) -> None:
                state.update(data)
                file.write(data)

            put(_header({name: shapes[name] for name in shard.names}, float_type))
            for name in shard.names:
                put(_bytes(tensor(name)))
                if stage is not None:
                    stage.advance()
        digests[shard.file] = state.hexdigest()
    if len(shards) > 1:
        _write_index(folder, shards, sum(map(prod, shapes.values())) * NUMBER_SIZES[float_type])
    return digests


def check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Read the files back. Raises EngineError for one that is not what was handed out."""
    for name, digest in digests.items():
        if digest_file(folder / name) != digest:
            raise EngineError("is not what was written", where=name, hint="Nothing was exported")


def _shards(shapes: Mapping[str, tuple[int, ...]], number_size: int) -> list[_Shard]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = prod(shape) * number_size
        if groups[-1] and filled + size > SHARD_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return [_Shard("model.safetensors", tuple(groups[0]))]
    return [
        _Shard(f"model-{number:05d}-of-{len(groups):05d}.safetensors", tuple(names))
        for number, names in enumerate(groups, 1)
    ]


def _header(shapes: Mapping[str, tuple[int, ...]], float_type: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in shapes.items():
        end = begin + prod(shape) * NUMBER_SIZES[float_type]
        entries[name] = {"dtype": _TYPES[float_type], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor) -> Any:
    import torch

    # numpy has no bfloat16: as bytes, all types are alike.
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _write_index(folder: Path, shards: list[_Shard], total: int) -> None:
    places = {name: shard.file for shard in shards for name in shard.names}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
