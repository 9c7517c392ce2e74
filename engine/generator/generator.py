"""Decoder, token scales and frame together: a condition in, an adapter out.

    hidden (n, L, C) -> (N, L, C) --decoder--> (T, h, w) --scales--> differences --frame--> LoraAdapter

No reference checkpoint is needed: the scales and the frame are part of the generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from engine.condition import ConditionSpec, fill_condition
from engine.errors import EngineError
from engine.generator.hyperconv import HyperConvDecoder, Shape
from engine.weights.frame import Frame, generated_shapes
from engine.weights.lora import LoraAdapter
from engine.weights.tokens import TokenGrid, token_grid


@dataclass(frozen=True)
class GeneratorSpec:
    """What a generator is, as data.

    cascade: (N, L, C) after each block but the last. kernel: of every convolution.
    base: id and fingerprint of the base model it was made for. history: recipe, data hashes, scores.
    """

    condition: ConditionSpec
    cascade: tuple[Shape, ...]
    kernel: int
    base: Mapping[str, str]
    history: Mapping[str, Any] = field(default_factory=dict)


class Generator(nn.Module):
    """A generator for one base model.

    scales: (T,) powers of two, the size of a difference at each weight token; multiplying by them is exact.
    """

    scales: Tensor

    def __init__(self, spec: GeneratorSpec, frame: Frame, scales: Tensor | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.frame = frame
        self.grid: TokenGrid = token_grid(generated_shapes(frame.layout, frame.kind), frame.layout.lora.rank)
        wanted = spec.condition
        first: Shape = (wanted.prompts, wanted.tokens, wanted.channels)
        last: Shape = (self.grid.tokens, self.grid.height, self.grid.width)
        self.decoder = HyperConvDecoder((first, *spec.cascade, last), spec.kernel)
        self.register_buffer("scales", torch.ones(self.grid.tokens) if scales is None else scales)

    def with_history(self, **facts: Any) -> Generator:
        """This generator, with more in its spec's history."""
        self.spec = replace(self.spec, history={**self.spec.history, **facts})
        return self

    def differences(self, condition: Tensor) -> dict[str, Tensor]:
        """(B, N, L, C) conditions -> differences from the frame by matrix name, each (B, rows, columns)."""
        return self.grid.join(self.decoder(condition) * self.scales[:, None, None])

    @torch.no_grad()
    def decode(self, hidden: Tensor) -> Tensor:
        """Encoded prompts (n, L, C), any n ≥ 1 -> scaled weight tokens (T, h, w).

        More prompts than the condition has places for are dealt in turn to as many conditions of like size as it
        takes, and what is made of these is averaged.
        """
        most, device = self.spec.condition.prompts, self.scales.device
        hands = max(1, -(-hidden.shape[0] // most))
        conditions = (fill_condition(hidden[hand::hands], most).to(device) for hand in range(hands))
        total = sum(self.decoder(condition[None])[0] for condition in conditions)
        return total / hands * self.scales[:, None, None]

    def detokenise(self, tokens: Tensor) -> LoraAdapter:
        """Scaled weight tokens (T, h, w) -> adapter, float32 on the CPU.

        Raises:
            EngineError: a value is not finite.
        """
        if not torch.isfinite(tokens).all():
            raise EngineError("the generator made values that are not finite", hint="Its artifact may be damaged")
        a, b = self.frame.shifted(self.grid.join(tokens.float().cpu()))
        return LoraAdapter(
            self.frame.layout,
            {path: matrix.contiguous() for path, matrix in a.items()},
            {path: matrix.contiguous() for path, matrix in b.items()},
        )

    def generate(self, hidden: Tensor | None) -> LoraAdapter:
        """Encoded prompts (n, L, C) -> adapter; None, the empty condition, gives the frame's own adapter exactly."""
        return self.frame.base_adapter if hidden is None else self.detokenise(self.decode(hidden))


def token_scales(grid: TokenGrid, spread: Mapping[str, float]) -> Tensor:
    """Root mean square of the differences by matrix name -> (T,) scales, rounded to powers of two.

    A matrix without spread (an unused module) gets the smallest spread of the others.
    """
    smallest = min((value for value in spread.values() if value > 0), default=1.0)
    sizes = torch.tensor([max(spread.get(name, 0.0), smallest) for name in grid.token_owner])
    return torch.exp2(torch.round(torch.log2(sizes)))
