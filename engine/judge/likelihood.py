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
from torch import Tensor

from engine.base.attention import has_full_attention
from engine.forge.batched import answer_losses_and_hits
from engine.forge.packing import TokenRow, common_prefix, pack, packed_length

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

# Tokens of a packed line beside the common beginning of its rows; longer ones waste attention, whose cost grows with
# the square.
_LINE_TOKENS = 512


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
        rows: of one task, at least one; their common beginning is computed once a packed line, where the base's
            layers allow rows to be packed.
        batch: rows at a time, about.
        on_step: called before each forward pass; the place to hear that the person wants to stop.
    """
    return [float(losses.double().sum()) for losses, _ in _answers(base, rows, batch, on_step)]


@torch.inference_mode()
def answer_hits(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None] = lambda: None
) -> list[bool]:
    """Whether every token of each row's answer, the end of the turn too, is the likeliest one where it stands.

    That is what greedy decoding would write; arguments as in `answer_nats`.
    """
    return [bool(hits.all()) for _, hits in _answers(base, rows, batch, on_step)]


@torch.inference_mode()
def answer_figures(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None] = lambda: None
) -> list[tuple[float, int, bool]]:
    """Of each row's answer: what `answer_nats` gives, its tokens, and what `answer_hits` gives; in one pass."""
    found = _answers(base, rows, batch, on_step)
    return [(float(losses.double().sum()), len(losses), bool(hits.all())) for losses, hits in found]


def _answers(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each row's answer, by token: nats, and whether it is the likeliest."""
    packed = has_full_attention(base.model)
    for lines in _batches(_lines(rows) if packed else ([row] for row in rows), batch):
        on_step()
        together = pack(lines, base.tokenizer.pad_token_id or 0).to(base.device)
        losses, hits = answer_losses_and_hits(base.model, together)
        lengths = [len(row.answer) for line in lines for row in line]
        yield from zip(losses.cpu().split(lengths), hits.cpu().split(lengths), strict=True)


def _lines(rows: Sequence[TokenRow]) -> Iterator[list[TokenRow]]:
    """Rows in order, as many a line as fit."""
    line: list[TokenRow] = []
    longest = _LINE_TOKENS + (common_prefix(rows) if len(rows) > 1 else 0)
    for row in rows:
        if line and packed_length([*line, row]) > longest:
            yield line
            line = []
        line.append(row)
    yield line


def _batches(lines: Iterator[list[TokenRow]], batch: int) -> Iterator[list[list[TokenRow]]]:
    """Lines together as long as their rows are at most `batch`; one line at least."""
    taken: list[list[TokenRow]] = []
    for line in lines:
        if taken and sum(map(len, taken)) + len(line) > batch:
            yield taken
            taken = []
        taken.append(line)
    yield taken
