"""Prompts -> adapter folder."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from engine.adapter.attach import attach
from engine.adapter.card import Provenance, Subject, card_files
from engine.adapter.peft_folder import peft_files, write_files
from engine.events import Reporter
from engine.files import replacing_folder
from engine.jobs.results import Result, stage_lines
from engine.jobs.sampling import sample_batch
from engine.pipeline import load_pipeline
from engine.prompts import read_prompts
from engine.requests import GenerateRequest, LoadRequest, ModelChoice
from engine.text import readable_size


def load_job(request: LoadRequest, reporter: Reporter) -> Result:
    """Load everything a generation needs; it stays in memory for the jobs after this one."""
    pipeline = load_pipeline(request.models, reporter)
    timings = dict(reporter.timings)
    return Result({"base": pipeline.base.ref.id, "seconds": timings}, stage_lines(timings))


def generate_job(request: GenerateRequest, reporter: Reporter) -> Result:
    """Generate an adapter and write it as a PEFT folder with its card."""
    prompts = read_prompts(request.prompts.source, column=request.prompts.column)
    reporter.note(f"prompts from {prompts.column} of {prompts.format}")
    pipeline = load_pipeline(request.models, reporter)
    batch = sample_batch(prompts, request.prompts, pipeline.generator.spec.condition.prompts, reporter)
    adapter = pipeline.adapter(batch.texts, reporter)
    with reporter.stage("attach"):
        attach(pipeline.base, adapter).detach()
    base_id = pipeline.base.ref.id
    with replacing_folder(request.out, replace=request.replace) as part, reporter.stage("write"):
        provenance = Provenance(
            generator_id=pipeline.folder.name,
            generator_digest=pipeline.about["sha256"],
            prompts_name=request.prompts.source.name,
            prompts_digest=batch.digest,
            prompts_used=len(batch.texts),
            prompts_total=batch.total,
            seed=request.prompts.seed,
            command=command_line(request),
            timings=dict(reporter.timings),
        )
        subject = Subject(
            base_id=base_id,
            architecture=pipeline.base.ref.config.model_type,
            layout=adapter.layout,
            provenance=provenance,
        )
        write_files(part, peft_files(adapter, base_id), card_files(subject))
    size = sum(file.stat().st_size for file in request.out.iterdir())
    timings = dict(reporter.timings)
    data = {
        "adapter": str(request.out),
        "bytes": size,
        "parameters": adapter.layout.parameters,
        "base": base_id,
        "generator": pipeline.about["sha256"],
        "prompts": {"column": prompts.column, "used": len(batch.texts), "total": batch.total, "digest": batch.digest},
        "seconds": timings,
    }
    lines = (
        *stage_lines(timings),
        ("prompts", f"{len(batch.texts)} of {batch.total}, from {prompts.column}"),
        ("adapter", f"{request.out} ({readable_size(size)}, {adapter.layout.parameters:,} parameters)"),
    )
    return Result(data, lines)


def command_line(request: GenerateRequest) -> str:
    """The command that makes the same adapter again; only what differs from the defaults."""
    chosen: Mapping[str, object] = {
        "column": request.prompts.column,
        "count": request.prompts.count,
        "seed": request.prompts.seed or None,
        "base": None if request.models.base == ModelChoice.base else request.models.base,
        "generator": request.models.generator,
    }
    words = ["dnd-tui", "--headless", "generate", str(request.prompts.source), "--out", str(request.out)]
    for name, value in chosen.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    return shlex.join(words)
