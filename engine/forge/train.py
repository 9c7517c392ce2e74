"""Training the generator: pairs in weight space, then the language-model loss through the generated adapters.

    1. warm start     prompt batch -> weight tokens, against a checkpoint of the same task
                      (arXiv 2506.16406, sections 3.2 and 3.5: random pairing, weighted squared error)
    2. language loss  prompt batch -> adapter -> answers to other rows of the task
                      (arXiv 2506.06105, section 3: what generalises is trained through the model)
    3. distillation   prompt batch -> adapter -> what the frame answers that reads the context (arXiv 2209.15189)

An empty condition gives the frame's own adapter exactly, whatever the decoder learns. That is the multi-task adapter,
or, with `language_loss.frame_learning_rate`, what the second stage makes of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.base.device import device_memory
from engine.events import Reporter, Stage
from engine.forge.library import Library
from engine.forge.places import DISTILLATION, LANGUAGE_LOSS, LOG_FILE, WARM_START, state_file, state_name
from engine.forge.queries import Queries, draw_queries, drawn_queries, others
from engine.forge.recipe import DistillationRecipe, LanguageLossRecipe, Recipe, training_identity
from engine.forge.rows import ConditionPool, TaskTokens, as_batch, draw_batch
from engine.generator.generator import Generator
from engine.tasks.arms import GENERATED, HIDDEN, MULTI_TASK, OTHER_PROMPTS
from engine.training.loop import BestState, RunLog, TrainingState, apply_update, cosine
from engine.training.losses import (
    Body,
    adapters_in_batch,
    answer_logits,
    compiled_body,
    divergence,
    mean_by_adapter,
    token_losses,
)
from engine.training.packing import PackedBatch
from engine.weights.frame import Frame, in_half_precision
from engine.workers import Workers, join_workers

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

_HELD_OUT_ARMS = (MULTI_TASK, GENERATED, OTHER_PROMPTS)


@dataclass(frozen=True)
class TrainingData:
    """Tasks to train on, tasks to watch, and their prompts' conditions."""

    train: Sequence[TaskTokens]
    held_out: Sequence[TaskTokens]
    pool: ConditionPool


@dataclass
class _Run:
    base: LoadedBase
    generator: Generator
    data: TrainingData
    recipe: Recipe
    out: Path
    identity: str
    seed: int
    log: RunLog
    workers: Workers
    frame: Frame  # on the base's device
    # What the base's linear modules look up at every pass.
    a: dict[str, Tensor]
    b: dict[str, Tensor]


def library_spread(library: Library, reporter: Reporter) -> dict[str, Tensor]:
    """Mean square of the differences over all checkpoints, entry by entry: by matrix name (rows, columns)."""
    names = library.task_names
    total: dict[str, Tensor] = {}
    with reporter.stage("spread", len(names), "tasks") as stage:
        for task in names:
            for name, checkpoints in library.checkpoints(task).items():
                total[name] = total.get(name, torch.zeros(checkpoints.shape[1:])) + checkpoints.pow(2).mean(0) / len(
                    names
                )
            stage.advance()
    return total


def train_generator(
    base: LoadedBase,
    generator: Generator,
    library: Library,
    spread: Mapping[str, Tensor],
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    seed: int,
    reporter: Reporter,
) -> dict[str, float]:
    """Train `generator.decoder` in place; resumes what `out` holds.

    Args:
        spread: see `library_spread`.

    Returns:
        The losses on the held-out tasks, see `held_out_losses`.
    """
    workers = join_workers()
    identity = training_identity(library.about, recipe, seed)
    log = RunLog(out / LOG_FILE, workers.is_main)
    frame = generator.frame.to(base.device)
    run = _Run(base, generator, data, recipe, out, identity, seed, log, workers, frame, {}, {})
    generator.to(base.device)
    if recipe.warm_start.steps:
        _warm_start(run, library, spread, reporter)
    with adapters_in_batch(base.model, frame.layout, run.a, run.b):
        if recipe.language_loss.steps:
            with compiled_body(base.model, recipe.compile) as body:
                _language_loss(run, body, reporter)
        if recipe.distillation.steps:
            with compiled_body(base.model, recipe.compile) as body:
                _distillation(run, body, reporter)
        return held_out_losses(run, reporter)


