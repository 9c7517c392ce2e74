"""A LoRA adapter in memory: its layout, one (A, B) pair a module, and what these add to a weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from engine.weights.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LoraAdapter:
    """Matrices by module path: `a[path]` is (rank, in), `b[path]` is (out, rank), float32 on the CPU."""

    layout: Layout
    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]

    def peft_state(self) -> dict[str, Tensor]:
        """Under the names that peft writes to `adapter_model.safetensors`."""
        state: dict[str, Tensor] = {}
        for module in self.layout.modules:
            state[f"base_model.model.{module.path}.lora_A.weight"] = self.a[module.path]
            state[f"base_model.model.{module.path}.lora_B.weight"] = self.b[module.path]
        return state

    def update(self, path: str) -> Tensor:
        """alpha / rank · B·A of a module: (out, in), float32."""
        return self.layout.lora.scaling * (self.b[path] @ self.a[path])

    def norm(self, path: str) -> float:
        """Frobenius norm of a module's update."""
        return update_norm(self.a[path], self.b[path], self.layout.lora.scaling)


def update_norm(a: Tensor, b: Tensor, scale: float) -> float:
    """Frobenius norm of scale · b · a for A (rank, in) and B (out, rank), without forming the product.

    |B A|² = trace(AᵀBᵀB A) = sum of (BᵀB) * (A Aᵀ), two (rank x rank) matrices
    """
    squared = ((b.T @ b) * (a @ a.T)).sum()
    # Rounding can leave a tiny negative number where the update is zero.
    return float(scale * squared.clamp(min=0).sqrt())


def norms_by_layer(adapter: LoraAdapter, reference: LoraAdapter) -> Iterator[dict[str, tuple[float, float]]]:
    """Layer by layer: the norms of both adapters' updates by module path. Both have the same layout."""
    for _, modules in groupby(adapter.layout.modules, key=lambda module: module.layer):
        yield {module.path: (adapter.norm(module.path), reference.norm(module.path)) for module in modules}


def share_beyond(adapter: LoraAdapter, reference: LoraAdapter) -> float:
    """|ΔW - ΔW'| / |ΔW| over all modules together: how much of an adapter's update is not the reference's.

    0 where both are the same or the adapter changes nothing; more than 1 where they point in different directions. Both
    have the same layout.
    """
    import torch

    scale, beyond, whole = adapter.layout.lora.scaling, 0.0, 0.0
    for path in adapter.a:
        # Both are nearly the same: in single precision little more than rounding would be left of their difference.
        a = torch.cat([adapter.a[path], reference.a[path]]).double()
        b = torch.cat([adapter.b[path], -reference.b[path]], dim=1).double()
        beyond += update_norm(a, b, scale) ** 2
        whole += adapter.norm(path) ** 2
    return (beyond / whole) ** 0.5 if whole else 0.0
