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
from engine.jobs.sampling import TO_SCORE, labelled_prompts, labelled_rows
from engine.prompts import PromptRow
from engine.requests import DepthRequest
from engine.training.packing import TokenRow

# Longer rows would make a search of hundreds of chains a matter of hours on a CPU.
_LONGEST_ROW = 512


@dataclass(frozen=True)
class DepthRows:
    """Rows of the search in its parts, and held-out rows, the longest first: rows judged in a batch are of like length.

    prompts, held_out_prompts: as they are in the files, in the order of the rows.
    digest: SHA-256 of the rows searched on and their order.
    """

    parts: Sequence[Sequence[TokenRow]]
    held_out: Sequence[TokenRow]
    prompts: Sequence[str]
    held_out_prompts: Sequence[str]
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
    # Enough for both sides, even when some come again.
    most = 4 * (request.rows + MOST_HELD_OUT)
    rows = fitting_rows(request.source, request.column, most, request.seed, base, reporter)
    others = None
    if request.held_out:
        others = fitting_rows(request.held_out, request.column, most, request.seed, base, reporter)
    split = split_rows(
        rows, request.rows, request.seed, source=request.source, held_out=others, held_out_source=request.held_out
    )
    search = token_rows(base, split.search)
    judged = zip(token_rows(base, split.held_out), split.held_out, strict=True)
    held_out = sorted(judged, key=lambda pair: -len(pair[0]))
    parts = [search[start:end] for start, end in pairwise(accumulate(part_sizes(len(search)), initial=0))]
    digest = digest_json([[row.prompt, row.answer] for row in search])
    return DepthRows(
        parts,
        [tokens for tokens, _ in held_out],
        [row.prompt for row in split.search],
        [row.prompt for _, row in held_out],
        digest,
    )


def fitting_rows(
    source: Path, column: str | None, most: int, seed: int, base: LoadedBase, reporter: Reporter
) -> list[PromptRow]:
    """Up to `most` labelled rows of a source, drawn at random; too long ones are left out and told."""
    prompts = labelled_prompts(source, column, TO_SCORE)
    rows, _ = labelled_rows(prompts, most, seed, TO_SCORE, reporter)
    kept = [row for row, tokens in zip(rows, token_rows(base, rows), strict=True) if len(tokens) <= _LONGEST_ROW]
    if len(kept) < len(rows):
        left_out = len(rows) - len(kept)
        reporter.note(f"{left_out} of {len(rows)} rows have more than {_LONGEST_ROW} tokens and are left out")
    return kept


def token_rows(base: LoadedBase, rows: Sequence[PromptRow]) -> list[TokenRow]:
    """Prompt and first label of each row, as the base's chat format has them."""
    prompts = prompts_ids(base.tokenizer, [row.prompt for row in rows])
    answers = answers_ids(base.tokenizer, [row.references[0] for row in rows])
    return [TokenRow(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
