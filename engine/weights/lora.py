"""A LoRA adapter in memory: its layout and one (A, B) pair a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
