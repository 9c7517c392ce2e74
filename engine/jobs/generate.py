"""Prompts -> adapter folder: solved from the context that stands in them, or generated from the prompts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine.adapter.attach import attach, check_fits
from engine.adapter.card import Subject, card_files
from engine.adapter.peft_folder import peft_files, write_files
from engine.adapter.provenance import Provenance, Solved, Trained
from engine.base.load import BaseRef, LoadedBase
from engine.errors import EngineError, NoGeneratorError, setting
from engine.events import Reporter
from engine.files import digest_json, replacing_folder
from engine.generator.about import read_about
from engine.jobs.command_line import card_line
from engine.jobs.prompts import found_context, sample_batch
from engine.jobs.results import Result, stage_lines
from engine.jobs.solve import check_adapter, make_adapter, make_streamed_adapter, start_of
from engine.pipeline import load_chosen_base, load_pipeline
from engine.prompts import PromptSet
from engine.prompts.prompt_set import as_learned, images_named, teachers, teachers_named
from engine.released import released_generator
from engine.requests import GenerateRequest, LoadRequest, ModelChoice
from engine.solver.plan import BOTH, EXAMPLES, GENERATOR, INSTRUCTION, KIND_WORDS, ContextPlan
from engine.text import prompt_share_words, readable_size
from engine.weights.lora import LoraAdapter, share_beyond


def load_job(request: LoadRequest, reporter: Reporter) -> Result:
    """Load everything a generation needs; it stays in memory for the jobs after this one."""
    models = request.models
    base = load_pipeline(models, reporter).base if request.with_generator else load_chosen_base(models, reporter)
    timings = dict(reporter.timings)
    return Result({"base": base.ref.id, "seconds": timings}, stage_lines(timings))


def generate_job(request: GenerateRequest, prompts: PromptSet, reporter: Reporter) -> Result:
    """Make an adapter from what stands in the prompts and write it as a PEFT folder with its card."""
    plan = found_context(prompts, request.prompts, request.solve, request.models, reporter)
    return make_planned(request, prompts, plan, reporter)


def make_planned(request: GenerateRequest, prompts: PromptSet, plan: ContextPlan, reporter: Reporter) -> Result:
    """Make the adapter of a plan and write it."""
    labels = f", answers from {prompts.label_column}" if plan.kind in (EXAMPLES, BOTH) else ""
    reporter.note(f"prompts from {prompts.column} of {prompts.format}{labels}")
    reporter.note(f"made from {KIND_WORDS[plan.kind]}: {plan.reason}")
    if taught := teachers_named(plan.learned):
        reporter.note(taught)
    if pictured := images_named(plan.learned):
        reporter.note(pictured, warning=True)
    if len({row.references[0] for row in plan.learned if row.references}) == 1:
        reporter.note("every answer is the same, so that is all the adapter can learn", warning=True)
    if plan.kind == GENERATOR:
        return _generated(request, prompts, plan, reporter)
    return _solved(request, prompts, plan, reporter)


def _solved(request: GenerateRequest, prompts: PromptSet, plan: ContextPlan, reporter: Reporter) -> Result:
    base = load_chosen_base(request.models, reporter, stream_layers=request.solve.stream_layers or None)
    seed = request.prompts.seed
    if base.streamed:
        made, checked = make_streamed_adapter(base, plan, request.solve, seed, reporter)
    else:
        start = start_of(base, request.models)
        if start is None and request.solve.start == "generator":
            hint = f"Leave out {setting('start')}, or name a generator that was made for this base"
            raise NoGeneratorError(f"there is no generator for {base.ref.id}", where=setting("start"), hint=hint)
        made = make_adapter(base, plan, request.solve, seed, reporter, start)
        checked = check_adapter(base, {"solved": made.adapter}, plan, made.examples, seed, reporter)
    provenance = Solved(
        made_from=plan.kind,
        reason=plan.reason,
        start=made.start,
        instruction=plan.instruction,
        prompts_name=request.prompts.source.name,
        prompts_digest=digest_json(as_learned(plan.rows)),
        rows=len(plan.rows),
        examples=made.examples,
        answers="base" if plan.kind == INSTRUCTION else "rows",
        fit_steps=made.fit_steps,
        seed=seed,
        template=request.prompts.template or "",
        command=card_line(request),
        timings={},
        verdict=checked.sentence if checked else "",
        scores=checked.scores if checked else None,
        taught_by=teachers(plan.learned),
        identity=identity_of(request, plan, base.ref),
    )
    size = written(request.out, request.replace, base, made.adapter, provenance, reporter)
    timings = dict(reporter.timings)
    data = {
        **_adapter_data(request, base, made.adapter, size, timings),
        "made_from": plan.kind,
        "reason": plan.reason,
        "instruction": plan.instruction,
        "rows": len(plan.rows),
        "examples": made.examples,
        "fit_steps": made.fit_steps,
        "start": made.start,
        "held_out": checked.data if checked else None,
        "taught_by": provenance.taught_by,
        "prompts": {"column": prompts.column, "labels": prompts.label_column, "digest": provenance.prompts_digest},
    }
    unchecked = (("held out", "not checked: too few rows to keep some back"),)
    lines = (
        *stage_lines(timings),
        ("made from", f"{KIND_WORDS[plan.kind]}, {len(plan.rows)} rows"),
        *(checked.lines if checked else unchecked),
        *_adapter_lines(request, made.adapter, size),
    )
    return Result(data, lines)


def _generated(request: GenerateRequest, prompts: PromptSet, plan: ContextPlan, reporter: Reporter) -> Result:
    try:
        pipeline = load_pipeline(request.models, reporter)
    except EngineError as error:
        if request.models.generator is not None or request.solve.made_from == GENERATOR:
            raise
        # The base itself may be what is wrong.
        load_chosen_base(request.models, reporter)
        hint = f"Answer a few of them in a column `response`, or name an instruction with {setting('context')}"
        raise NoGeneratorError(f"{plan.reason}, and {error.problem}", where=str(prompts.source), hint=hint) from error
    batch = sample_batch(prompts, request.prompts, pipeline.generator.spec.condition.prompts, reporter)
    adapter = pipeline.adapter(batch.texts, reporter)
    share = share_beyond(adapter, pipeline.generator.frame.base_adapter)
    provenance = Provenance(
        generator_id=pipeline.folder.name,
        generator_digest=pipeline.about["sha256"],
        prompts_name=request.prompts.source.name,
        prompts_digest=batch.digest,
        prompts_used=len(batch.texts),
        prompts_total=batch.total,
        seed=request.prompts.seed,
        template=request.prompts.template or "",
        command=card_line(request),
        timings={},
        identity=identity_of(request, plan, pipeline.base.ref, batch.digest),
    )
    size = written(request.out, request.replace, pipeline.base, adapter, provenance, reporter)
    timings = dict(reporter.timings)
    data = {
        **_adapter_data(request, pipeline.base, adapter, size, timings),
        "made_from": plan.kind,
        "reason": plan.reason,
        "generator": pipeline.about["sha256"],
        "prompt_share": share,
        "prompts": {"column": prompts.column, "used": len(batch.texts), "total": batch.total, "digest": batch.digest},
    }
    lines = (
        *stage_lines(timings),
        ("prompts", f"{len(batch.texts)} of {batch.total}, from {prompts.column}"),
        ("from your prompts", prompt_share_words(share)),
        *_adapter_lines(request, adapter, size),
    )
    return Result(data, lines)


def identity_of(request: GenerateRequest, plan: ContextPlan, base: BaseRef, batch: str = "") -> str:
    """SHA-256 of all that an adapter and what is found of it depend on, in hexadecimal.

    Args:
        batch: digest of the prompts that a generator reads; of other adapters the plan has the rows.
    """
    solve = replace(request.solve, context=None)
    return digest_json(
        {
            "base": base.fingerprint,
            "dtype": request.models.dtype,
            "generator": _generator_digest(request.models),
            "kind": plan.kind,
            "instruction": plan.instruction,
            "rows": [[row.prompt, *row.references] for row in plan.rows],
            "held_out": [[row.prompt, *row.references] for row in plan.held_out],
            "batch": batch,
            "solve": {} if plan.kind == GENERATOR else asdict(solve),
            "seed": request.prompts.seed,
        }
    )


def _generator_digest(models: ModelChoice) -> str:
    """Of the generator that makes an adapter or is its start; "" where there is none."""
    try:
        return str(read_about(models.generator or released_generator())["sha256"])
    except EngineError:
        return ""


def written(
    out: Path,
    replaces: bool,
    base: LoadedBase,
    adapter: LoraAdapter,
    origin: Provenance | Solved | Trained,
    reporter: Reporter,
) -> int:
    """Attach the adapter once, write its folder `out` and return its bytes; what is there may be replaced or not."""
    with reporter.stage("attach"):
        if base.streamed:
            check_fits(base.model, adapter)
        else:
            attach(base, adapter).detach()
    with replacing_folder(out, replace=replaces) as part, reporter.stage("write"):
        subject = Subject(
            base_id=base.ref.id,
            architecture=base.ref.config.model_type,
            layout=adapter.layout,
            provenance=replace(origin, timings=dict(reporter.timings)),
        )
        write_files(part, peft_files(adapter, base.ref.id), card_files(subject))
    return sum(file.stat().st_size for file in out.iterdir())


def _adapter_data(
    request: GenerateRequest, base: LoadedBase, adapter: LoraAdapter, size: int, timings: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "adapter": str(request.out),
        "bytes": size,
        "parameters": adapter.layout.parameters,
        "base": base.ref.id,
        "seconds": dict(timings),
    }


def _adapter_lines(request: GenerateRequest, adapter: LoraAdapter, size: int) -> tuple[tuple[str, str], ...]:
    return (("adapter", f"{request.out} ({readable_size(size)}, {adapter.layout.parameters:,} parameters)"),)
