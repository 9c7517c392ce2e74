"""A few gradient steps on the answers, from a solved adapter on.

The solved adapter is as good as its teacher, the base that sees examples; what the answers themselves say beyond that,
gradient descent takes from them. With a start this good a few steps are enough.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.adapter.lora import LoraAdapter
from engine.base.attention import has_full_attention
from engine.base.products import short_products
from engine.forge.batched import adapters_in_batch, answer_losses
from engine.forge.loop import clip_each
from engine.forge.packing import TokenRow, pack, take_that_fit
from engine.weights.layout import Layout

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

ROWS_A_STEP = 8
TOKENS_A_STEP = 512
"""Of long rows fewer go into a step: many small steps gain more than few large ones in the same time."""
LEARNING_RATE = 2e-3
_KEPT = 0.8
"""Part of the running mean of the adapters after each step that stays at the next one."""


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
    """A running mean of the adapters after each of `steps` steps of Adam on the rows' answers.

    Rows take their turn, up to eight or 512 tokens a step. A single state swings with the rows of its step; the mean
    gives the right answers more probability. What is attached to the base's model takes part and stays as it is.

    Args:
        seconds: no step begins after so many.
        rate: learning rate, constant.
        on_step: called after every step with its mean loss in nats a token.
    """
    if steps <= 0:
        return adapter
    began = time.perf_counter()
    device = base.device
    start = balanced_scales(adapter)
    a = {path: value.to(device).clone().requires_grad_() for path, value in start.a.items()}
    # One adapter of a batch of adapters: (1, out, rank).
    b = {path: value.to(device)[None].clone().requires_grad_() for path, value in start.b.items()}
    parameters = [*a.values(), *b.values()]
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.95))
    packed = has_full_attention(base.model)
    draw = _in_turn(rows, seed)
    mean: list[Tensor] = []
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        short_products(),
        adapters_in_batch(base.model, adapter.layout, a, b),
    ):
        for _ in range(steps):
            if time.perf_counter() - began > seconds:
                break
            drawn = next(draw)
            lines = [drawn] if packed else [[row] for row in drawn]
            losses = answer_losses(base.model, pack(lines, base.tokenizer.pad_token_id or 0).to(device))
            losses.mean().backward()
            clip_each([parameter.grad[None] for parameter in parameters if parameter.grad is not None])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not mean:
                mean = [parameter.detach().clone() for parameter in parameters]
            for kept, parameter in zip(mean, parameters, strict=True):
                kept.lerp_(parameter.detach(), 1 - _KEPT)
            on_step(float(losses.detach().mean()))
    found = [value.cpu() for value in mean or [parameter.detach() for parameter in parameters]]
    return LoraAdapter(
        adapter.layout,
        dict(zip(a, found[: len(a)], strict=True)),
        {path: value[0] for path, value in zip(b, found[len(a) :], strict=True)},
    )


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
