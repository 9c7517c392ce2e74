"""What a preview tells of a prompt source, as lines of label and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnd_tui.screens.drop.context import context_words, held_out_words
from dnd_tui.text import answers_words
from engine.solver.plan import GENERATOR

_MOST_FILES = 3


def fact_lines(
    facts: Mapping[str, Any],
    context: Mapping[str, Any],
    sample: Mapping[str, Any] | None,
    read: int,
    notes: Sequence[str],
) -> tuple[tuple[str, str], ...]:
    """Facts of a preview, what the adapter is made from, the rows used once they are there, remarks.

    Args:
        facts, context, sample: of `Result.data` of a PreviewRequest.
        read: rows read so far, while the rows are being chosen.
    """
    alone = context["kind"] == GENERATOR
    looked_at = "" if facts["complete"] else f" in the first {facts['rows']:,} rows"
    labels = f"{facts['label_column']}, on {facts['labelled']:,} rows{looked_at}" if facts["label_column"] else "none"
    skipped = f"{facts['skipped']:,} rows without a prompt{looked_at}" if facts["skipped"] else ""
    if sample:
        skipped = f"{sample['skipped']:,} rows without a prompt" if sample["skipped"] else ""
    batch = f"{len(sample['rows']):,} of {sample['total']:,} prompts" if sample else f"reading row {read:,} …"
    lines = (
        ("made from", context_words(context)),
        *([("answers", answers_words(context["answers"], context["taught_by"]))] if context["taught_by"] else []),
        ("rows", _rows(facts, sample)),
        *(() if context["problem"] else (("rows used", batch),)),
        *(() if alone or context["problem"] else (("held out", held_out_words(context)),)),
        ("prompt column", facts["column"]),
        ("labels", f"{labels} (never read by the generator)" if alone and facts["label_column"] else labels),
        ("length", _lengths(facts)),
        ("duplicates", f"{facts['duplicates']:,}{looked_at}" if facts["duplicates"] else f"none{looked_at}"),
        ("left out", skipped or "none"),
        ("format", facts["format"]),
        ("files", _files(facts["files"])),
    )
    return (*lines, *(("note", note) for note in notes))


def row_count(facts: Mapping[str, Any], sample: Mapping[str, Any] | None) -> int | None:
    """Rows of the source, those without a prompt too; None if they were not all counted."""
    if sample:
        return int(sample["total"] + sample["skipped"])
    return int(facts["rows"]) if facts["complete"] else None


def _rows(facts: Mapping[str, Any], sample: Mapping[str, Any] | None) -> str:
    count = row_count(facts, sample)
    return f"more than {facts['rows']:,}" if count is None else f"{count:,}"


def _lengths(facts: Mapping[str, Any]) -> str:
    if facts["shortest"] == facts["longest"]:
        return f"{facts['longest']:,} characters"
    return f"{facts['shortest']:,} to {facts['longest']:,} characters, median {facts['median']:,}"


def _files(files: Sequence[str]) -> str:
    names = ", ".join(Path(file).name for file in files[:_MOST_FILES])
    more = len(files) - _MOST_FILES
    return f"{names} and {more:,} more" if more > 0 else names
