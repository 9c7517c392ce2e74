"""Collecting: a multi-task adapter, then checkpoints of single-task adapters that start from it.

    all tasks --(multi-task training)--> frame --(a few steps a task, many adapters in one batch)--> checkpoints

Following arXiv 2506.16406 (section 3.1: fine-tune, then keep a checkpoint at each of the last steps), with one common
start, so that all adapters lie in one basin and the generator predicts the difference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.base.device import device_memory
from engine.errors import ANOTHER_OUT, EngineError, setting
from engine.events import Reporter, Stage
from engine.files import digest_json, read_json, write_json
from engine.forge.library import START_TASKS, Library, open_library, write_checkpoints
from engine.forge.places import FRAME_FILE, LIBRARY_FILE, LOG_FILE, checkpoint_file, state_file
from engine.forge.recipe import Recipe
from engine.forge.rows import TaskTokens, draw_batch, split_held_out, tokenize_tasks
from engine.tasks.tasks import Task
from engine.training.loop import RunLog, TrainingState, apply_update, clip_each, cosine
from engine.training.losses import Body, adapters_in_batch, compiled_body, token_losses
from engine.weights.frame import Frame, fresh_frame, generated_shapes, in_half_precision
from engine.weights.layout import Layout, derive_layout
from engine.weights.storage import frame_digest, read_frame, write_frame
from engine.workers import Workers, join_workers

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


@dataclass(frozen=True)
class _Run:
    base: LoadedBase
    layout: Layout
    data: Sequence[TaskTokens]
    recipe: Recipe
    out: Path
    identity: str
    seed: int
    log: RunLog
    workers: Workers

    def mark(self, stage: str, *more: Any) -> str:
        """What must be the same for the state of `stage` to be continued."""
        return digest_json([self.identity, stage, self.settings[stage.replace("-", "_")], self.settings["data"], *more])

    @property
    def settings(self) -> dict[str, Any]:
        return self.recipe.to_json()


@dataclass(frozen=True)
class Start:
    """A multi-task adapter to go on from, and the tasks it was trained on: hashes of their rows by name."""

    frame: Frame
    tasks: Mapping[str, str]


def collect(
    base: LoadedBase,
    tasks: Sequence[Task],
    recipe: Recipe,
    out: Path,
    seed: int,
    reporter: Reporter,
    start: Start | None = None,
) -> Library:
    """Train the frame and the checkpoints into `out`; what is there already is kept and not trained again.

    Args:
        start: what the multi-task adapter is trained on from; None is a fresh frame.

    Raises:
        EngineError: `out` holds another library, no task has enough short rows, `start` has another layout or kind
            than the recipe has or was trained on tasks that would have to be held out.
        Cancelled: the person asked for it; the same call goes on from there.
    """
    workers = join_workers()
    layout = derive_layout(base.ref.config, recipe.frame.lora)
    usable = tokenize_tasks(base, tasks, recipe.data, reporter)
    data, held_out = split_held_out(usable, recipe.held_out, seed, start.tasks if start else ())
    facts = {
        "kind": recipe.frame.kind,
        "layout": layout.to_json(),
        "base": {"id": base.ref.id, "fingerprint": base.ref.fingerprint},
        "seed": seed,
        "tasks": {tokens.task.name: tokens.task.digest for tokens in data},
        "held_out": {tokens.task.name: tokens.task.digest for tokens in held_out},
    }
    if start is not None:
        if (start.frame.layout.digest, start.frame.kind) != (layout.digest, recipe.frame.kind):
            raise EngineError(
                "the generator to start from has other matrices than the recipe",
                hint=f"Give the recipe the same frame, or start without {setting('start')}",
            )
        facts |= {"start": frame_digest(start.frame), START_TASKS: dict(start.tasks)}
    if (out / LIBRARY_FILE).is_file():
        _check_same(read_json(out / LIBRARY_FILE), facts, out)
    log = RunLog(out / LOG_FILE, workers.is_main)
    run = _Run(base, layout, data, recipe, out, digest_json(facts), seed, log, workers)
    frame_path = out / FRAME_FILE
    to_train = not frame_path.is_file()
    # All processes look before one of them writes: each must take part in the same steps and waits.
    workers.wait()
    if to_train:
        frame = _train_multi_task(run, start.frame if start else fresh_frame(layout, recipe.frame.kind, seed), reporter)
        if workers.is_main:
            write_frame(frame_path, frame)
    if workers.is_main:
        write_json(out / LIBRARY_FILE, facts | {"recipe": recipe.to_json()})
    workers.wait()
    _train_library(run, read_frame(frame_path, layout, recipe.frame.kind), reporter)
    workers.wait()
    return open_library(out)


def trainable(frame: Frame, adapters: int, device: torch.device) -> dict[str, Tensor]:
    """Copies of the frame's generated matrices for `adapters` adapters: by matrix name (E, rows, columns)."""
    parameters = {}
    for name in generated_shapes(frame.layout, frame.kind):
        path, part = name.rsplit(".", 1)
        start = (frame.a if part == "lora_A" else frame.b)[path]
        parameters[name] = start.to(device).expand(adapters, -1, -1).clone().requires_grad_()
    return parameters


