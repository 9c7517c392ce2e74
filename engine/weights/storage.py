"""Frames and tensors on disk: safetensors, matrices in float16 (they are rounded to it before)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from engine.errors import EngineError
from engine.files import replacing_file
from engine.weights.frame import Frame
from engine.weights.layout import Layout


def write_frame(path: Path, frame: Frame) -> None:
    """Store a frame's matrices as float16 (they are rounded to it already), atomically."""
    with replacing_file(path) as part:
        save_file(frame_tensors(frame), part)


def frame_tensors(frame: Frame) -> dict[str, Tensor]:
    """The frame's matrices by matrix name, float16."""
    named = {f"{path}.lora_A": tensor for path, tensor in frame.a.items()}
    named |= {f"{path}.lora_B": tensor for path, tensor in frame.b.items()}
    return {name: tensor.to(torch.float16).contiguous() for name, tensor in named.items()}


def frame_digest(frame: Frame) -> str:
    """SHA-256 of the frame's matrices as they are stored, in hexadecimal."""
    return sha256(save(frame_tensors(frame))).hexdigest()


def frame_from_tensors(tensors: Mapping[str, Tensor], layout: Layout, kind: str, where: str) -> Frame:
    """The inverse of `frame_tensors`. Raises EngineError for a missing matrix or another shape."""
    rank = layout.lora.rank
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for module in layout.modules:
        for matrices, part, shape in (
            (a, "lora_A", (rank, module.in_features)),
            (b, "lora_B", (module.out_features, rank)),
        ):
            tensor = tensors.get(f"{module.path}.{part}")
            if tensor is None or tuple(tensor.shape) != shape:
                raise EngineError(f"{module.path}.{part} is missing or not of shape {shape}", where=where)
            matrices[module.path] = tensor.float()
    return Frame(layout, kind, a, b)


def read_frame(path: Path, layout: Layout, kind: str) -> Frame:
    """Read what `write_frame` wrote."""
    if not path.is_file():
        raise EngineError("has no frame yet", where=str(path), hint="Let `collect` finish its multi-task stage first")
    return frame_from_tensors(read_tensors(path), layout, kind, str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises EngineError when it is missing, truncated or tampered with."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise EngineError("no such file", where=str(path)) from None
    except SafetensorError as error:
        raise EngineError(f"is damaged: {error}", where=str(path), hint="Get it again from where it came") from error
