"""What a prompt set looks like, for a person who wants to know before using it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median_low

from engine.files import digest_bytes
from engine.prompts.prompt_set import PromptSet

_CHARACTERS = 2**25


@dataclass(frozen=True)
class PromptReport:
    """Facts about the first rows of a set.

    rows: rows looked at, those without a prompt too.
    complete: the set has no more rows than that.
    prompts: rows with a prompt.
    skipped: rows without one.
    labelled: prompts with at least one reference.
    duplicates: prompts that were there before.
    shortest, median, longest: prompt lengths in characters.
    """

    source: Path
    files: tuple[Path, ...]
    format: str
    column: str
    label_column: str | None
    rows: int
    complete: bool
    prompts: int
    skipped: int
    labelled: int
    duplicates: int
    shortest: int
    median: int
    longest: int


def describe(prompts: PromptSet, limit: int = 1000) -> PromptReport:
    """Look at the first `limit` rows, fewer when they are very long.

    Raises EngineError at a row that cannot be read.
    """
    rows = prompts.every_row()
    count = labelled = 0
    lengths: list[int] = []
    seen: set[str] = set()
    for row in islice(rows, limit):
        count += 1
        if row.prompt:
            lengths.append(len(row.prompt))
            labelled += bool(row.references)
            seen.add(digest_bytes(row.prompt.encode()))  # prompts may be megabytes long
            if sum(lengths) > _CHARACTERS:
                break
    complete = next(rows, None) is None
    return PromptReport(
        source=prompts.source,
        files=prompts.files,
        format=prompts.format,
        column=prompts.column,
        label_column=prompts.label_column,
        rows=count,
        complete=complete,
        prompts=len(lengths),
        skipped=count - len(lengths),
        labelled=labelled,
        duplicates=len(lengths) - len(seen),
        shortest=min(lengths, default=0),
        median=median_low(lengths) if lengths else 0,
        longest=max(lengths, default=0),
    )
