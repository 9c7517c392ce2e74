"""Which prompts a job reads: asked before the heavy imports too, and the same for every job. Light."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.errors import EngineError
from engine.events import Reporter
from engine.prompts import PromptBatch, PromptRow, PromptSet, read_prompts, sample_prompts
from engine.prompts.prompt_set import counted_rows
from engine.prompts.sample import reservoir
from engine.requests import PromptChoice

# What cannot be done without labels.
TO_TRAIN = "no training can be timed"
TO_SCORE = "no chain of layers can be scored"


def sample_batch(prompts: PromptSet, choice: PromptChoice, trained: int, reporter: Reporter) -> PromptBatch:
    """The prompt batch of a choice: as many prompts as it asks for, or as the generator was `trained` with."""
    return sample_prompts(prompts, choice.count or trained, choice.seed, reporter)


def labelled_prompts(source: Path, column: str | None, purpose: str, *, label: str | None = None) -> PromptSet:
    """The prompts of a source. Raises EngineError when they cannot be read or have no labels."""
    prompts = read_prompts(source, column=column, label=label)
    if prompts.label_column is None:
        raise no_labels(prompts.source, purpose)
    return prompts


def labelled_rows(
    prompts: PromptSet, count: int, seed: int, purpose: str, reporter: Reporter
) -> tuple[list[PromptRow], int]:
    """`count` rows with labels, each equally likely, and how many there are: one pass over the whole set.

    Raises:
        EngineError: there is none, or a row cannot be read.
    """
    total = 0

    def labelled() -> Iterable[PromptRow]:
        nonlocal total
        for row in counted_rows(prompts.every_row(), stage):
            if row.prompt and row.references:
                total += 1
                yield row

    with reporter.stage("read", unit="rows") as stage:
        rows = reservoir(labelled(), count, seed)
    if not rows:
        raise no_labels(prompts.source, purpose)
    return rows, total


def no_labels(source: Path, purpose: str) -> EngineError:
    """The error for prompts without answers; `purpose` says what cannot be done."""
    problem, hint = f"there are no labels in it, so {purpose}", "Add answers, for example as a column `response`"
    return EngineError(problem, where=str(source), hint=f"{hint}; generating an adapter needs none")
