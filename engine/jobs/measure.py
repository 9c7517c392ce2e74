"""How long training a LoRA on somebody's own labelled prompts would take on this machine.

A few real steps, forward, backward and optimizer, are timed: the plain way, one adapter, rows one a sequence, padded
to the longest of their batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from engine.base.chat import answers_ids, context_window, padding_id, prompts_ids
from engine.base.device import explain_out_of_memory
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.forge.collect import as_matrices, trainable
from engine.generator.about import read_about
from engine.jobs.prompts import TO_TRAIN, labelled_rows
from engine.jobs.results import Result
from engine.pipeline import load_chosen_base
from engine.prompts import PromptSet
from engine.released import released_generator
from engine.requests import TrainingTimeRequest
from engine.training.loop import apply_update
from engine.training.losses import adapters_in_batch, token_losses
from engine.training.packing import TokenRow, pack
from engine.weights.frame import fresh_frame
from engine.weights.layout import Layout, LoraSpec, derive_layout

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


def training_time_job(request: TrainingTimeRequest, prompts: PromptSet, reporter: Reporter) -> Result:
    """Seconds a step, measured, and what an epoch over all labelled rows would take at that pace."""
    if request.steps < 1 or request.batch < 1:
        raise EngineError(f"{request.steps} steps of {request.batch} rows cannot be timed", hint="Take at least 1")
    rows, total = labelled_rows(prompts, (request.steps + 1) * request.batch, 0, TO_TRAIN, reporter)
    base = load_chosen_base(request.models, reporter)
    layout = derive_layout(base.ref.config, _lora(request))
    tokens = training_rows(base, [(row.prompt, row.references[0]) for row in rows])
    with explain_out_of_memory(setting("batch")):
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


LONGEST_ROW = 1024
"""Tokens of a row that are trained on, as is the default of common trainers; longer prompts lose their start."""

_CHARACTERS_A_TOKEN = 16
_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class TrainingTime:
    """What was measured, over `steps` steps: means a step."""

    steps: int
    seconds_a_step: float
    tokens_a_step: float


def time_training(
    base: LoadedBase, layout: Layout, rows: Sequence[TokenRow], *, steps: int, batch: int, reporter: Reporter
) -> TrainingTime:
    """Train a LoRA of `layout` from scratch for one step that is not timed and `steps` that are; the base stays as is.

    Args:
        rows: taken `batch` a step, from the first again when there are no more.
        reporter: hears the stage "train"; between steps a wish to stop is heard.
    """
    frame = fresh_frame(layout, "full", seed=0)
    parameters = trainable(frame, 1, base.device)
    optimizer = torch.optim.AdamW(parameters.values(), lr=_LEARNING_RATE)
    a, b = as_matrices(frame, parameters)
    size = min(batch, len(rows))
    seconds = 0.0
    tokens = 0
    with reporter.stage("train", steps + 1) as stage, adapters_in_batch(base.model, layout, a, b):
        for step in range(steps + 1):
            chosen = [rows[place % len(rows)] for place in range(step * size, (step + 1) * size)]
            began = time.perf_counter()
            packed = pack([[row] for row in chosen], padding_id(base.tokenizer)).to(base.device)
            loss = token_losses(base.model, packed, 1).sum()
            loss.backward()
            apply_update(optimizer, _LEARNING_RATE)
            _finish(base.device)
            taken = time.perf_counter() - began
            if step:
                seconds += taken
                tokens += packed.tokens
            stage.advance(loss=loss.item(), tokens_per_second=packed.tokens / taken)
    return TrainingTime(steps, seconds / steps, tokens / steps)


def training_rows(base: LoadedBase, labelled: Sequence[tuple[str, str]]) -> list[TokenRow]:
    """(prompt, answer) texts as token rows of at most `LONGEST_ROW` tokens, fewer where the base takes fewer."""
    limit = min(LONGEST_ROW, context_window(base) or LONGEST_ROW)
    # Tokenizers spend seconds on megabytes, of which nothing would be left.
    most = limit * _CHARACTERS_A_TOKEN
    prompts = prompts_ids(base.tokenizer, [prompt[-most:] for prompt, _ in labelled])
    answers = answers_ids(base.tokenizer, [answer[:most] for _, answer in labelled])
    return [_cut(prompt, answer, limit) for prompt, answer in zip(prompts, answers, strict=True)]


def _cut(prompt: list[int], answer: list[int], limit: int) -> TokenRow:
    kept = answer[: limit - 1]
    return TokenRow(tuple(prompt[-(limit - len(kept)) :]), tuple(kept))


def _finish(device: torch.device) -> None:
    """Wait for what was only queued: the clock must not run ahead of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
