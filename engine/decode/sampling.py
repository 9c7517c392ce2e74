"""How the next token is chosen from the logits: the likeliest, or drawn with random numbers that arms share.

Drawing by Gumbel's trick: the token with the largest logit + temperature * noise is a sample of softmax(logits /
temperature). The noise depends on seed, prompt and step only, so all arms of a prompt draw with the same random
numbers (coupled sampling): where their logits are equal they choose the same token, and what differs between their
answers is the adapters' doing and not the dice's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch

from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

Choose: TypeAlias = "Callable[[Tensor, Sequence[int], int], Tensor]"
"""(logits (slots, vocabulary), the batch row of each slot, number of the token from 1) -> token ids (slots,)."""


def greedy(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
    """The likeliest token of each slot."""
    return logits.argmax(dim=-1)


def chooser(temperature: float, seed: int, numbers: Sequence[int]) -> Choose:
    """Greedy at temperature 0, drawn above.

    Args:
        numbers: the prompt of each row of the batch; rows with the same number draw with the same random numbers.

    Raises:
        EngineError: the temperature is negative or not finite.
    """
    if not 0 <= temperature < math.inf:
        raise EngineError(f"the temperature {temperature} is not possible", hint="0 is the lowest")
    if temperature == 0:
        return greedy

    def drawn(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
        size = logits.shape[-1]
        noise = {number: _gumbel(size, seed, number, step) for number in {numbers[row] for row in rows}}
        added = torch.stack([noise[numbers[row]] for row in rows]) * temperature
        return (logits.float() + added.float().to(logits.device)).argmax(dim=-1)

    return drawn


def _gumbel(size: int, seed: int, number: int, step: int) -> Tensor:
    """Standard Gumbel noise (size,), drawn on the CPU so that the device makes no difference."""
    digest = hashlib.sha256(f"{seed} {number} {step}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    # In double precision: single would cut the noise off at 17, where a large vocabulary still has tokens.
    uniform = torch.rand(size, generator=generator, dtype=torch.float64).clamp(min=torch.finfo(torch.float64).tiny)
    return -torch.log(-torch.log(uniform))
