"""Adapter folders -> their weighted sum, as a checked PEFT folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.adapter.check import CHECK_PROMPT
from engine.adapter.combine import combine
from engine.adapter.consumers import consumers
from engine.adapter.export import Choice, write_checked_export
from engine.adapter.peft_folder import WEIGHTS_FILE, read_peft_folder
from engine.adapter.provenance import Combination, CombinedPart
from engine.base.chat import prompt_ids
from engine.base.source import source_of
from engine.events import Reporter
from engine.files import digest_file
from engine.jobs.command_line import card_line
from engine.jobs.export import difference_lines
from engine.jobs.results import Result, stage_lines, verdict_lines, verdicts_data
from engine.pipeline import load_chosen_base
from engine.requests import CombineRequest
from engine.text import readable_size
from engine.weights.lora import LoraAdapter


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
    verdicts = consumers(export.target.absolute(), export.layout, source_of(base.ref))
    rank = export.layout.lora.rank
    data = {
        "adapter": str(export.target),
        "bytes": export.bytes,
        "rank": rank,
        "parameters": export.layout.parameters,
        "base": base.ref.id,
        "parts": combination.to_json()["parts"],
        "kept_energy": kept,
        "logit_difference": export.differences.logits,
        "consumers": verdicts_data(verdicts),
        "seconds": dict(reporter.timings),
    }
    lines = (
        *stage_lines(reporter.timings),
        *difference_lines(export.differences),
        *((f"kept, {name}", f"{share:.4%} of the squared norm") for name, share in (kept or {}).items()),
        ("adapter", f"{export.target} ({readable_size(export.bytes)}, rank {rank}{'' if kept else ', exact'})"),
        *verdict_lines(verdicts),
    )
    return Result(data, lines)
