"""Which labelled rows a chain is searched on and which it is judged on: no prompt is on both sides. Light."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import EngineError
from engine.events import Reporter
from engine.prompts import PromptRow

if TYPE_CHECKING:
    from engine.base.load import LoadedBase
    from engine.training.packing import TokenRow

FEWEST_ROWS = 16
"""Labelled rows that a search needs, after prompts that come again are left out."""

FEWEST_SEARCH_ROWS = 8
MOST_HELD_OUT = 100

# Longer rows would make a search of hundreds of chains a matter of hours on a CPU.
_LONGEST_ROW = 512


class SplitRows(NamedTuple):
    """Rows for the search, and held-out rows to judge on; in the order they are drawn."""

    search: list[PromptRow]
    held_out: list[PromptRow]


def distinct_rows(rows: Iterable[PromptRow], without: Iterable[PromptRow] = ()) -> list[PromptRow]:
    """The rows with labels, of equal prompts the first; none whose prompt is in `without`.

    Prompts are equal that differ only in case and blanks.
    """
    seen = {_normal(row.prompt) for row in without}
    kept = []
    for row in rows:
        key = _normal(row.prompt)
        if row.references and key not in seen:
            seen.add(key)
            kept.append(row)
    return kept


def split_rows(
    rows: Sequence[PromptRow],
    count: int,
    seed: int,
    *,
    source: Path,
    held_out: Sequence[PromptRow] | None = None,
    held_out_source: Path | None = None,
) -> SplitRows:
    """Draw `count` rows for the search, at most half of what is there, and up to 100 others to judge on.

    Args:
        rows: of `source`, each usable.
        held_out: rows of their own to judge on, of `held_out_source`; then all of `rows` may be searched on.

    Raises:
        EngineError: fewer than 16 distinct rows with labels on a side.
    """
    mine = _shuffled(distinct_rows(rows), seed)
    _check_enough(mine, source)
    if held_out is None:
        count = min(count, len(mine) // 2)
        return SplitRows(mine[:count], mine[count : count + MOST_HELD_OUT])
    search = mine[:count]
    others = _shuffled(distinct_rows(held_out, without=search), seed)
    _check_enough(others, held_out_source or source)
    return SplitRows(search, others[:MOST_HELD_OUT])


def part_sizes(rows: int) -> tuple[int, int, int, int]:
    """How many of `rows` rows, at least 8, are in each part of a search (`engine.depth.search`)."""
    first = rows // 4
    probe = max(1, first // 4)
    second = rows // 2 - first
    return probe, first - probe, second, rows - first - second


@dataclass(frozen=True)
class DepthRows:
    """Rows of the search in its parts, and held-out rows, the longest first: rows judged in a batch are of like length.

    prompts, held_out_prompts: as they are in the files, in the order of the rows.
    """

    parts: Sequence[Sequence[TokenRow]]
    held_out: Sequence[TokenRow]
    prompts: Sequence[str]
    held_out_prompts: Sequence[str]

    @property
    def searched(self) -> list[TokenRow]:
        """All rows of the search."""
        return [row for part in self.parts for row in part]

    @property
    def longest_prompt(self) -> tuple[int, ...]:
        """Of the rows of the search, as tokens; speed is measured on it."""
        return max((row.prompt for row in self.searched), key=len)


def depth_rows(base: LoadedBase, split: SplitRows) -> DepthRows:
    """The rows as tokens of `base`, those of the search parted."""
    search = token_rows(base, split.search)
    judged = zip(token_rows(base, split.held_out), split.held_out, strict=True)
    held_out = sorted(judged, key=lambda pair: -len(pair[0]))
    return DepthRows(
        [search[start:end] for start, end in pairwise(accumulate(part_sizes(len(search)), initial=0))],
        [tokens for tokens, _ in held_out],
        [row.prompt for row in split.search],
        [row.prompt for _, row in held_out],
    )


def fitting_rows(base: LoadedBase, rows: Sequence[PromptRow], reporter: Reporter) -> list[PromptRow]:
    """The labelled rows without those that have too many tokens, which are reported."""
    kept = [row for row, tokens in zip(rows, token_rows(base, rows), strict=True) if len(tokens) <= _LONGEST_ROW]
    if len(kept) < len(rows):
        left_out = len(rows) - len(kept)
        reporter.note(f"{left_out} of {len(rows)} rows have more than {_LONGEST_ROW} tokens and are left out")
    return kept


def token_rows(base: LoadedBase, rows: Sequence[PromptRow]) -> list[TokenRow]:
    """Prompt and first label of each row, as the base's chat format has them."""
    from engine.base.chat import answers_ids, prompts_ids
    from engine.training import packing

    prompts = prompts_ids(base.tokenizer, [row.prompt for row in rows])
    return packing.token_rows(prompts, answers_ids(base.tokenizer, [row.references[0] for row in rows]))


def _check_enough(rows: Sequence[PromptRow], source: Path) -> None:
    if len(rows) < FEWEST_ROWS:
        problem = f"{len(rows)} different usable rows with labels; at least {FEWEST_ROWS} are needed"
        raise EngineError(problem, where=str(source), hint="With fewer, chance decides which chain looks best")


def _shuffled(rows: Sequence[PromptRow], seed: int) -> list[PromptRow]:
    # Of Python's generator only `random()` is promised to stay the same in all versions.
    chance = random.Random(f"{seed}/depth")
    return sorted(rows, key=lambda _: chance.random())


def _normal(prompt: str) -> str:
    return " ".join(prompt.split()).casefold()
