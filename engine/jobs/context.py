"""What an adapter is made from, found in the prompts of a request. Light: asked before the heavy imports too."""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import EngineError
from engine.events import Reporter
from engine.prompts import PromptRow, PromptSet
from engine.prompts.prompt_set import counted_rows
from engine.prompts.sample import reservoir
from engine.requests import ContextChoice, ModelChoice, PromptChoice
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
    kind = chosen_kind(solve, models)
    if kind not in (AUTO, *KINDS):
        raise EngineError(f"an adapter cannot be made from {kind!r}", hint=f"Choose {', '.join(KINDS)} or {AUTO}")
    if not 1 <= solve.rank <= 64:
        raise EngineError(f"rank {solve.rank} is out of range", where="--rank", hint="Choose 1 to 64")
    if solve.context is not None:
        read_context(solve.context)
    if kind in (EXAMPLES, BOTH) and prompts.label_column is None:
        hint = "Add answers, for example as a column `response`, or name their column with --label"
        raise EngineError("there are no answers in it, so there are no examples", where=str(prompts.source), hint=hint)
