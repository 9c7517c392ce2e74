"""Bits per byte of the reference answers, teacher-forced: how surprising the right answer is to the model.

    bits per byte = sum of the answer's nats / ln 2 / UTF-8 bytes of its text

The answer stands where it would be generated, in the base's chat format, and the token that ends the turn counts:
an adapter that has learned the task has also learned where to stop. Per byte, so that tokenizers can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.base.network import has_plain_cache, output_logits
from engine.base.prefix import SharedBeginning, rows_at_once
from engine.training.packing import IGNORED, TokenRow, common_prefix, pack

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


def bits_per_byte(nats: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Of all answers together: `nats` and UTF-8 bytes of each; None where there are no bytes."""
    return sum(nats) / math.log(2) / sum(sizes) if sum(sizes) else None


@torch.inference_mode()
def answer_nats(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None] = lambda: None
) -> list[float]:
    """Negative log-likelihood of each row's answer, summed over its tokens, in nats.

    What is attached to the base's model takes part.

    Args:
        rows: of one task, at least one; their common beginning is read once, where the base's layers allow that.
        batch: rows at a time, at most.
        on_step: called before each forward pass; the place to hear that the person wants to stop.
    """
    return [float(losses.double().sum()) for losses, _ in _answers(base, rows, batch, on_step)]


@torch.inference_mode()
def answer_figures(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None] = lambda: None
) -> list[tuple[float, int, bool]]:
    """Of each row's answer: what `answer_nats` gives, how many tokens it has, and whether every one of them, the end of
    the turn too, is the likeliest where it stands: what greedy decoding would write. Arguments as in `answer_nats`.
    """
    found = _answers(base, rows, batch, on_step)
    return [(float(losses.double().sum()), len(losses), bool(hits.all())) for losses, hits in found]


def _answers(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each row's answer, by token: nats, and whether it is the likeliest."""
    model, fill = base.model, base.tokenizer.pad_token_id or 0
    shared = common_prefix(rows) if len(rows) > 1 and has_plain_cache(model) else 0
    on_step()
    beginning = SharedBeginning(model, rows[0].prompt[:shared])
    size = min(batch, rows_at_once(model, shared, max(map(len, rows)) - shared))
    for start in range(0, len(rows), size):
        on_step()
        some = rows[start : start + size]
        rests = [[TokenRow(row.prompt[shared:], row.answer)] for row in some]
        together = pack(rests, fill).to(base.device)
        answers = together.targets != IGNORED
        logits = output_logits(model, beginning.read(together.ids)[answers])
        losses = nn.functional.cross_entropy(logits, together.targets[answers], reduction="none")
        hits = logits.argmax(-1) == together.targets[answers]
        lengths = [len(row.answer) for row in some]
        yield from zip(losses.cpu().split(lengths), hits.cpu().split(lengths), strict=True)
