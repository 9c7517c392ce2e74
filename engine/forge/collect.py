"""Collecting: a multi-task adapter, then checkpoints of single-task adapters that start from it.

    all tasks --(multi-task training)--> frame --(a few steps a task, many adapters in one batch)--> checkpoints

Following arXiv 2506.16406 (section 3.1: fine-tune, then keep a checkpoint at each of the last steps), with one common
start, so that all adapters lie in one basin and the generator predicts the difference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.events import Reporter, Stage
from engine.files import digest_json, read_json, write_json
from engine.forge.batched import adapters_in_batch, token_losses
from engine.forge.library import Library, checkpoint_folder, open_library, read_frame, write_checkpoints, write_frame
from engine.forge.loop import RunLog, TrainingState, clip_each, cosine
from engine.forge.recipe import LibraryRecipe, Recipe
from engine.forge.rows import TaskTokens, draw_batch, split_held_out, tokenize_tasks
from engine.forge.tasks import Task
from engine.forge.workers import Workers, join_workers
from engine.weights.frame import Frame, fresh_frame, generated_shapes, in_half_precision
from engine.weights.layout import Layout, derive_layout

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


def collect(
    base: LoadedBase, tasks: Sequence[Task], recipe: Recipe, out: Path, seed: int, reporter: Reporter
) -> Library:
    """Train the frame and the checkpoints into `out`; what is there already is kept and not trained again."""
    workers = join_workers()
    layout = derive_layout(base.ref.config, recipe.frame.lora)
    data = tokenize_tasks(base, tasks, recipe.data, reporter)
    data, held_out = split_held_out(data, recipe.held_out, seed)
    facts = {
        "kind": recipe.frame.kind,
        "layout": layout.to_json(),
        "base": {"id": base.ref.id, "fingerprint": base.ref.fingerprint},
        "seed": seed,
        "tasks": {tokens.task.name: tokens.task.digest for tokens in data},
        "held_out": {tokens.task.name: tokens.task.digest for tokens in held_out},
    }
    if (out / "library.json").is_file():
        _check_same(read_json(out / "library.json"), facts, out)
    identity = digest_json(facts)
    log = RunLog(out / "log.jsonl", workers.is_main)
    frame_path = out / "frame.safetensors"
    if not frame_path.is_file():
        frame = _train_multi_task(base, layout, data, recipe, out, identity, seed, reporter, log, workers)
        if workers.is_main:
            write_frame(frame_path, frame)
        workers.wait()
    if workers.is_main:
        write_json(out / "library.json", facts | {"recipe": recipe.to_json()})
    frame = read_frame(frame_path, layout, recipe.frame.kind)
    _train_library(base, frame, data, recipe, out, identity, seed, reporter, log, workers)
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


def _train_multi_task(
    base: LoadedBase,
    layout: Layout,
    data: Sequence[TaskTokens],
    recipe: Recipe,
    out: Path,
    identity: str,
    seed: int,
    reporter: Reporter,
    log: RunLog,
    workers: Workers,
) -> Frame:
    settings = recipe.multi_task
    frame = fresh_frame(layout, recipe.frame.kind, seed)
    parameters = trainable(frame, 1, base.device)
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    mark = digest_json([identity, "multi-task", recipe.to_json()["multi_task"], recipe.to_json()["data"]])
    state = TrainingState(out / "multi-task.state.safetensors", parameters, optimizer, mark)
    first = state.restore()
    a, b = as_matrices(frame, parameters)
    with reporter.stage("multi-task", settings.steps) as stage, adapters_in_batch(base.model, layout, a, b):
        stage.advance(first)
        for step in range(first, settings.steps):
            place = f"{seed}/multi-task/{step}"
            chosen = workers.share(random.Random(place).sample(data, min(settings.packs, len(data))))
            batch = draw_batch(base, chosen, 1, recipe.data, place)
            began = time.perf_counter()
            loss = token_losses(base.model, batch, len(chosen)).mean()
            loss.backward()
            workers.average_gradients(parameters.values())
            rate = cosine(step, settings.steps, settings.learning_rate, settings.warmup_steps)
            _update(optimizer, parameters, rate)
            if workers.is_main:
                state.save(step + 1, last=step + 1 == settings.steps)
            _tell(stage, log, "multi-task", step, loss.item(), batch.tokens, time.perf_counter() - began)
    named = {name: in_half_precision(parameter.detach()[0].cpu()) for name, parameter in parameters.items()}
    a, b = as_matrices(frame, named)
    state.path.unlink(missing_ok=True)
    return Frame(layout, frame.kind, a, b)


def _train_library(
    base: LoadedBase,
    frame: Frame,
    data: Sequence[TaskTokens],
    recipe: Recipe,
    out: Path,
    identity: str,
    seed: int,
    reporter: Reporter,
    log: RunLog,
    workers: Workers,
) -> None:
    settings = recipe.library
    chosen = list(data)
    if settings.tasks:
        chosen = random.Random(f"{seed}/library").sample(chosen, min(settings.tasks, len(chosen)))
    # Tasks of like length side by side: less padding.
    chosen.sort(key=lambda tokens: (tokens.mean_length, tokens.task.name))
    groups = [chosen[start : start + settings.adapters] for start in range(0, len(chosen), settings.adapters)]
    with reporter.stage("library", len(groups) * settings.steps) as stage:
        for number, group in enumerate(groups):
            done = all((checkpoint_folder(out) / f"{tokens.task.name}.safetensors").is_file() for tokens in group)
            if done or number % workers.count != workers.index:
                stage.advance(settings.steps)
                continue
            mark = digest_json([identity, "library", recipe.to_json()["library"], recipe.to_json()["data"], number])
            _train_group(base, frame, group, settings, recipe, out, mark, seed, stage, log)


def _train_group(
    base: LoadedBase,
    frame: Frame,
    group: Sequence[TaskTokens],
    settings: LibraryRecipe,
    recipe: Recipe,
    out: Path,
    mark: str,
    seed: int,
    stage: Stage,
    log: RunLog,
) -> None:
    parameters = trainable(frame, len(group), base.device)
    start = {name: parameter.detach()[:1].clone() for name, parameter in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.0)
    # The last checkpoints are part of the state: a kill between two of them must not lose the earlier one.
    kept = {f"kept.{name}": torch.zeros(settings.keep, *parameter.shape) for name, parameter in parameters.items()}
    path = out / f"group-{digest_json([tokens.task.name for tokens in group])[:12]}.state.safetensors"
    state = TrainingState(path, parameters, optimizer, mark, extra=kept)
    first = state.restore()
    stage.advance(first)
    a, b = as_matrices(frame, parameters)
    with adapters_in_batch(base.model, frame.layout, a, b):
        for step in range(first, settings.steps):
            place = f"{seed}/library/{step}"
            batch = draw_batch(base, group, settings.packs, recipe.data, place)
            began = time.perf_counter()
            losses = token_losses(base.model, batch, len(group))
            distance = sum((parameter - start[name]).pow(2).sum() for name, parameter in parameters.items())
            (losses.sum() + settings.pull * distance).backward()
            _update(optimizer, parameters, cosine(step, settings.steps, settings.learning_rate, 2))
            slot = step - (settings.steps - settings.keep)
            if slot >= 0:
                for name, parameter in parameters.items():
                    kept[f"kept.{name}"][slot] = (parameter.detach() - start[name]).cpu()
            state.save(step + 1)
            _tell(stage, log, "library", step, losses.mean().item(), batch.tokens, time.perf_counter() - began)
    for index, tokens in enumerate(group):
        write_checkpoints(out, tokens.task.name, {name: kept[f"kept.{name}"][:, index] for name in parameters})
    state.path.unlink(missing_ok=True)


def _check_same(there: Mapping[str, Any], wanted: Mapping[str, Any], out: Path) -> None:
    for name, value in wanted.items():
        # By digest: what was read from JSON has lists where this run has tuples.
        if digest_json(there.get(name)) != digest_json(value):
            raise EngineError(
                f"holds a library of another {name}", where=str(out), hint="Choose another --out for this one"
            )


def _update(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], rate: float) -> None:
    clip_each([parameter.grad for parameter in parameters.values() if parameter.grad is not None])
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _tell(stage: Stage, log: RunLog, name: str, step: int, loss: float, tokens: int, seconds: float) -> None:
    rate = tokens / seconds
    log.add(stage=name, step=step + 1, loss=loss, tokens=tokens, tokens_per_second=rate, seconds=seconds)
    stage.advance(loss=loss, tokens_per_second=rate)
