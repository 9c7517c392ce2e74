"""Collecting a library and training a generator, from folders to folders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.base.device import explain_out_of_memory, pick_device
from engine.base.fetch import resolve_encoder
from engine.condition import TextEncoder
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_file, tidy_folder, write_text
from engine.forge.card import generator_card
from engine.forge.collect import Start, collect
from engine.forge.curves import Curve, as_svg, read_curves
from engine.forge.library import Library, open_library
from engine.forge.places import CURVE_FILE, LOG_FILE, condition_folder, run_folder, state_file
from engine.forge.recipe import Recipe, read_recipe, recipe_from_json
from engine.forge.rows import ConditionPool, tokenize_tasks
from engine.forge.train import TrainingData, library_spread, train_generator
from engine.generator.about import TENSORS, read_about
from engine.generator.artifact import check_base, load_generator, save_generator
from engine.generator.generator import Generator, GeneratorSpec, token_scales
from engine.jobs.results import Result
from engine.pipeline import load_chosen_base
from engine.requests import CollectRequest, TrainRequest
from engine.tasks.tasks import SEEN, read_tasks
from engine.text import readable_size
from engine.workers import join_workers

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


def collect_job(request: CollectRequest, reporter: Reporter) -> Result:
    """Train the multi-task adapter and the checkpoints of single tasks into `request.out`; draw their losses."""
    recipe = read_recipe(request.recipe)
    tasks = read_tasks(request.tasks, SEEN, recipe.exclude)
    base = load_chosen_base(request.models, reporter)
    start = None
    if request.start:
        about = read_about(request.start)
        check_base(about, base.ref)
        start = Start(load_generator(request.start).frame, about["history"].get("tasks", {}))
    with explain_out_of_memory("data.pack_tokens or library.adapters in the recipe"):
        library = collect(base, tasks, recipe, request.out, request.seed, reporter, start)
    done = library.task_names
    if join_workers().is_main:
        _draw_curves(request.out, read_curves(request.out))
    lines = (("tasks", str(len(done))), ("library", str(request.out)), ("log", str(request.out / LOG_FILE)))
    return Result({"library": str(request.out), "tasks": done, "seconds": dict(reporter.timings)}, lines)


def train_job(request: TrainRequest, reporter: Reporter) -> Result:
    """Train a generator on a library; the artifact goes to `request.out`, log and state to its folder `run`."""
    library = open_library(request.library)
    recipe = read_recipe(request.recipe) if request.recipe else recipe_from_json(library.about["recipe"])
    base = load_chosen_base(request.models, reporter)
    if base.ref.fingerprint != library.about["base"]["fingerprint"]:
        raise EngineError(
            f"was collected for {library.about['base']['id']} with other weights", where=str(request.library)
        )
    run = run_folder(request.out)
    tidy_folder(run)
    data, encoder = _training_data(request, library, recipe, base, condition_folder(run), reporter)
    spread = library_spread(library, reporter)
    generator = _new_generator(library, spread, recipe, encoder, request.seed)
    with explain_out_of_memory("language_loss.tasks or data.pack_tokens in the recipe"):
        losses = train_generator(base, generator, library, spread, data, recipe, run, request.seed, reporter)
    if not join_workers().is_main:
        return Result({}, ())
    generator = generator.cpu().with_history(losses=losses)
    save_generator(request.out, generator, generator_card(generator))
    _draw_curves(request.out, read_curves(request.library) | read_curves(request.out))
    # Only the run needed them, and they are large; the optimizer's states too.
    shutil.rmtree(condition_folder(run), ignore_errors=True)
    for state in run.glob(state_file(run, "*").name):
        state.unlink()
    size = (request.out / TENSORS).stat().st_size
    lines = (
        *((f"held-out loss, {arm.replace('_', ' ')}", f"{loss:.4f} nats a token") for arm, loss in losses.items()),
        ("generator", f"{request.out} ({readable_size(size)})"),
        ("log", str(run / LOG_FILE)),
    )
    return Result(
        {"generator": str(request.out), "bytes": size, "losses": losses, "seconds": dict(reporter.timings)}, lines
    )


def _draw_curves(folder: Path, curves: Mapping[str, Curve]) -> None:
    write_text(folder / CURVE_FILE, as_svg(curves))


def _training_data(
    request: TrainRequest, library: Library, recipe: Recipe, base: LoadedBase, folder: Path, reporter: Reporter
) -> tuple[TrainingData, TextEncoder]:
    known: dict[str, str] = library.about["tasks"] | library.about["held_out"]
    tasks = [task for task in read_tasks(request.tasks, SEEN, recipe.exclude) if task.name in known]
    for task in tasks:
        if digest_file(task.train_path) != known[task.name]:
            raise EngineError("has changed since the LoRA library was collected", where=str(task.train_path))
    if missing := sorted(set(known) - {task.name for task in tasks}):
        raise EngineError(f"the library's task {missing[0]} is not there", where=str(request.tasks))
    tokens = tokenize_tasks(base, tasks, recipe.data, reporter)
    encoder = TextEncoder(resolve_encoder(reporter), pick_device(request.models.device))
    pool = ConditionPool(folder, recipe.decoder.prompts, recipe.decoder.prompt_tokens)
    train = [task for task in tokens if task.name in library.about["tasks"]]
    held_out = [task for task in tokens if task.name in library.about["held_out"]]
    pool.fill(encoder, tokens, request.seed, reporter, answered=recipe.distillation.steps > 0)
    return TrainingData(train, held_out, pool), encoder


def _new_generator(
    library: Library, spread: Mapping[str, Tensor], recipe: Recipe, encoder: TextEncoder, seed: int
) -> Generator:
    spec = GeneratorSpec(
        encoder.spec(recipe.decoder.prompts, recipe.decoder.prompt_tokens),
        recipe.decoder.cascade,
        recipe.decoder.kernel,
        library.about["base"],
        {
            "recipe": recipe.to_json(),
            "seed": seed,
            "tasks": library.trained_on,
            "held_out": library.about["held_out"],
            "library_tasks": library.task_names,
        },
    )
    torch.manual_seed(seed)
    generator = Generator(spec, library.frame)
    sizes = {name: recipe.decoder.scale * value.mean().sqrt().item() for name, value in spread.items()}
    generator.scales = token_scales(generator.grid, sizes)
    return generator
