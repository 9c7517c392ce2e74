"""Several rows of one task in one sequence, their common prefix only once.

Rows of a task share the chat format's start and the instruction, often most of their tokens. Causal attention
lets the prefix be computed once for all of them:

    tokens     [ prefix ........ ][ rest of row 1 ][ rest of row 2 ] ...
    positions   0 ............ p-1 p ......         p ......
    attention   causal; a row's rest sees the prefix and itself, never another row

The logits equal those of separate rows (tested), at less than half of the tokens on instruction tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
PADDING = -1


@dataclass(frozen=True)
class TokenRow:
    """Token ids of a row: the prompt as the base's chat format renders it, and the answer with its end."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def token_rows(prompts: Iterable[Sequence[int]], answers: Iterable[Sequence[int]]) -> list[TokenRow]:
    """Token ids of prompts and of as many answers, row by row."""
    return [TokenRow(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]


@dataclass(frozen=True)
class PackedBatch:
    """Padded packed sequences, one a line.

    ids, positions, targets: (P, S) int64; targets[i, j] is the token that position j must predict, or IGNORED.
    owner: (P, S) int64, which row of its line a token belongs to: from 1 on, 0 in the prefix, PADDING in the padding.
    one_row_a_line: no line holds two rows, so the mask is the causal one but for padding.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    owner: Tensor
    one_row_a_line: bool = False

    @property
    def mask(self) -> Tensor:
        """(P, 1, S, S) bool, True where attention is allowed."""
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        same = self.owner[:, :, None] == self.owner[:, None, :]
        prefix = (self.owner == 0)[:, None, :] & (self.owner >= 0)[:, :, None]
        # Padding sees padding only: no row of the mask is empty, so no softmax is undefined.
        return (causal & (same | prefix))[:, None]

    @property
    def tokens(self) -> int:
        """Number of tokens computed, padding included."""
        return self.ids.numel()

    def additive_mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to attention scores: 0 where attention is allowed, the lowest number elsewhere."""
        lowest = torch.finfo(torch.float32).min
        mask = self.mask
        return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, lowest).to(dtype)

    def to(self, device: torch.device) -> PackedBatch:
        """On another device."""
        ids, positions, targets, owner = (
            part.to(device) for part in (self.ids, self.positions, self.targets, self.owner)
        )
        return PackedBatch(ids, positions, targets, owner, self.one_row_a_line)


def common_prefix(rows: Sequence[TokenRow]) -> int:
    """Length of the longest prefix that all prompts share, leaving each prompt its last token at least."""
    prompts = [row.prompt for row in rows]
    shortest = min(map(len, prompts)) - 1
    # What the first and the last in order share, all between them share.
    low, high = min(prompts), max(prompts)
    return next((place for place in range(shortest) if low[place] != high[place]), shortest)


def packed_length(rows: Sequence[TokenRow]) -> int:
    """Tokens of the packed sequence of `rows`."""
    prefix = common_prefix(rows)
    return prefix + sum(len(row) - prefix for row in rows)


def take_that_fit(rows: Sequence[TokenRow], max_tokens: int) -> list[TokenRow]:
    """The longest start of `rows` whose packed sequence has at most `max_tokens`; one row at least."""
    taken = [rows[0]]
    for row in rows[1:]:
        if packed_length([*taken, row]) > max_tokens:
            break
        taken.append(row)
    return taken


def pack(packs: Sequence[Sequence[TokenRow]], pad_id: int, multiple: int = 1) -> PackedBatch:
    """Rows, grouped into packs -> one batch of P = len(packs) sequences, padded to a `multiple` of tokens."""
    lines = [_line(rows) for rows in packs]
    length = -(-max(len(ids) for ids, _, _, _ in lines) // multiple) * multiple
    fills = (pad_id, 0, IGNORED, PADDING)
    ids, positions, targets, owner = (
        torch.tensor([part + [fill] * (length - len(part)) for part in parts])
        for parts, fill in zip(zip(*lines, strict=True), fills, strict=True)
    )
    return PackedBatch(ids, positions, targets, owner, one_row_a_line=all(len(rows) == 1 for rows in packs))


def _line(rows: Sequence[TokenRow]) -> tuple[list[int], list[int], list[int], list[int]]:
    prefix = common_prefix(rows)
    ids, positions = list(rows[0].prompt[:prefix]), list(range(prefix))
    targets, owner = [IGNORED] * prefix, [0] * prefix
    for number, row in enumerate(rows, 1):
        rest = (*row.prompt[prefix:], *row.answer)
        asked = len(row.prompt) - prefix
        ids += rest
        positions += range(prefix, prefix + len(rest))
        targets += [IGNORED] * (asked - 1) + list(row.answer) + [IGNORED]
        owner += [number] * len(rest)
    return ids, positions, targets, owner
