"""Labelled prompts as tokens, parted for a search of chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from engine.base.chat import answers_ids, prompts_ids
from engine.base.load import LoadedBase
from engine.depth.rows import MOST_HELD_OUT, split_rows
from engine.depth.search import part_sizes
from engine.events import Reporter
from engine.files import digest_json
from engine.forge.packing import TokenRow
from engine.jobs.sampling import TO_SCORE, labelled_prompts, labelled_rows
from engine.prompts import PromptRow
from engine.requests import DepthRequest

# Longer rows would make a search of hundreds of chains a matter of hours on a CPU.
_LONGEST_ROW = 512


@dataclass(frozen=True)
class DepthRows:
    """Rows of the search in its parts, and held-out rows.

    digest: SHA-256 of the rows searched on and their order.
    """

    parts: Sequence[Sequence[TokenRow]]
    held_out: Sequence[TokenRow]
    digest: str

    @property
    def searched(self) -> list[TokenRow]:
        """All rows of the search."""
        return [row for part in self.parts for row in part]


def depth_rows(request: DepthRequest, base: LoadedBase, reporter: Reporter) -> DepthRows:
    """Read, tokenise and part the rows of a request; too long ones are left out and told.

    Raises:
        EngineError: too few rows, or they cannot be read.
    """
    rows = _fitting(request.source, request, base, reporter)
    others = _fitting(request.held_out, request, base, reporter) if request.held_out else None
    split = split_rows(
        rows, request.rows, request.seed, source=request.source, held_out=others, held_out_source=request.held_out
    )
    search = _tokens(base, split.search)
    parts = [search[start:end] for start, end in pairwise(accumulate(part_sizes(len(search)), initial=0))]
    digest = digest_json([[row.prompt, row.answer] for row in search])
    return DepthRows(parts, _tokens(base, split.held_out), digest)


def _fitting(source: Path, request: DepthRequest, base: LoadedBase, reporter: Reporter) -> list[PromptRow]:
    """Rows enough for both sides, even when some come again."""
    prompts = labelled_prompts(source, request.column, TO_SCORE)
    rows, _ = labelled_rows(prompts, 4 * (request.rows + MOST_HELD_OUT), request.seed, TO_SCORE, reporter)
    kept = [row for row, tokens in zip(rows, _tokens(base, rows), strict=True) if len(tokens) <= _LONGEST_ROW]
    if len(kept) < len(rows):
        left_out = len(rows) - len(kept)
        reporter.note(f"{left_out} of {len(rows)} rows have more than {_LONGEST_ROW} tokens and are left out")
    return kept


def _tokens(base: LoadedBase, rows: Sequence[PromptRow]) -> list[TokenRow]:
    """Prompt and first label of each row, as the base's chat format has them."""
    prompts = prompts_ids(base.tokenizer, [row.prompt for row in rows])
    answers = answers_ids(base.tokenizer, [row.references[0] for row in rows])
    return [TokenRow(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
