"""Which labelled rows a chain is searched on and which it is judged on: no prompt is on both sides."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.prompts import PromptRow

FEWEST_ROWS = 16
"""Labelled rows that a search needs, after prompts that come again are left out."""

FEWEST_SEARCH_ROWS = 8
MOST_HELD_OUT = 100


@dataclass(frozen=True)
class SplitRows:
    """Rows for the search, and held-out rows to judge on; in the order they are drawn."""

    search: Sequence[PromptRow]
    held_out: Sequence[PromptRow]


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
