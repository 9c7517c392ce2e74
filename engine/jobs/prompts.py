"""What stands in a request's prompts: what an adapter is made from, the batch that conditions one, a sheet to answer.

Light: asked before the heavy imports too.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.jobs.results import Result
from engine.prompts import PromptBatch, PromptRow, PromptSet, read_prompts, sample_prompts
from engine.prompts.answer_sheet import SheetRow, write_sheet
from engine.prompts.prompt_set import counted_rows
from engine.prompts.sample import MOST_LOOKED_AT, diverse_places, reservoir
from engine.requests import (
    ChainChoiceRequest,
    ContextChoice,
    DepthOracleRequest,
    DepthRequest,
    ModelChoice,
    PromptChoice,
    RefineRequest,
    SheetRequest,
    TeachRequest,
    TrainingTimeRequest,
)
from engine.solver.plan import AUTO, BOTH, EXAMPLES, GENERATOR, KINDS, ContextPlan, plan_context, read_context

MOST_ROWS = 2000
"""Rows of a large source among which those of an adapter are drawn."""


def found_context(
    prompts: PromptSet, choice: PromptChoice, solve: ContextChoice, models: ModelChoice, reporter: Reporter
) -> ContextPlan:
    """The plan of a request: one pass over the source, in a stage "read".

    Raises:
        EngineError: what was chosen is not there, with what would help.
    """
    made_from = chosen_kind(solve, models)
    if made_from == GENERATOR:
        return ContextPlan(GENERATOR, "as chosen")
    with reporter.stage("read", unit="rows") as stage:
        rows = reservoir(counted_rows(prompts.every_row(), stage), MOST_ROWS, choice.seed)
    return planned(rows, choice, solve, made_from)


def planned(rows: Iterable[PromptRow], choice: PromptChoice, solve: ContextChoice, made_from: str) -> ContextPlan:
    """The plan of what was chosen, from rows that were read; raises as `found_context`."""
    return plan_context(
        rows,
        made_from=made_from,
        context=solve.context,
        count=solve.answered,
        held_out=solve.held_out,
        seed=choice.seed,
        source=str(choice.source),
    )


def chosen_kind(solve: ContextChoice, models: ModelChoice) -> str:
    """The kind of context that is asked for; naming a generator asks for it."""
    if solve.made_from == AUTO and models.generator is not None and solve.context is None:
        return GENERATOR
    return solve.made_from


def check_context(prompts: PromptSet, solve: ContextChoice, models: ModelChoice) -> None:
    """Raises EngineError for what can be seen to be impossible without reading the prompts to their end."""
    kind = check_choice(solve, models)
    if kind in (EXAMPLES, BOTH) and prompts.label_column is None:
        hint = f"Add answers, for example as a column `response`, or name their column with {setting('label')}"
        raise EngineError("there are no answers in it, so there are no examples", where=str(prompts.source), hint=hint)


def check_choice(solve: ContextChoice, models: ModelChoice) -> str:
    """The kind of context that is asked for. Raises EngineError for settings that no prompts go with."""
    kind = chosen_kind(solve, models)
    if kind not in (AUTO, *KINDS):
        raise EngineError(f"an adapter cannot be made from {kind!r}", hint=f"Choose {', '.join(KINDS)} or {AUTO}")
    if not 1 <= solve.rank <= 64:
        raise EngineError(f"rank {solve.rank} is out of range", where=setting("rank"), hint="Choose 1 to 64")
    if solve.context is not None:
        read_context(solve.context)
    return kind


# What cannot be done without labels.
TO_TRAIN = "no training can be timed"
TO_SCORE = "no chain of layers can be scored"


def sample_batch(prompts: PromptSet, choice: PromptChoice, trained: int, reporter: Reporter) -> PromptBatch:
    """The prompt batch of a choice: as many prompts as it asks for, or as the generator was `trained` with."""
    return sample_prompts(prompts, choice.count or trained, choice.seed, reporter)


def chosen_prompts(
    choice: PromptChoice
    | RefineRequest
    | SheetRequest
    | TeachRequest
    | TrainingTimeRequest
    | DepthRequest
    | DepthOracleRequest
    | ChainChoiceRequest,
) -> PromptSet:
    """The prompts of a request. Raises EngineError when they cannot be read."""
    return read_prompts(
        choice.source,
        column=choice.column,
        label=choice.label,
        template=choice.template,
        text_files=choice.text_files,
    )


def with_labels(prompts: PromptSet, purpose: str) -> PromptSet:
    """The same prompts. Raises EngineError when they have no labels."""
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
    """The error for prompts without answers; `purpose` names what cannot be done."""
    problem, hint = f"there are no labels in it, so {purpose}", "Add answers, for example as a column `response`"
    return EngineError(problem, where=str(source), hint=f"{hint}; generating an adapter needs none")


def sheet_job(request: SheetRequest, reporter: Reporter) -> Result:
    """Write diverse prompts without answers as JSON Lines, each with an empty `response` to fill in."""
    prompts = chosen_prompts(request)
    with reporter.stage("read", unit="rows") as stage:
        rows = counted_rows((row for row in prompts if not row.references), stage)
        open_rows = [row.prompt for row in islice(rows, MOST_LOOKED_AT)]
    if not open_rows:
        hint = "Make an adapter from the answers that are there: dnd-tui generate"
        raise EngineError("every prompt is answered already", where=str(request.source), hint=hint)
    chosen = [open_rows[place] for place in diverse_places(open_rows, request.count)]
    write_sheet(request.out, map(SheetRow, chosen))
    next_step = f"{request.out}: fill in each response, then make an adapter from that file"
    return Result({"sheet": str(request.out), "prompts": chosen}, (("prompts", str(len(chosen))), ("sheet", next_step)))
