"""What a preview says of the context that an adapter would be made from. Light: no tensors here.

first rows, or a sample of all --looked_at--> rows --context_of--> ContextPlan --context_data--> plain data
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs.context import MOST_ROWS, chosen_kind, planned
from engine.prompts import PromptRow, PromptSet
from engine.prompts.prompt_set import counted_rows, teachers
from engine.prompts.sample import reservoir
from engine.requests import ModelChoice, PreviewRequest
from engine.solver.plan import (
    BOTH,
    EXAMPLES,
    GENERATOR,
    KIND_WORDS,
    ContextPlan,
    distinct,
    in_turn,
)

_FIRST_ROWS = 1000
_FIRST_CHARACTERS = 2**25
_SHOWN_EXAMPLES = 2
# Characters of a text of which only beginning and end are shown, and of its end.
_SHORT, _END = 400, 120
_LONGEST_QUERY = 20_000


@dataclass(frozen=True)
class LookedAt:
    """Rows in which a context is looked for. total, skipped: rows with and without a prompt, all that were read."""

    rows: Sequence[PromptRow]
    total: int
    skipped: int


def looked_at(prompts: PromptSet, request: PreviewRequest, reporter: Reporter) -> LookedAt:
    """The rows that a generation looks at, in one pass over the source; without `request.sample` the first rows.

    A generator's adapter is made without looking: the first rows do for it too.
    """
    total = skipped = 0

    def counted(rows: Iterator[PromptRow]) -> Iterator[PromptRow]:
        nonlocal total, skipped
        for row in rows:
            total += bool(row.prompt)
            skipped += not row.prompt
            yield row

    with closing(prompts.every_row()) as every:
        if request.sample and _asked(request) != GENERATOR:
            with reporter.stage("read", unit="rows") as stage:
                rows = reservoir(counted(counted_rows(every, stage)), MOST_ROWS, request.prompts.seed)
        else:
            rows = list(counted(_first(every)))
    return LookedAt(rows, total, skipped)


def _asked(request: PreviewRequest) -> str:
    return chosen_kind(request.solve, ModelChoice(generator=request.generator))


def _first(rows: Iterator[PromptRow]) -> Iterator[PromptRow]:
    characters = 0
    for row in islice(rows, _FIRST_ROWS):
        yield row
        characters += len(row.prompt)
        if characters > _FIRST_CHARACTERS:
            return


def context_of(rows: Sequence[PromptRow], request: PreviewRequest) -> tuple[ContextPlan | None, EngineError | None]:
    """The plan of what was chosen, as a generation makes it; or why there can be none."""
    kind = _asked(request)
    if kind == GENERATOR:
        return ContextPlan(GENERATOR, "as chosen"), None
    try:
        return planned(rows, request.prompts, request.solve, kind), None
    except EngineError as error:
        return None, error


def context_data(
    plan: ContextPlan | None, problem: EngineError | None, rows: Sequence[PromptRow], request: PreviewRequest
) -> dict[str, Any]:
    """A plan as plain data.

    kind, reason, words: what the adapter is made from, why, and that kind in words.
    answers, unanswered: rows with and without an answer among those looked at. taught_by: models that wrote some of the
    answers, and how many. rows, held_out: how many it is solved from and checked on.
    query: one whole query as it will be asked afterwards; of a very long one the beginning.
    teacher: the same row as the base reads it with its context while solving, shortened; "" for a generator's adapter.
    problem: why the chosen kind cannot be; None where it can.
    """
    kind = plan.kind if plan else _asked(request)
    every = distinct(rows)
    asked = next(iter((*plan.held_out, *plan.rows) if plan else ()), None) or next(iter(every), None)
    return {
        "kind": kind,
        "reason": plan.reason if plan else "",
        "words": KIND_WORDS.get(kind, kind),
        "answers": sum(bool(row.references) for row in every),
        "unanswered": sum(not row.references for row in every),
        "taught_by": teachers(every),
        "rows": len(plan.rows) if plan else 0,
        "held_out": len(plan.held_out) if plan else 0,
        "instruction": plan.instruction if plan else "",
        "query": plan.query(asked.prompt)[:_LONGEST_QUERY] if plan and asked else "",
        "teacher": _teacher(plan, asked, request) if plan and asked and plan.kind != GENERATOR else "",
        "problem": problem.problem if problem else None,
    }


def _teacher(plan: ContextPlan, asked: PromptRow, request: PreviewRequest) -> str:
    parts = []
    if plan.kind in (EXAMPLES, BOTH):
        others = [row for row in in_turn(plan.rows, request.prompts.seed) if row is not asked]
        examples = others[: request.solve.examples]
        shown = [(plan.shown(row.prompt), row.references[0]) for row in examples[:_SHOWN_EXAMPLES]]
        parts = [f"{_short(prompt)}\n→ {_short(answer)}" for prompt, answer in shown]
        left = len(examples) - len(parts)
        parts += [f"… {left} more answered row{'' if left == 1 else 's'} …"] if left else []
    return "\n\n".join([*parts, _short(plan.shown(asked.prompt))])


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - _END].rstrip()} … {text[-_END:].lstrip()}"
