"""Adapter folder -> checked export in one of the formats."""

from __future__ import annotations

from engine.adapter.check import CHECK_PROMPT, Differences
from engine.adapter.consumers import consumers
from engine.adapter.export import Choice, export_adapter
from engine.adapter.formats import FORMATS
from engine.base.chat import prompt_ids
from engine.base.fetch import model_files
from engine.base.source import source_of
from engine.events import Reporter
from engine.jobs.command_line import card_line
from engine.jobs.results import Result, stage_lines, verdict_lines, verdicts_data
from engine.pipeline import load_base_alone, load_chosen_base
from engine.requests import ExportRequest
from engine.text import readable_size


def export_job(request: ExportRequest, reporter: Reporter) -> Result:
    """Write an adapter folder anew, read back what was written and compare."""
    form = FORMATS[request.format]
    base = (load_base_alone if form.uses_up_base else load_chosen_base)(request.models, reporter)
    source = source_of(base.ref)
    if form.needs_base_file and source.bundled and source.local is None:
        model_files(source.bundled, reporter)  # the converted base has outlived the file
        source = source_of(base.ref)
    choice = Choice(
        form=request.format,
        float_type=request.float_type,
        archive=request.zip,
        replace=request.replace,
        command=card_line(request, "adapter", "out"),
    )
    ids = prompt_ids(base.tokenizer, CHECK_PROMPT)
    export = export_adapter(request.adapter, request.target, base, ids, choice, base_source=source, reporter=reporter)
    target = export.target.absolute()
    archive = target if request.zip else None
    folder = target.with_suffix("") if request.zip else target
    verdicts = consumers(folder, export.layout, source, form=request.format, archive=archive)
    differences = export.differences
    data = {
        "adapter": str(export.target),
        "bytes": export.bytes,
        "format": request.format,
        "float_type": request.float_type,
        "logit_difference": differences.logits,
        "rounding_difference": differences.rounding,
        "tensor_difference": differences.tensors,
        "consumers": verdicts_data(verdicts),
        "seconds": dict(reporter.timings),
    }
    lines = (
        *stage_lines(reporter.timings),
        *difference_lines(differences),
        ("export", f"{export.target} ({form.title}, {readable_size(export.bytes)}, {request.float_type})"),
        *verdict_lines(verdicts),
    )
    return Result(data, lines)


def difference_lines(differences: Differences) -> tuple[tuple[str, str], ...]:
    """What the check found, for people."""
    found = (
        ("reloaded", "logit difference", differences.logits),
        ("rounding", "logit difference to float32", differences.rounding),
        ("read back", "difference of a value", differences.tensors),
    )
    return tuple((label, f"largest {what} {value:.1e}") for label, what, value in found if value is not None)
