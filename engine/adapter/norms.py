"""How large a LoRA's update of each module is, without forming the update.

|B A|² = trace(AᵀBᵀB A) = sum of (BᵀB) * (A Aᵀ), two (rank x rank) matrices
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import torch

from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor


def update_norm(a: Tensor, b: Tensor, scale: float) -> float:
    """Frobenius norm of scale · b · a for A (rank, in) and B (out, rank)."""
    squared = ((b.T @ b) * (a @ a.T)).sum()
    # Rounding can leave a tiny negative number where the update is zero.
    return float(scale * torch.sqrt(squared.clamp(min=0)))


def norms_by_layer(adapter: LoraAdapter, reference: LoraAdapter) -> Iterator[dict[str, tuple[float, float]]]:
    """Layer by layer: the norms of both adapters' updates by module path. Both have the same layout."""
    scale = adapter.layout.lora.scaling

    def layer(path: str) -> str:
        return next((part for part in path.split(".") if part.isdecimal()), "")

    for _, paths in groupby((module.path for module in adapter.layout.modules), key=layer):
        yield {
            path: (
                update_norm(adapter.a[path], adapter.b[path], scale),
                update_norm(reference.a[path], reference.b[path], scale),
            )
            for path in paths
        }
