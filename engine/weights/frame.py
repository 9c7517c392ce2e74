"""The frame: the adapter that an empty condition gives, and which matrices a generator moves away from it.

Independent LoRAs cannot be compared entry by entry, since A and B are free up to an invertible (rank x rank)
matrix. A frame removes that freedom:

    kind "shared_a"   A frozen, seeded, row-orthonormal, shared by all adapters; B = base B + difference.
                      Then the norm of B·A is the norm of B: squared error on B is squared error on the update.
    kind "full"       A and B both move, as published (arXiv 2506.16406, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

KINDS = ("shared_a", "full")


@dataclass(frozen=True)
class Frame:
    """Base matrices by module path, float32 on the CPU: `a[path]` (rank, in), `b[path]` (out, rank)."""

    layout: Layout
    kind: str
    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]

    @property
    def base_adapter(self) -> LoraAdapter:
        """What an empty condition gives: the frame's own matrices."""
        return LoraAdapter(self.layout, dict(self.a), dict(self.b))

    def to(self, device: torch.device) -> Frame:
        """The same frame on another device."""
        a = {path: matrix.to(device) for path, matrix in self.a.items()}
        return Frame(self.layout, self.kind, a, {path: matrix.to(device) for path, matrix in self.b.items()})

    def shifted(self, differences: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Base matrices plus `differences` (by matrix name, any leading dimensions) -> A and B by module path."""
        a, b = dict(self.a), dict(self.b)
        for path in self.a:
            for matrices, name in ((a, f"{path}.lora_A"), (b, f"{path}.lora_B")):
                if name in differences:
                    matrices[path] = matrices[path] + differences[name]
        return a, b


def generated_shapes(layout: Layout, kind: str) -> dict[str, tuple[int, int]]:
    """Names and shapes of the matrices that a generator makes in a frame of this kind, in order."""
    if kind not in KINDS:
        raise EngineError(f"unknown kind of frame {kind!r}", hint=f"Known: {', '.join(KINDS)}")
    shapes: dict[str, tuple[int, int]] = {}
    for module in layout.modules:
        if kind == "full":
            shapes[f"{module.path}.lora_A"] = (layout.lora.rank, module.in_features)
        shapes[f"{module.path}.lora_B"] = (module.out_features, layout.lora.rank)
    return shapes


def fresh_frame(layout: Layout, kind: str, seed: int) -> Frame:
    """Seeded row-orthonormal A for every module, B of zeros: an adapter that changes nothing.

    The values of A are rounded to float16's, so that an artifact can store them in half the space without loss.
    """
    a, b = {}, {}
    for index, module in enumerate(layout.modules):
        random = torch.Generator().manual_seed(seed * 1_000_003 + index)
        columns = torch.randn(module.in_features, layout.lora.rank, generator=random, dtype=torch.float64)
        a[module.path] = in_half_precision(torch.linalg.qr(columns).Q.T.contiguous())
        b[module.path] = torch.zeros(module.out_features, layout.lora.rank)
    return Frame(layout, kind, a, b)


def in_half_precision(values: Tensor) -> Tensor:
    """Rounded to values that float16 holds, as float32."""
    return values.to(torch.float16).float()
