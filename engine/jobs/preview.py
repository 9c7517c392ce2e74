"""What a prompt file looks like and what will be read out of it, before anything is loaded. Light: no tensors here."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import islice
from typing import Any

from engine.errors import EngineError
from engine.events import Reporter
from engine.generator.about import read_about
from engine.jobs.results import Result
from engine.jobs.sampling import sample_batch
from engine.prompts import PromptBatch, PromptReport, PromptRow, PromptSet, describe, read_prompts
from engine.prompts.columns import likeliest_column, prompt_columns
from engine.prompts.prompt_set import counted_rows
from engine.released import released_generator
from engine.requests import PreviewRequest, PromptChoice

SHOWN_CHARACTERS = 20_000
"""Longer texts are cut in the data, and their row is marked."""

_SHOWN_REFERENCES = 20


def preview_job(request: PreviewRequest, reporter: Reporter) -> Result:
    """Facts, columns and one page of a prompt file; on demand the batch that a generation would be conditioned on.

    Where no column is known by its name, the likeliest is shown and told as "guess": a generation needs it named.
    """
    choice = request.prompts
    prompts, guess = _opened(choice)
    report = describe(prompts)
    data: dict[str, Any] = {
        "facts": facts_data(report),
        "columns": [{"name": name, **_text("example", example)} for name, example in prompt_columns(prompts)],
        "guess": guess,
        "page": _page(prompts, request, reporter),
    }
    lines = facts_lines(report)
    if request.sample:
        trained = int(read_about(request.generator or released_generator())["condition"]["prompts"])
        batch = sample_batch(prompts, choice, trained, reporter)
        data["sample"] = _batch_data(batch)
        lines += (("batch", f"{len(batch.texts)} of {batch.total}"),)
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
        return read_prompts(choice.source, column=choice.column), None
    except EngineError:
        guess = likeliest_column(choice.source) if choice.column is None else None
        if guess is None:
            raise
        return read_prompts(choice.source, column=guess), guess


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
    rows = zip(batch.numbers, batch.texts, strict=True)
    return {
        "rows": [{"number": number, **_text("prompt", text)} for number, text in rows],
        "total": batch.total,
        "skipped": batch.skipped,
        "digest": batch.digest,
    }


def _text(name: str, text: str) -> dict[str, Any]:
    return {name: text[:SHOWN_CHARACTERS], "characters": len(text), "cut": len(text) > SHOWN_CHARACTERS}
