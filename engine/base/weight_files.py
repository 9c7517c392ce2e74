"""The safetensors files of a model folder: which they are, what their headers state, opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import LFS_HINT, is_lfs_pointer


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder; an adapter that lies beside them is none of its weights."""
    return [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith("adapter_")]


def weight_count(folder: Path) -> int:
    """How many numbers the weights of a model folder are; its headers alone are read."""
    count = 0
    for file in weight_files(folder):
        with opened_tensors(file, "numpy") as tensors:  # torch stays out
            count += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


@contextmanager
def opened_tensors(file: Path, framework: str = "pt") -> Iterator[Any]:
    """A safetensors file, nothing but its header read; raises EngineError where it is broken."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework=framework) as tensors:
            yield tensors
    except (OSError, SafetensorError) as error:
        hint = "Fetch or save the model again"
        raise EngineError(f"the weights cannot be loaded: {error}", where=str(file), hint=hint) from error


def refuse_pointers(files: Iterable[Path]) -> None:
    """Raises EngineError for what Git LFS keeps in place of a file."""
    if pointer := next((file for file in files if is_lfs_pointer(file)), None):
        raise EngineError("is a Git LFS pointer, not the file itself", where=str(pointer), hint=LFS_HINT)
