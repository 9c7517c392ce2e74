"""What a prompt file looks like and what will be read out of it, before anything is loaded. Light: no tensors here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.generator.about import read_about
from engine.jobs.preview_context import context_data, context_of, looked_at
from engine.jobs.results import Result
from engine.jobs.sampling import sample_batch
from engine.prompts import PromptBatch, PromptReport, PromptRow, PromptSet, describe, read_prompts
from engine.prompts.prompt_set import counted_rows
from engine.prompts.report import label_columns, likeliest_column, prompt_columns
from engine.released import released_generator
from engine.requests import PreviewRequest, PromptChoice
from engine.solver.plan import GENERATOR

SHOWN_CHARACTERS = 20_000
"""Longer texts are cut in the data, and their row is marked."""

_SHOWN_REFERENCES = 20


def preview_job(request: PreviewRequest, reporter: Reporter) -> Result:
    """Facts, columns, one page of a prompt file, and what an adapter would be made from; on demand the rows it reads.

    Where no column is known by its name, the likeliest is shown and told as "guess": a generation needs it named.
    "context" is found in the first rows, with `sample` in those that a generation finds it in. "sample" holds the rows
    that an adapter is solved from, or the batch that the generator reads; None where the chosen kind is impossible.
    """
    choice = request.prompts
    prompts, guess = _opened(choice)
    report = describe(prompts)
    data: dict[str, Any] = {
        "facts": facts_data(report),
        "columns": [{"name": name, **_text("example", example)} for name, example in prompt_columns(prompts)],
        "labels": label_columns(prompts, guess or choice.column),
        "guess": guess,
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
        ("files", ", ".join(file.name for file in report.files)),
        ("prompt column", report.column),
        ("labels", f"{report.label_column}, on {report.labelled} rows" if report.label_column else "none"),
        ("rows", f"{report.rows}" if report.complete else f"the first {report.rows}, there are more"),
        ("length", f"{report.shortest} to {report.longest} characters, median {report.median}"),
        ("duplicates", str(report.duplicates)),
    )


def _opened(choice: PromptChoice) -> tuple[PromptSet, str | None]:
    """The prompts, and the column if it is only a guess."""
    try:
        return read_prompts(choice.source, column=choice.column, label=choice.label), None
    except EngineError:
        guess = likeliest_column(choice.source) if choice.column is None else None
        if guess is None:
            raise
        return read_prompts(choice.source, column=guess, label=choice.label), guess


def _page(prompts: PromptSet, request: PreviewRequest, reporter: Reporter) -> dict[str, Any]:
    """Nothing behind the page is read, but for one row that tells whether there is more."""
    with reporter.stage("read", unit="rows") as stage, closing(prompts.every_row()) as every:
        rows = islice(counted_rows(every, stage), request.start, None)
        page = [_row(row) for row in islice(rows, request.rows)]
        return {"start": request.start, "rows": page, "more": next(rows, None) is not None}


def _row(row: PromptRow) -> dict[str, Any]:
    references = [reference[:SHOWN_CHARACTERS] for reference in row.references[:_SHOWN_REFERENCES]]
    whole = references == list(row.references)
    return {"number": row.number, **_text("prompt", row.prompt), "references": references, "references_cut": not whole}


def _batch_data(batch: PromptBatch) -> dict[str, Any]:
    rows = [PromptRow(*pair) for pair in zip(batch.numbers, batch.texts, strict=True)]
    return _sample_data(rows, batch.total, batch.skipped, batch.digest)


def _sample_data(rows: Sequence[PromptRow], total: int, skipped: int, digest: str) -> dict[str, Any]:
    told = [{"number": row.number, **_text("prompt", row.prompt)} for row in rows]
    return {"rows": told, "total": total, "skipped": skipped, "digest": digest}


def _text(name: str, text: str) -> dict[str, Any]:
    return {name: text[:SHOWN_CHARACTERS], "characters": len(text), "cut": len(text) > SHOWN_CHARACTERS}
