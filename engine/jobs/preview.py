"""What a prompt file looks like and what will be read out of it, before anything is loaded. Light: no tensors here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.generator.about import read_about
from engine.jobs.prompts import MOST_ROWS, chosen_kind, chosen_prompts, planned, sample_batch
from engine.jobs.results import Result
from engine.prompts import PromptBatch, PromptReport, PromptRow, PromptSet, describe
from engine.prompts.prompt_set import counted_rows, teachers
from engine.prompts.report import columns_read_otherwise, label_columns, likeliest_column, prompt_columns
from engine.prompts.sample import reservoir
from engine.released import released_generator
from engine.requests import ModelChoice, PreviewRequest, PromptChoice
from engine.solver.plan import (
    BOTH,
    EXAMPLES,
    GENERATOR,
    KIND_WORDS,
    ContextPlan,
    distinct,
    in_turn,
)

SHOWN_CHARACTERS = 20_000
"""Longer texts are cut in the data, and their row is marked."""

_SHOWN_REFERENCES = 20


def preview_job(request: PreviewRequest, reporter: Reporter) -> Result:
    """Facts, columns, one page of a prompt file, and what an adapter would be made from; on demand the rows it reads.

    Of a table "header" shows whether its first line names the columns, and "otherwise" what they would be called if it
    were read in the other way: naming one does that. Where no column is known by its name, the likeliest is shown and
    marked as "guess": a generation needs it named. "context" is found in the first rows, with `sample` in those that a
    generation finds it in. "sample" holds the rows that an adapter is solved from, or the batch that the generator
    reads; None where the chosen kind is impossible.
    """
    choice = request.prompts
    prompts, guess = _opened(choice)
    report = describe(prompts)
    data: dict[str, Any] = {
        "facts": facts_data(report),
        "columns": [{"name": name, **_text("example", example)} for name, example in prompt_columns(prompts)],
        "labels": label_columns(prompts, guess or choice.column),
        "guess": guess,
        "header": prompts.place.header,
        "otherwise": columns_read_otherwise(prompts),
        "page": _page(prompts, request, reporter),
    }
    looked = looked_at(prompts, request, reporter)
    plan, problem = context_of(looked.rows, request)
    data["context"] = context_data(plan, problem, looked.rows, request)
    lines = facts_lines(report)
    if request.sample:
        data["sample"] = None
        if plan is not None and plan.kind != GENERATOR:
            rows = sorted(plan.rows, key=lambda row: row.number)
            texts = [[row.prompt, *row.references[:1]] for row in plan.rows]
            data["sample"] = _sample_data(rows, looked.total, looked.skipped, digest_json(texts))
        elif plan is not None:
            trained = int(read_about(request.generator or released_generator())["condition"]["prompts"])
            data["sample"] = _batch_data(sample_batch(prompts, choice, trained, reporter))
        if data["sample"]:
            lines += (("batch", f"{len(data['sample']['rows'])} of {data['sample']['total']}"),)
    return Result(data, lines)


def facts_data(report: PromptReport) -> dict[str, Any]:
    """A report as plain data."""
    return dict(json.loads(json.dumps(vars(report), default=str)))


def facts_lines(report: PromptReport) -> tuple[tuple[str, str], ...]:
    """A report for people."""
    return (
        ("kind", f"prompts ({report.format})"),
        ("read as", report.reading),
        ("files", ", ".join(_below(file, report.source) for file in report.files)),
        ("prompt column", report.column),
        ("labels", f"{report.label_column}, on {report.labelled} rows" if report.label_column else "none"),
        ("rows", f"{report.rows}" if report.complete else f"the first {report.rows}, there are more"),
        ("length", f"{report.shortest} to {report.longest} characters, median {report.median}"),
        ("skipped", str(report.skipped)),
        ("duplicates", str(report.duplicates)),
    )


def _below(file: Path, source: Path) -> str:
    return file.name if file == source else file.relative_to(source).as_posix()


def _opened(choice: PromptChoice) -> tuple[PromptSet, str | None]:
    """The prompts, and the column if it is only a guess."""
    try:
        return chosen_prompts(choice), None
    except EngineError:
        unnamed = choice.column is None and choice.template is None
        guess = likeliest_column(choice.source) if unnamed else None
        if guess is None:
            raise
        return chosen_prompts(replace(choice, column=guess)), guess


def _page(prompts: PromptSet, request: PreviewRequest, reporter: Reporter) -> dict[str, Any]:
    """Nothing behind the page is read, but for one row that shows whether there is more."""
    with reporter.stage("read", unit="rows") as stage, closing(prompts.every_row()) as every:
        rows = islice(counted_rows(every, stage), request.start, None)
        page = [_row(row) for row in islice(rows, request.rows)]
        return {"start": request.start, "rows": page, "more": next(rows, None) is not None}


def _row(row: PromptRow) -> dict[str, Any]:
    references = [reference[:SHOWN_CHARACTERS] for reference in row.references[:_SHOWN_REFERENCES]]
    whole = references == list(row.references)
    data = {"number": row.number, **_text("prompt", row.prompt), "images": row.images}
    return data | {"references": references, "references_cut": not whole}


def _batch_data(batch: PromptBatch) -> dict[str, Any]:
    rows = [PromptRow(*pair) for pair in zip(batch.numbers, batch.texts, strict=True)]
    return _sample_data(rows, batch.total, batch.skipped, batch.digest)


def _sample_data(rows: Sequence[PromptRow], total: int, skipped: int, digest: str) -> dict[str, Any]:
    shown = [{"number": row.number, **_text("prompt", row.prompt), "images": row.images} for row in rows]
    return {"rows": shown, "total": total, "skipped": skipped, "digest": digest}


def _text(name: str, text: str) -> dict[str, Any]:
    return {name: text[:SHOWN_CHARACTERS], "characters": len(text), "cut": len(text) > SHOWN_CHARACTERS}


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