def weighted_squared_error(tokens: Tensor, target: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Mean over valid entries of `weight` (T,) times the squared difference of (B, T, h, w) tokens.

    Padding never counts.
    """
    error = (tokens - target).pow(2) * mask * weight[:, None, None]
    return error.sum() / (mask.sum() * tokens.shape[0])


def _warm_start(run: _Run, library: Library, spread: Mapping[str, Tensor], reporter: Reporter) -> None:
    settings, generator = run.recipe.warm_start, run.generator
    grid, device = generator.grid, run.base.device
    mask = grid.mask.to(device)
    scales = generator.scales.cpu()[:, None, None]
    size = (grid.cut({name: value.sqrt() for name, value in spread.items()}) * grid.mask).sum((1, 2)) / grid.mask.sum(
        (1, 2)
    )
    weight = (size / generator.scales.cpu()).to(device)
    weight = weight / weight.mean()
    targets = {task: (grid.cut(library.checkpoints(task)) / scales).to(torch.float16) for task in library.task_names}
    parameters = dict(generator.decoder.named_parameters())
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=0.01)
    name = state_name(WARM_START)
    state = TrainingState(state_file(run.out, name), parameters, optimizer, f"{name}/{run.identity}")
    first = state.restore()
    names = sorted(targets)
    with reporter.stage(WARM_START, settings.steps) as stage:
        stage.advance(first)
        for step in range(first, settings.steps):
            place = f"{run.seed}/warm-start/{step}"
            began = time.perf_counter()
            chance = random.Random(place)
            chosen = run.workers.share(chance.sample(names, min(settings.tasks, len(names))))
            noise = torch.Generator().manual_seed(step * run.workers.count + run.workers.index)
            condition = torch.stack([run.data.pool.draw(task, place, device=device) for task in chosen])
            target = torch.stack([targets[task][chance.randrange(len(targets[task]))] for task in chosen]).float()
            condition += settings.noise * torch.randn(condition.shape, generator=noise).to(device)
            target += settings.target_noise * torch.randn(target.shape, generator=noise)
            made = generator.decoder(condition)
            loss = weighted_squared_error(made, target.to(device), mask, weight)
            loss.backward()
            rate = cosine(step, settings.steps, settings.learning_rate, settings.warmup_steps)
            _update(run, optimizer, parameters, rate)
            if run.workers.is_main:
                state.save(step + 1, last=step + 1 == settings.steps)
            run.log.add(stage=WARM_START, step=step + 1, loss=loss.item(), seconds=time.perf_counter() - began)
            stage.memory = device_memory(device)
            stage.advance(loss=loss.item())


def _language_loss(run: _Run, body: Body, reporter: Reporter) -> None:
    settings, generator, base = run.recipe.language_loss, run.generator, run.base
    moving: dict[str, Tensor] = {}
    groups: list[dict[str, Any]] = []
    if settings.frame_learning_rate:
        moving = {f"frame.{path}": matrix.clone().requires_grad_() for path, matrix in run.frame.b.items()}
        run.frame = replace(run.frame, b={name.removeprefix("frame."): value for name, value in moving.items()})
        factor = settings.frame_learning_rate / settings.learning_rate
        groups.append({"params": list(moving.values()), "rate_factor": factor, "weight_decay": 0.0})

    def one_step(step: int, place: str, chosen: Sequence[TaskTokens]) -> _Step:
        condition = torch.stack([run.data.pool.draw(t.name, place, settings.few_prompts, base.device) for t in chosen])
        differences = _dropped(generator.differences(condition), settings.drop_condition, f"{place}/drop")
        hidden, adapters = drawn_queries(len(chosen), settings, f"{place}/queries")
        batch = draw_batch(base, chosen, settings.packs, run.recipe.data, place, hidden)
        losses = _losses(run, _of(differences, adapters), batch, len(chosen), body)
        loss, figures = losses.mean(), {"loss": losses.mean().item()}
        if settings.swap_every and step % settings.swap_every == 0 and any(hidden) and len(chosen) > 1:
            swapped = _losses(run, _of(differences, others(len(chosen))), batch, len(chosen), body)
            asked = torch.tensor(hidden, device=losses.device)
            loss = loss + torch.relu(settings.margin - (swapped - losses)[asked]).mean()
            figures["swapped_loss"] = swapped.mean().item()
        return _Step(loss, figures, batch.tokens)

    _train_decoder(run, LANGUAGE_LOSS, settings, one_step, reporter, moving, groups)
    if settings.frame_learning_rate:
        b = {path: in_half_precision(matrix.detach()) for path, matrix in run.frame.b.items()}
        run.frame = replace(run.frame, b=b)
        generator.frame = run.frame.to(torch.device("cpu"))


def _distillation(run: _Run, body: Body, reporter: Reporter) -> None:
    settings, base, data = run.recipe.distillation, run.base, run.recipe.data

    def one_step(step: int, place: str, chosen: Sequence[TaskTokens]) -> _Step:
        drawn = [draw_queries(base, tokens, settings, data, place) for tokens in chosen]
        condition = torch.stack(
            [
                run.data.pool.draw(tokens.name, place, settings.few_prompts, base.device, queries.examples)
                for tokens, queries in zip(chosen, drawn, strict=True)
            ]
        )
        losses, tokens = _divergences(run, run.generator.differences(condition), drawn, body)
        kinds = [queries.kind for queries in drawn]
        figures = {"loss": losses.mean().item()} | {
            kind: losses[[each == kind for each in kinds]].mean().item() for kind in sorted(set(kinds))
        }
        return _Step(losses.mean(), figures, tokens)

    _train_decoder(run, DISTILLATION, settings, one_step, reporter)


def _divergences(
    run: _Run, differences: Mapping[str, Tensor], drawn: Sequence[Queries], body: Body
) -> tuple[Tensor, int]:
    """Mean divergence of each adapter from the frame that reads the context, nats a token (E,); the tokens computed."""
    base, model = run.base, run.base.model
    known: list[Tensor] = []
    read = 0
    _use(run, {name: torch.zeros_like(value[:1]) for name, value in differences.items()})
    for queries in drawn:  # one by one: a context of examples is much longer than one without
        batch = as_batch(base, [queries.teacher], run.recipe.data)
        with torch.no_grad():
            known.append(answer_logits(model, batch))
        read += batch.tokens
    batch = as_batch(base, [queries.student for queries in drawn], run.recipe.data)
    _use(run, differences)
    each = divergence(torch.cat(known), answer_logits(model, batch, body))
    return mean_by_adapter(each, batch, len(drawn)), read + batch.tokens


@dataclass(frozen=True)
class _Step:
    """What one step asks for: its loss, the figures to log, tokens that the base has read."""

    loss: Tensor
    figures: dict[str, float]
    tokens: int


def _train_decoder(
    run: _Run,
    stage_name: str,
    settings: LanguageLossRecipe | DistillationRecipe,
    one_step: Callable[[int, str, Sequence[TaskTokens]], _Step],
    reporter: Reporter,
    moving: Mapping[str, Tensor] = MappingProxyType({}),
    groups: Sequence[dict[str, Any]] = (),
) -> None:
    """Steps through the language model.

    Args:
        moving: trained along with the decoder, by name; `groups` are its settings, for the optimizer.
    """
    place_name = state_name(stage_name)
    parameters = dict(run.generator.decoder.named_parameters())
    own: list[dict[str, Any]] = [{"params": list(parameters.values())}]
    parameters |= moving
    optimizer = torch.optim.AdamW([*own, *groups], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    state = TrainingState(state_file(run.out, place_name), parameters, optimizer, f"{place_name}/{run.identity}")
    best = BestState(state_file(run.out, f"best-{place_name}"), parameters, state.identity)
    first = state.restore()
    with reporter.stage(stage_name, settings.steps) as stage:
        stage.advance(first)
        for step in range(first, settings.steps):
            place = f"{run.seed}/{place_name}/{step}"
            began = time.perf_counter()
            chosen = run.workers.share(
                random.Random(place).sample(run.data.train, min(settings.tasks, len(run.data.train)))
            )
            made = one_step(step, place, chosen)
            made.loss.backward()
            rate = cosine(step, settings.steps, settings.learning_rate, settings.warmup_steps)
            _update(run, optimizer, parameters, rate)
            seconds = time.perf_counter() - began
            figures = made.figures | {"tokens_per_second": made.tokens * run.workers.count / seconds}
            run.log.add(stage=stage_name, step=step + 1, seconds=seconds, **figures)
            last = step + 1 == settings.steps
            # Before the step counts as done: whoever goes on must not miss it.
            if settings.judge_every and (last or (step + 1) % settings.judge_every == 0):
                watched = _watch(run, step + 1, stage)
                if watched and run.workers.is_main:
                    best.offer(step + 1, watched[GENERATED] + watched.get(HIDDEN + GENERATED, 0.0))
            if run.workers.is_main:
                state.save(step + 1, last=last)
            stage.memory = device_memory(run.base.device)
            stage.advance(1, **figures)
    # The others may have no such file: it may be another machine's.
    if run.workers.is_main and (kept := best.restore()) not in (None, settings.steps):
        reporter.note(f"taken as it was after step {kept}: the loss on the held-out tasks was lowest there")
    run.workers.take_from_main(parameters.values())


def _of(differences: Mapping[str, Tensor], adapters: Sequence[int]) -> Mapping[str, Tensor]:
    """Differences (E, rows, columns) of these adapters, in this order."""
    if list(adapters) == list(range(len(adapters))):
        return differences  # as they are: every step would copy every matrix
    return {name: value[list(adapters)] for name, value in differences.items()}


def _dropped(differences: Mapping[str, Tensor], part: float, place: str) -> Mapping[str, Tensor]:
    """Differences (E, rows, columns) with about a `part` of the adapters, drawn by `place`, set to zero."""
    if not part:
        return differences
    first = next(iter(differences.values()))
    chance = random.Random(place)
    kept = torch.tensor([float(chance.random() >= part) for _ in range(first.shape[0])], device=first.device)
    return {name: value * kept[:, None, None] for name, value in differences.items()}


def held_out_losses(run: _Run, reporter: Reporter) -> dict[str, float]:
    """Mean loss on the held-out tasks, in nats a token: multi-task adapter, matched prompts, another task's prompts.

    After a distillation also on their rows without instruction, "hidden_" before each name.
    """
    if len(run.data.held_out) < 2:
        return {}
    with reporter.stage("held-out loss", len(run.data.held_out), "tasks") as stage:
        return _held_out_losses(run, lambda: run.workers.advance(stage))


@torch.no_grad()
def _held_out_losses(run: _Run, on_task: Callable[[], None]) -> dict[str, float]:
    """See `held_out_losses`; the processes share the tasks, and all of them must call this."""
    place = f"{run.seed}/held-out"
    tasks = list(run.data.held_out)
    kinds = {"": False, HIDDEN: True} if run.recipe.distillation.steps else {"": False}
    own: dict[str, dict[str, float]] = {}
    for index in run.workers.share(range(len(tasks))):
        tokens, other = tasks[index], tasks[(index + 1) % len(tasks)]
        matched, swapped = (run.data.pool.draw(t.name, place, device=run.base.device)[None] for t in (tokens, other))
        differences = run.generator.differences(matched)
        zero = {name: torch.zeros_like(value) for name, value in differences.items()}
        made = dict(zip(_HELD_OUT_ARMS, (zero, differences, run.generator.differences(swapped)), strict=True))
        own[tokens.name] = {}
        for kind, hidden in kinds.items():
            batch = draw_batch(run.base, [tokens], 2, run.recipe.data, place, [hidden])
            own[tokens.name] |= {f"{kind}{arm}": _losses(run, each, batch, 1).item() for arm, each in made.items()}
        on_task()
    everywhere = run.workers.united(own)
    # In the order of the tasks, whatever the number of processes.
    names = [f"{kind}{arm}" for kind in kinds for arm in _HELD_OUT_ARMS]
    return {name: sum(everywhere[task.name][name] for task in tasks) / len(tasks) for name in names}


def _watch(run: _Run, step: int, stage: Stage) -> dict[str, float]:
    if len(run.data.held_out) < 2:
        return {}
    losses = _held_out_losses(run, lambda: stage.advance(0))
    run.log.add(stage="held-out", step=step, **losses)
    stage.advance(0, **{f"held_out_{arm}": value for arm, value in losses.items()})
    return losses


def _losses(
    run: _Run, differences: Mapping[str, Tensor], batch: PackedBatch, adapters: int, body: Body | None = None
) -> Tensor:
    _use(run, differences)
    return token_losses(run.base.model, batch, adapters, body)


def _use(run: _Run, differences: Mapping[str, Tensor]) -> None:
    """Put the frame, moved by `differences`, into the base's linear modules."""
    for taken, made in zip((run.a, run.b), run.frame.shifted(differences), strict=True):
        taken.update(made)


def _update(run: _Run, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], rate: float) -> None:
    run.workers.average_gradients(parameters.values())
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    apply_update(optimizer, rate)
