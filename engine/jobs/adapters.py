"""Adapters on disk: exported in one of the formats, imported from another tool, added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from engine.adapter.check import CHECK_PROMPT, Differences
from engine.adapter.combine import combine
from engine.adapter.consumers import consumers
from engine.adapter.export import Choice, ExportResult, export_adapter, write_checked_export
from engine.adapter.foreign import Foreign, fit, fold, plan
from engine.adapter.formats import FORMATS
from engine.adapter.peft_folder import WEIGHTS_FILE, read_peft_folder
from engine.adapter.provenance import Combination, CombinedPart, Imported
from engine.base.chat import prompt_ids
from engine.base.fetch import model_files
from engine.base.load import LoadedBase
from engine.base.source import source_of
from engine.events import Reporter
from engine.files import digest_file
from engine.jobs.command_line import card_line
from engine.jobs.results import Result, stage_lines, verdict_lines, verdicts_data
from engine.pipeline import find_chosen_base, load_base_alone, load_chosen_base
from engine.requests import CombineRequest, ExportRequest, ImportRequest
from engine.text import readable_size
from engine.weights.lora import LoraAdapter


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
        note=request.note,
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


def import_job(request: ImportRequest, opened: tuple[Literal["peft", "gguf"], Foreign], reporter: Reporter) -> Result:
    """Check what another tool wrote, bring it into our form and write it, read back and compared as an export is."""
    kind, foreign = opened
    with reporter.stage("read"):
        digest = digest_file(foreign.weights)
    ref = find_chosen_base(request.models, reporter)
    foreign.check_base(ref.config)
    fitted = fit(foreign.pairs, ref.config)
    made = plan(fitted, foreign.scales_for(fitted))
    base = load_chosen_base(request.models, reporter, ref)
    named = foreign.named_base
    if named and named != base.ref.id:
        warning = f"The adapter names {named} as its base; it is checked on {base.ref.id}, and the import names that"
        reporter.note(warning, warning=True)
    with reporter.stage("convert", unit="modules") as stage, foreign.reading(base.ref.config) as read:
        adapter = fold(made, read, stage)
    changes = (*foreign.changes, *foreign.check_weights(base.model), *made.changes)
    imported = Imported(
        source=request.source.absolute().name,
        digest=digest,
        format=kind,
        changes=changes,
        command=card_line(request, "source", "out"),
        timings=dict(reporter.timings),
    )
    export = write_checked_export(
        request.out,
        adapter,
        base,
        prompt_ids(base.tokenizer, CHECK_PROMPT),
        Choice(replace=request.replace),
        base_id=base.ref.id,
        provenance=imported,
        reporter=reporter,
    )
    lora = export.layout.lora
    data = {
        "format": kind,
        "rank": lora.rank,
        "alpha": lora.alpha,
        "modules": len(export.layout.modules),
        "parameters": export.layout.parameters,
        "base": base.ref.id,
        "named_base": named,
        "changes": list(changes),
        "norms": {path: adapter.norm(path) for path in adapter.a},
    }
    what = f"rank {lora.rank}, of a {FORMATS[kind].title}"
    return _peft_result(export, base, data, [("changed", each) for each in changes], what, reporter)


def combine_job(request: CombineRequest, reporter: Reporter) -> Result:
    """Add adapters up and write the sum, read back and compared as an export is."""
    with reporter.stage("read", len(request.adapters), "adapters") as stage:
        adapters: list[LoraAdapter] = []
        named: list[Any] = []
        parts: list[CombinedPart] = []
        for folder, name, weight in zip(request.adapters, request.called, request.factors, strict=True):
            adapter, config = read_peft_folder(folder)
            adapters.append(adapter)
            named.append(config.get("base_model_name_or_path"))
            digest = digest_file(folder / WEIGHTS_FILE)
            parts.append(CombinedPart(name=name, digest=digest, weight=weight))
            stage.advance()
    with reporter.stage("combine", unit="modules") as stage:
        combined = combine(adapters, request.factors, request.rank, stage)
    base = load_chosen_base(request.models, reporter)
    for folder, name in zip(request.adapters, named, strict=True):
        if name and name != base.ref.id:
            warning = f"{folder} names {name} as its base; the sum is checked on {base.ref.id} and names that"
            reporter.note(warning, warning=True)
    kept = combined.kept
    command = card_line(request, "out", adapters=tuple(map(Path, request.called)), names=())
    combination = Combination(parts=tuple(parts), kept_energy=kept, command=command, timings=dict(reporter.timings))
    export = write_checked_export(
        request.out,
        combined.adapter,
        base,
        prompt_ids(base.tokenizer, CHECK_PROMPT),
        Choice(replace=request.replace),
        base_id=base.ref.id,
        provenance=combination,
        reporter=reporter,
    )
    rank = export.layout.lora.rank
    data = {
        "rank": rank,
        "parameters": export.layout.parameters,
        "base": base.ref.id,
        "parts": combination.to_json()["parts"],
        "kept_energy": kept,
    }
    shares = [(f"kept, {name}", f"{share:.4%} of the squared norm") for name, share in (kept or {}).items()]
    return _peft_result(export, base, data, shares, f"rank {rank}{'' if kept else ', exact'}", reporter)


def _peft_result(
    export: ExportResult,
    base: LoadedBase,
    data: Mapping[str, Any],
    lines: Sequence[tuple[str, str]],
    what: str,
    reporter: Reporter,
) -> Result:
    """Of a job that wrote a PEFT folder: its own data and lines, among those that all of them have."""
    verdicts = consumers(export.target.absolute(), export.layout, source_of(base.ref))
    whole = {
        "adapter": str(export.target),
        "bytes": export.bytes,
        **data,
        "logit_difference": export.differences.logits,
        "consumers": verdicts_data(verdicts),
        "seconds": dict(reporter.timings),
    }
    shown = (
        *stage_lines(reporter.timings),
        *difference_lines(export.differences),
        *lines,
        ("adapter", f"{export.target} ({readable_size(export.bytes)}, {what})"),
        *verdict_lines(verdicts),
    )
    return Result(whole, shown)
