"""How long training a LoRA on somebody's own labelled prompts would take on this machine."""

from __future__ import annotations

import math

from engine.base.device import out_of_memory_told
from engine.errors import EngineError
from engine.events import Reporter
from engine.forge.timing import time_training, training_rows
from engine.generator.about import read_about
from engine.jobs.results import Result
from engine.jobs.sampling import TO_TRAIN, labelled_rows
from engine.pipeline import load_chosen_base
from engine.prompts import PromptSet
from engine.released import released_generator
from engine.requests import TrainingTimeRequest
from engine.weights.layout import Layout, LoraSpec, derive_layout


def training_time_job(request: TrainingTimeRequest, prompts: PromptSet, reporter: Reporter) -> Result:
    """Seconds a step, measured, and what an epoch over all labelled rows would take at that pace."""
    if request.steps < 1 or request.batch < 1:
        raise EngineError(f"{request.steps} steps of {request.batch} rows cannot be timed", hint="Take at least 1")
    rows, total = labelled_rows(prompts, (request.steps + 1) * request.batch, 0, TO_TRAIN, reporter)
    base = load_chosen_base(request.models, reporter)
    layout = derive_layout(base.ref.config, _lora(request))
    tokens = training_rows(base, [(row.prompt, row.references[0]) for row in rows])
    with out_of_memory_told("--batch"):
        measured = time_training(base, layout, tokens, steps=request.steps, batch=request.batch, reporter=reporter)
    batch = min(request.batch, total)
    steps = math.ceil(total / batch)
    data = {
        "rows": total,
        "labels": prompts.label_column,
        "batch": batch,
        "measured_steps": measured.steps,
        "seconds_a_step": measured.seconds_a_step,
        "tokens_a_step": measured.tokens_a_step,
        "epoch_steps": steps,
        "epoch_seconds": steps * measured.seconds_a_step,
        "rank": layout.lora.rank,
        "parameters": layout.parameters,
        "base": base.ref.id,
        "device": str(base.device),
        "seconds": dict(reporter.timings),
    }
    lines = (
        ("LoRA", f"rank {layout.lora.rank}, {layout.parameters:,} parameters, on {base.ref.id}"),
        ("one step", f"{measured.seconds_a_step:.2f} s for {batch} rows, mean of {measured.steps} measured steps"),
        ("one epoch", f"{steps} steps for {total} rows, about {steps * measured.seconds_a_step:.0f} s at that pace"),
    )
    return Result(data, lines)


def _lora(request: TrainingTimeRequest) -> LoraSpec:
    """What is compared must be alike: rank, alpha and modules of the generator's own adapters."""
    about = read_about(request.models.generator or released_generator())
    return Layout.from_json(about["layout"]).lora
