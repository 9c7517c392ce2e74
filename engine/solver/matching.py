"""Rows with and without their context, and the tokens at which both are compared.

The last tokens of a row are the same with and without context: the end of the prompt, as the chat format writes it, and
the answer. There the residual streams of teacher and student are matched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.base.chat import padding_id
from engine.base.network import has_full_attention, takes_positions
from engine.errors import EngineError
from engine.training.packing import PackedBatch, TokenRow, pack, take_that_fit

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

MOST_MATCHED = 32
"""Tokens of a row at which the streams are matched, at most: the first ones. Of a long answer the later tokens follow
from the earlier, and a regression over many more tokens takes longer than the passes."""

TAIL = 5
"""Tokens before the answer at which the streams are matched too: in most chat formats, the turn's end and the
assistant's header."""

# Longer student lines waste attention, whose cost grows with the square.
_LINE_TOKENS = 512


@dataclass(frozen=True)
class ContextRow:
    """One row twice: as the teacher reads it, after its context, and as the student does. Both have the same answer."""

    teacher: TokenRow
    student: TokenRow


def matched_places(row: ContextRow, counts: Mapping[ContextRow, int], start: int) -> list[int]:
    """Where a teacher row's matched tokens stand if its first `start` tokens are left out; `MOST_MATCHED` at most."""
    end = len(row.teacher) - start
    return list(range(end - counts[row], end))[:MOST_MATCHED]


@dataclass(frozen=True)
class Students:
    """All student rows as lines of one batch, and where each matched token stands in them.

    packed: rows share lines. places: (T,) tokens, counted line by line. owners: (T,) which row a token is of.
    """

    lines: PackedBatch
    packed: bool
    places: Tensor
    owners: Tensor

    def inputs(self, model: nn.Module) -> dict[str, Tensor]:
        """What the model without its head is called with."""
        if not self.packed:
            return {"input_ids": self.lines.ids}
        mask = self.lines.additive_mask(next(model.parameters()).dtype)
        return {"input_ids": self.lines.ids, "position_ids": self.lines.positions, "attention_mask": mask}


def lay_out(base: LoadedBase, rows: Sequence[ContextRow], counts: Mapping[ContextRow, int]) -> Students:
    """Lines of the student rows; `counts` as in `matched_tokens`."""
    packed = _can_pack(base, rows)
    lines: list[list[TokenRow]] = []
    left = [row.student for row in rows]
    while left:
        lines.append(take_that_fit(left, _LINE_TOKENS) if packed else left[:1])
        left = left[len(lines[-1]) :]
    batch = pack(lines, padding_id(base.tokenizer)).to(base.device)
    matched = [counts[row] for row in rows]
    places = torch.tensor(_places(batch.owner, [len(line) for line in lines], matched), device=base.device)
    owners = [number for number, count in enumerate(matched) for _ in range(min(count, MOST_MATCHED))]
    return Students(batch, packed, places, torch.tensor(owners, device=base.device))


def _places(owner: Tensor, rows: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Where each row's matched tokens stand, counted line by line: the last `counts`, or of many the first of these.

    A row's tokens are the line's common beginning and its own.

    Args:
        rows: how many rows each line holds.
    """
    places: list[int] = []
    left = iter(counts)
    for line, many in enumerate(rows):
        for number in range(1, many + 1):
            own = ((owner[line] == 0) | (owner[line] == number)).nonzero().flatten().tolist()
            places += [line * owner.shape[1] + place for place in own[len(own) - next(left) :][:MOST_MATCHED]]
    return places


def matched_tokens(row: ContextRow, tail: int) -> int:
    """How many tokens at the end of both rows are matched: the answer, and up to `tail` equal ones before it.

    The token ids are compared, since a tokenizer may join characters across a seam. The first token of a row never is.
    """
    if row.teacher.answer != row.student.answer:
        raise EngineError("a row's answer became other tokens after its context")
    same = 0
    for one, other in zip(reversed(row.teacher.prompt[1:]), reversed(row.student.prompt[1:]), strict=False):
        if one != other or same == tail:
            break
        same += 1
    return same + len(row.student.answer)


def _can_pack(base: LoadedBase, rows: Sequence[ContextRow]) -> bool:
    """Whether student rows may share lines under a mask of ours: every layer reaches all tokens of a row."""
    model: Any = base.model
    if not takes_positions(model):
        return False
    if has_full_attention(model):
        return True
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    longest = max(len(row.student) for row in rows)
    return isinstance(window, int) and longest <= window