def as_matrices(frame: Frame, parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trainable matrices by name -> A and B by module path, A from the frame where it is frozen."""
    device = next(iter(parameters.values())).device
    a = {path: parameters.get(f"{path}.lora_A", matrix.to(device)) for path, matrix in frame.a.items()}
    b = {path: parameters[f"{path}.lora_B"] for path in frame.b}
    return a, b


def _train_multi_task(run: _Run, frame: Frame, reporter: Reporter) -> Frame:
    settings = run.recipe.multi_task
    parameters = trainable(frame, 1, run.base.device)
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    state = TrainingState(state_file(run.out, "multi-task"), parameters, optimizer, run.mark("multi-task"))
    first = state.restore()
    a, b = as_matrices(frame, parameters)
    with (
        reporter.stage("multi-task", settings.steps) as stage,
        adapters_in_batch(run.base.model, run.layout, a, b),
        compiled_body(run.base.model, run.recipe.compile) as body,
    ):
        stage.advance(first)
        for step in range(first, settings.steps):
            place = f"{run.seed}/multi-task/{step}"
            chosen = run.workers.share(random.Random(place).sample(run.data, min(settings.packs, len(run.data))))
            batch = draw_batch(run.base, chosen, 1, run.recipe.data, place)
            began = time.perf_counter()
            loss = token_losses(run.base.model, batch, len(chosen), body).mean()
            loss.backward()
            run.workers.average_gradients(parameters.values())
            rate = cosine(step, settings.steps, settings.learning_rate, settings.warmup_steps)
            _update(optimizer, parameters, rate)
            if run.workers.is_main:
                state.save(step + 1, last=step + 1 == settings.steps)
            seconds = time.perf_counter() - began
            stage.memory = device_memory(run.base.device)
            _log_step(stage, run.log, "multi-task", step + 1, loss.item(), batch.tokens * run.workers.count, seconds)
    named = {name: in_half_precision(parameter.detach()[0].cpu()) for name, parameter in parameters.items()}
    a, b = as_matrices(frame, named)
    state.path.unlink(missing_ok=True)
    return Frame(run.layout, frame.kind, a, b)


def _train_library(run: _Run, frame: Frame, reporter: Reporter) -> None:
    settings = run.recipe.library
    chosen = list(run.data)
    if settings.tasks:
        chosen = random.Random(f"{run.seed}/library").sample(chosen, min(settings.tasks, len(chosen)))
    # Tasks of like length side by side: less padding.
    chosen.sort(key=lambda tokens: (tokens.mean_length, tokens.task.name))
    groups = [chosen[start : start + settings.adapters] for start in range(0, len(chosen), settings.adapters)]
    adapters: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    with (
        reporter.stage("library", len(groups) * settings.steps) as stage,
        adapters_in_batch(run.base.model, frame.layout, *adapters),
        compiled_body(run.base.model, run.recipe.compile) as body,
    ):
        for number, group in enumerate(groups):
            done = all(checkpoint_file(run.out, tokens.task.name).is_file() for tokens in group)
            if done or number % run.workers.count != run.workers.index:
                stage.advance(settings.steps, tasks_done=number * settings.adapters + len(group))
            else:
                _train_group(run, frame, group, number, stage, adapters, body)


def _train_group(
    run: _Run,
    frame: Frame,
    group: Sequence[TaskTokens],
    number: int,
    stage: Stage,
    adapters: tuple[dict[str, Tensor], dict[str, Tensor]],
    body: Body,
) -> None:
    """Train group `number`; its steps are logged as the stage counts them, after those of the groups before it.

    `adapters` are the A and B that the base's linear modules look up.
    """
    settings = run.recipe.library
    parameters = trainable(frame, len(group), run.base.device)
    start = {name: parameter.detach()[:1].clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    # The last checkpoints are part of the state: a kill between two of them must not lose the earlier one.
    kept = {f"kept.{name}": torch.zeros(settings.keep, *parameter.shape) for name, parameter in parameters.items()}
    names = [tokens.task.name for tokens in group]
    path = state_file(run.out, f"group-{digest_json(names)[:12]}")
    state = TrainingState(path, parameters, optimizer, run.mark("library", names), extra=kept)
    first = state.restore()
    stage.advance(first)
    for taken, made in zip(adapters, as_matrices(frame, parameters), strict=True):
        taken.update(made)
    for step in range(first, settings.steps):
        batch = draw_batch(run.base, group, settings.packs, run.recipe.data, f"{run.seed}/library/{step}")
        began = time.perf_counter()
        losses = token_losses(run.base.model, batch, len(group), body)
        distance = sum((parameter - start[name]).pow(2).sum() for name, parameter in parameters.items())
        (losses.sum() + settings.pull * distance).backward()
        _update(optimizer, parameters, cosine(step, settings.steps, settings.learning_rate, 2))
        slot = step - (settings.steps - settings.keep)
        if slot >= 0:
            for name, parameter in parameters.items():
                kept[f"kept.{name}"][slot] = (parameter.detach() - start[name]).cpu()
        state.save(step + 1)
        seconds, counted = time.perf_counter() - began, number * settings.steps + step + 1
        tasks_done = number * settings.adapters + (len(group) if step + 1 == settings.steps else 0)
        loss = losses.mean().item()
        stage.memory = device_memory(run.base.device)
        _log_step(stage, run.log, "library", counted, loss, batch.tokens, seconds, tasks_done=tasks_done)
    for index, name in enumerate(names):
        write_checkpoints(run.out, name, {key: kept[f"kept.{key}"][:, index] for key in parameters})
    state.path.unlink(missing_ok=True)


def _check_same(there: Mapping[str, Any], wanted: Mapping[str, Any], out: Path) -> None:
    for name, value in ({"start": None, START_TASKS: None} | dict(wanted)).items():
        # By digest: what was read from JSON has lists where this run has tuples.
        if digest_json(there.get(name)) != digest_json(value):
            raise EngineError(
                f"holds a LoRA library of another {name}", where=str(out), hint=f"{ANOTHER_OUT} for this one"
            )


def _update(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], rate: float) -> None:
    clip_each([parameter.grad for parameter in parameters.values() if parameter.grad is not None])
    apply_update(optimizer, rate)


def _log_step(
    stage: Stage, log: RunLog, name: str, step: int, loss: float, tokens: int, seconds: float, **more: float
) -> None:
    """Log step number `step` (1-based) and count it; `more` figures are reported and not logged."""
    rate = tokens / seconds
    log.add(stage=name, step=step, loss=loss, tokens=tokens, tokens_per_second=rate, seconds=seconds)
    stage.advance(1, loss=loss, tokens_per_second=rate, **more)
