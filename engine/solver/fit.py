"""A few gradient steps on the answers, from a solved adapter on.

The solved adapter is as good as its teacher, the base that sees examples; what the answers themselves show beyond that,
gradient descent takes from them. With a start this good a few steps are enough.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.base.chat import padding_id
from engine.base.device import short_products
from engine.base.network import has_full_attention
from engine.training.loop import clip_each
from engine.training.losses import adapters_in_batch, answer_losses
from engine.training.packing import TokenRow, pack, take_that_fit
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

ROWS_A_STEP = 8
TOKENS_A_STEP = 512
"""Of long rows fewer go into a step: many small steps gain more than few large ones in the same time."""
LEARNING_RATE = 2e-3
_KEPT = 0.8
"""Part of the running mean of the adapters after each step that stays at the next one."""


class Fit:
    """An adapter in training: Adam on the answers of rows, step by step, and the running mean of its states.

    Rows take their turn, up to eight or 512 tokens a step. A single state swings with the rows of its step; the mean
    gives the right answers more probability. What is attached to the base's model takes part and stays as it is.

    Attributes:
        parameters: what is trained, by name. mean: tensors like them, the running mean; both are changed in place.
        steps: how many were taken.
    """

    def __init__(
        self, base: LoadedBase, start: LoraAdapter, rows: Sequence[TokenRow], *, rate: float, seed: int
    ) -> None:
        self._base = base
        self._layout = start.layout
        even = balanced_scales(start)
        # One adapter of a batch of adapters: B is (1, out, rank).
        held = {f"a.{path}": value.to(base.device).clone() for path, value in even.a.items()}
        held |= {f"b.{path}": value.to(base.device)[None].clone() for path, value in even.b.items()}
        self.parameters = {name: value.requires_grad_() for name, value in held.items()}
        self.mean = {name: value.detach().clone() for name, value in held.items()}
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=rate, betas=(0.9, 0.95))
        self.steps = 0
        self._packed = has_full_attention(base.model)
        self._draw = _in_turn(rows, seed)

    def step(self) -> float:
        """One step; its mean loss in nats a token, before it."""
        base, drawn = self._base, next(self._draw)
        lines = [drawn] if self._packed else [[row] for row in drawn]
        with torch.inference_mode(False), torch.enable_grad(), short_products(), self._attached(self.parameters):
            losses = answer_losses(base.model, pack(lines, padding_id(base.tokenizer)).to(base.device))
            losses.mean().backward()
        clip_each([value.grad[None] for value in self.parameters.values() if value.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        for name, value in self.parameters.items():
            # The first state begins the mean: what training starts from is not among its states.
            self.mean[name].lerp_(value.detach(), 1.0 if self.steps == 1 else 1 - _KEPT)
        return float(losses.detach().mean())

    def skip(self, steps: int) -> None:
        """Count `steps` as taken, their rows as drawn: parameters, mean and optimizer come from elsewhere."""
        for _ in range(steps):
            next(self._draw)
        self.steps += steps

    def with_mean(self) -> AbstractContextManager[None]:
        """While open, the base answers with the mean."""
        return self._attached(self.mean)

    @property
    def adapter(self) -> LoraAdapter:
        """The mean as an adapter of its own; of no step, the start."""
        halves = {half: {path: self.mean[f"{half}.{path}"].cpu().clone() for path in self._paths} for half in "ab"}
        return LoraAdapter(self._layout, halves["a"], {path: value[0] for path, value in halves["b"].items()})

    @property
    def _paths(self) -> list[str]:
        return [module.path for module in self._layout.modules]

    def _attached(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        a, b = ({path: values[f"{half}.{path}"] for path in self._paths} for half in "ab")
        return adapters_in_batch(self._base.model, self._layout, a, b)


def fit(
    base: LoadedBase,
    adapter: LoraAdapter,
    rows: Sequence[TokenRow],
    steps: int,
    *,
    seconds: float = math.inf,
    rate: float = LEARNING_RATE,
    seed: int = 0,
    on_step: Callable[[float], None] = lambda loss: None,
) -> LoraAdapter:
    """The adapter after `steps` steps on the rows' answers, see `Fit`.

    Args:
        seconds: no step begins after so many.
        rate: learning rate, constant.
        on_step: called after every step with its mean loss in nats a token.
    """
    if steps <= 0:
        return adapter
    began = time.perf_counter()
    training = Fit(base, adapter, rows, rate=rate, seed=seed)
    while training.steps < steps and time.perf_counter() - began <= seconds:
        on_step(training.step())
    return training.adapter


def fresh_adapter(layout: Layout, seed: int) -> LoraAdapter:
    """An adapter that changes nothing yet: A as `peft` starts it (Kaiming uniform), B of zeros."""
    source = torch.Generator().manual_seed(seed)
    rank = layout.lora.rank
    a, b = {}, {}
    for module in layout.modules:
        bound = 1 / math.sqrt(module.in_features)
        a[module.path] = torch.empty(rank, module.in_features).uniform_(-bound, bound, generator=source)
        b[module.path] = torch.zeros(module.out_features, rank)
    return LoraAdapter(layout, a, b)


def balanced_scales(adapter: LoraAdapter) -> LoraAdapter:
    """The same update with the two vectors of each rank equally long, so that a step moves both halves alike.

    A solved B has columns of length 1, whatever the size of the update. Ranks that do nothing yet stay as they are.
    """
    a, b = {}, {}
    for path, down in adapter.a.items():
        long_a, long_b = down.norm(dim=1), adapter.b[path].norm(dim=0)
        scale = torch.where((long_a > 0) & (long_b > 0), (long_b / long_a.clamp_min(1e-12)).sqrt(), 1.0)
        a[path], b[path] = down * scale[:, None], adapter.b[path] / scale
    return LoraAdapter(adapter.layout, a, b)


def _in_turn(rows: Sequence[TokenRow], seed: int) -> Iterator[list[TokenRow]]:
    """The rows of each step, for ever, each round in another order."""
    chance = random.Random(f"{seed}/fit")
    waiting: list[TokenRow] = []
    while True:
        if len(waiting) < ROWS_A_STEP:
            waiting += sorted(rows, key=lambda _: chance.random())
        step = take_that_fit(waiting[: min(ROWS_A_STEP, len(rows))], TOKENS_A_STEP)
        waiting = waiting[len(step) :]
        yield step
