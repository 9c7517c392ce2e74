"""Whether a base fits into memory: the number format that does, or its layers one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from engine.base.device import dtype_name, pick_dtype
from engine.base.weight_files import weight_count
from engine.text import readable_size

if TYPE_CHECKING:
    from engine.base.load import BaseRef

# Part of the free memory that weights may take: passes, adapter and the rest of the process need some too.
_SHARE = 0.8


@dataclass(frozen=True)
class Fit:
    """dtype: of the weights. streamed: the layers stay in their files. remark: why, where memory decided, or ""."""

    dtype: torch.dtype
    streamed: bool = False
    remark: str = ""


def fit_memory(ref: BaseRef, folder: str, dtype: str, device: torch.device, *, may_stream: bool) -> Fit:
    """How a base is loaded on a device: on a CPU in float32 where its weights fit into the memory that is free, in
    bfloat16 where they do not, and layer by layer where that is too much too.

    Args:
        dtype: of the person; anything but "auto" is kept.
        may_stream: what is asked of the base can be done layer by layer.
    """
    kind = pick_dtype(dtype, device)
    if device.type != "cpu" or ref.gguf_file:
        return Fit(kind)
    count, room = weight_count(Path(folder)), free_memory()
    if count * kind.itemsize <= _SHARE * room:
        return Fit(kind)
    remark = f"{readable_size(count * kind.itemsize)} of weights in {dtype_name(kind)}, {readable_size(room)} are free"
    if dtype == "auto":
        kind = torch.bfloat16
        remark += ", so they are bfloat16"
    if may_stream and count * kind.itemsize > _SHARE * room:
        return Fit(kind, True, f"{remark}, and one layer at a time is in memory")
    return Fit(kind, False, remark)


def free_memory() -> int:
    """Bytes that a process can still take without others being swapped out."""
    return int(psutil.virtual_memory().available)
