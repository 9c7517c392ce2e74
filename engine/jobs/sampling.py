"""Which prompts a job reads: asked before the heavy imports too, and the same for every job. Light."""

from __future__ import annotations

from pathlib import Path

from engine.errors import EngineError
from engine.events import Reporter
from engine.prompts import PromptBatch, PromptSet, read_prompts, sample_prompts
from engine.requests import PromptChoice, TrainingTimeRequest


def sample_batch(prompts: PromptSet, choice: PromptChoice, most: int, reporter: Reporter) -> PromptBatch:
    """The prompt batch of a choice: as many prompts as it asks for, at most as many as the generator takes, `most`."""
    count = choice.count or most
    if count > most:
        reporter.note(f"the generator reads {most} prompts, not {count}", warning=True)
    return sample_prompts(prompts, min(count, most), choice.seed, reporter)


def labelled_prompts(request: TrainingTimeRequest) -> PromptSet:
    """The prompts of `request`. Raises EngineError when they cannot be read or have no labels."""
    prompts = read_prompts(request.source, column=request.column)
    if prompts.label_column is None:
        raise no_labels(prompts.source)
    return prompts


def no_labels(source: Path) -> EngineError:
    """The error for prompts without answers to train on."""
    hint = "Training needs answers, for example a column `response`; generating does not"
    return EngineError("there are no labels in it, so no training can be timed", where=str(source), hint=hint)
