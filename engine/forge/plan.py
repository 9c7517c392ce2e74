"""What `collect` or `train` will do, what of it is done, and how many bytes it writes. Light.

tasks.json, recipe         --> tasks used and left out
frame, checkpoints, states --> steps done
log of the run             --> seconds a step
shapes                     --> bytes; torch comes in for the decoder's size only
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import digest_json, read_json
from engine.forge.curves import read_pace
from engine.forge.places import (
    DISTILLATION,
    FRAME_FILE,
    LANGUAGE_LOSS,
    LIBRARY_FILE,
    WARM_START,
    checkpoint_folder,
    condition_folder,
    run_folder,
    state_file,
    state_name,
)
from engine.forge.recipe import Recipe, recipe_from_json, training_identity
from engine.generator.about import ABOUT
from engine.tasks.tasks import SEEN, Task, read_tasks
from engine.weights.layout import Layout

_LARGEST_HEADER = 2**24


@dataclass(frozen=True)
class StagePlan:
    """One stage: `done` of `steps`; `seconds_a_step` once the run has measured some.

    tokens_a_step: what the base reads in one step, if all its sequences are full; 0 where it reads none or the stage
        does not train.
    """

    stage: str
    unit: str
    steps: int
    done: int = 0
    seconds_a_step: float | None = None
    tokens_a_step: int = 0

    @property
    def seconds_left(self) -> float | None:
        """At the measured pace; None as long as nothing is measured."""
        left = self.steps - self.done
        return left * self.seconds_a_step if self.seconds_a_step is not None else None if left else 0.0


@dataclass(frozen=True)
class TaskPlan:
    """Which tasks take part.

    used: (name, training rows), those held out too. left_out: (name, why).
    held_out: how many of the used ones are only watched.
    settled: no more will be left out; until the rows are counted in the base's tokens, some may turn out too long.
    """

    used: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...]
    held_out: int
    settled: bool


@dataclass(frozen=True)
class Plan:
    """A whole plan.

    recipe: the one that is followed.
    collected: how many tasks get checkpoints, or have them.
    refusal: why the command will not go on in that folder, if it will not.
    finished: nothing is left to do.
    """

    recipe: Recipe
    tasks: TaskPlan
    collected: int
    stages: tuple[StagePlan, ...]
    refusal: str | None
    finished: bool


def plan_collect(tasks: Path, recipe: Recipe, out: Path | None, seed: int) -> Plan:
    """The plan of `collect`.

    Raises:
        EngineError: the task folder cannot be used.
    """
    library = read_json(out / LIBRARY_FILE) if out and (out / LIBRARY_FILE).is_file() else None
    using = read_tasks(tasks, SEEN, recipe.exclude)
    chosen = _task_plan(tasks, using, recipe, library)
    trained = max(0, len(chosen.used) - chosen.held_out)
    collected = min(recipe.library.tasks or trained, trained)
    groups = -(-collected // recipe.library.adapters)
    pack, each = recipe.data.pack_tokens, recipe.library
    stages = (
        StagePlan("tokenize", "tasks", len(using)),
        StagePlan(
            "multi-task", "steps", recipe.multi_task.steps, _multi_task_done(out, recipe),
            tokens_a_step=recipe.multi_task.packs * pack,
        ),
        StagePlan(
            "library", "steps", groups * each.steps, _library_done(out, recipe, collected),
            tokens_a_step=each.adapters * each.packs * pack,
        ),
    )  # fmt: skip
    refusal = _other_library(library, using, recipe, seed) if library else None
    if not trained:
        refusal = _too_few(chosen, recipe)
    finished = library is not None and all(stage.done == stage.steps for stage in stages[1:])
    return Plan(recipe, chosen, collected, _paced(stages, out), refusal, finished)


def plan_train(tasks: Path, library: Path, recipe: Recipe | None, out: Path | None, seed: int) -> Plan:
    """The plan of `train`.

    Args:
        recipe: None is the library's own.

    Raises:
        EngineError: the task folder or the library cannot be used.
    """
    if not (library / LIBRARY_FILE).is_file():
        raise EngineError("is not a LoRA library", where=str(library), hint="Make one with `dnd-tui lab collect`")
    about = read_json(library / LIBRARY_FILE)
    recipe = recipe or recipe_from_json(about["recipe"])
    using = [task for task in read_tasks(tasks, SEEN, recipe.exclude) if task.name in _hashes(about)]
    chosen = _task_plan(tasks, using, recipe, about)
    collected = len(list(checkpoint_folder(library).glob("*.safetensors")))
    run = run_folder(out) if out else None
    encoded = len(list(condition_folder(run).glob("*.safetensors"))) if run else 0
    warm, language, distilled = recipe.warm_start.steps, recipe.language_loss.steps, recipe.distillation.steps
    stages: tuple[StagePlan, ...] = (
        StagePlan("tokenize", "tasks", len(using)),
        StagePlan("encode", "tasks", len(using), min(len(using), encoded)),
        StagePlan("spread", "tasks", collected),
        StagePlan(WARM_START, "steps", warm, _steps_of(run, state_name(WARM_START), warm)),
        StagePlan(
            LANGUAGE_LOSS, "steps", language, _steps_of(run, state_name(LANGUAGE_LOSS), language),
            tokens_a_step=recipe.language_loss.tasks * recipe.language_loss.packs * recipe.data.pack_tokens,
        ),
        StagePlan(
            DISTILLATION, "steps", distilled, _steps_of(run, state_name(DISTILLATION), distilled),
            # The frame reads each sequence once, the adapter once.
            tokens_a_step=2 * recipe.distillation.tasks * recipe.data.pack_tokens,
        ),
        StagePlan("held-out loss", "tasks", chosen.held_out if chosen.held_out > 1 else 0),
    )  # fmt: skip
    finished = out is not None and (out / ABOUT).is_file()
    refusal: str | None = "already holds a generator"
    if finished:
        stages = tuple(replace(stage, done=stage.steps) for stage in stages)
    else:
        refusal = _changed(about, using, tasks) or _other_run(run, training_identity(about, recipe, seed))
    left = tuple(stage for stage in stages if stage.steps)
    return Plan(recipe, chosen, collected, _paced(left, out), refusal, finished)


def _task_plan(folder: Path, using: Sequence[Task], recipe: Recipe, library: Mapping[str, Any] | None) -> TaskPlan:
    """With a library, its own tasks; without one, all of the split that have rows enough, so far as lines show."""
    rows = {task.name: _lines_of(task.train_path) for task in using}
    left_out: dict[str, str] = {}
    known = _hashes(library) if library else None
    for name, about in sorted(read_json(folder / "tasks.json").items()):
        pattern = next((each for each in recipe.exclude if fnmatch(name, each)), None)
        if about.get("split", "") != SEEN:
            left_out[name] = f"of the split {about.get('split', '')}"
        elif pattern:
            left_out[name] = f"by the recipe: {pattern}"
        elif known is not None and name not in known:
            left_out[name] = "not in the library"
        elif known is None and rows[name] < recipe.data.task_rows:
            left_out[name] = f"fewer than {recipe.data.task_rows} rows"
    used = tuple((name, count) for name, count in rows.items() if name not in left_out)
    held_out = len(library["held_out"]) if library else recipe.held_out
    return TaskPlan(used, tuple(left_out.items()), held_out, library is not None)


def least_tasks(recipe: Recipe) -> str:
    """How many tasks a recipe needs, in words."""
    watched = f": {recipe.held_out} are only watched, the rest is trained on" if recipe.held_out else ""
    return f"at least {recipe.held_out + 1} tasks with {recipe.data.task_rows} training rows each{watched}"


def _too_few(chosen: TaskPlan, recipe: Recipe) -> str:
    there = len(chosen.used)
    usable = "no task here can be used" if not there else f"only {there} task{'' if there == 1 else 's'} can be used"
    return f"{usable}; it needs {least_tasks(recipe)}"


def _hashes(library: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of a library's tasks by name, held-out ones too."""
    return {**library["tasks"], **library["held_out"]}


def _other_library(library: Mapping[str, Any], using: Sequence[Task], recipe: Recipe, seed: int) -> str | None:
    """Why `collect` would not go on with this library, so far as files show."""
    facts = {
        "seed": (library["seed"], seed),
        "kind": (library["kind"], recipe.frame.kind),
        "layout": (library["layout"]["lora"], recipe.to_json()["frame"]["lora"]),
    }
    for name, (there, wanted) in facts.items():
        if digest_json(there) != digest_json(wanted):
            return f"holds a LoRA library of another {name}"
    digests = {task.name: task.digest for task in using}
    changed = any(digests.get(name) != digest for name, digest in _hashes(library).items())
    return "holds a LoRA library of another tasks" if changed else None


def _changed(library: Mapping[str, Any], using: Sequence[Task], folder: Path) -> str | None:
    digests = {task.name: task.digest for task in using}
    for name, digest in _hashes(library).items():
        if name not in digests:
            return f"the library's task {name} is not in {folder}"
        if digests[name] != digest:
            return f"the task {name} has changed since the LoRA library was collected"
    return None


def _other_run(run: Path | None, identity: str) -> str | None:
    for name in map(state_name, (WARM_START, LANGUAGE_LOSS, DISTILLATION)):
        about = _state_about(run, name)
        if about and about.get("identity") != f"{name}/{identity}":
            return "holds a run with another recipe, data, base or seed"
    return None


def _multi_task_done(out: Path | None, recipe: Recipe) -> int:
    if out is not None and (out / FRAME_FILE).is_file():
        return recipe.multi_task.steps
    return _steps_of(out, "multi-task", recipe.multi_task.steps)


def _library_done(out: Path | None, recipe: Recipe, collected: int) -> int:
    """Steps of whole groups by their checkpoints, and of those under way by their states."""
    if out is None:
        return 0
    settings = recipe.library
    done = min(collected, len(list(checkpoint_folder(out).glob("*.safetensors"))))
    groups = -(-done // settings.adapters) if done == collected else done // settings.adapters
    states = [file.name.partition(".")[0] for file in out.glob(state_file(out, "group-*").name)]
    under_way = sum(_steps_of(out, state, settings.steps) for state in states)
    return min(groups * settings.steps + under_way, -(-collected // settings.adapters) * settings.steps)


def _steps_of(folder: Path | None, state: str, most: int) -> int:
    return min(int((_state_about(folder, state) or {}).get("step", 0)), most)


def _state_about(folder: Path | None, state: str) -> dict[str, str] | None:
    """The metadata of a training state: its header is JSON, behind its length in eight bytes."""
    if folder is None or not state_file(folder, state).is_file():
        return None
    try:
        with open(state_file(folder, state), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _LARGEST_HEADER)))
            return dict(header["__metadata__"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _paced(stages: Sequence[StagePlan], out: Path | None) -> tuple[StagePlan, ...]:
    pace = read_pace(out) if out else {}
    return tuple(replace(stage, seconds_a_step=pace.get(stage.stage)) for stage in stages)


def _lines_of(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for line in file if line.strip())


_FLOAT32, _FLOAT16 = 4, 2
# AdamW: a value and its two moments.
_STATE = 3 * _FLOAT32
# A state is written beside the one that it replaces.
_COPIES = 2


@dataclass(frozen=True)
class DiskPlan:
    """Bytes that stay when all is done, and the most that is needed beside them on the way."""

    lasting: int
    temporary: int


def collect_disk(layout: Layout, recipe: Recipe, collected: int) -> DiskPlan:
    """Frame and checkpoints of `collected` tasks; the training state of the stage under way."""
    made = layout.generated_parameters(recipe.frame.kind)
    kept = recipe.library.keep
    group = recipe.library.adapters * made * (_STATE + kept * _FLOAT32)
    lasting = (layout.parameters + collected * kept * made) * _FLOAT16
    return DiskPlan(lasting, _COPIES * max(made * _STATE, group))


def train_disk(layout: Layout, kind: str, recipe: Recipe, channels: int, tasks: int) -> DiskPlan:
    """The artifact; the encoded prompts of `tasks` tasks, at most, and the training states of the stages.

    Args:
        kind: of the library's frame.
        channels: of the condition.
    """
    import torch

    from engine.forge.rows import ANSWERED_ROWS, POOL
    from engine.generator.hyperconv import HyperConvDecoder
    from engine.weights.frame import generated_shapes
    from engine.weights.tokens import token_grid

    wanted = recipe.decoder
    grid = token_grid(generated_shapes(layout, kind), layout.lora.rank)
    first, last = (wanted.prompts, wanted.prompt_tokens, channels), (grid.tokens, grid.height, grid.width)
    with torch.device("meta"):
        decoder = HyperConvDecoder((first, *wanted.cascade, last), wanted.kernel)
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    distilled = recipe.distillation.steps > 0
    texts = POOL * wanted.prompts + (ANSWERED_ROWS if distilled else 0)
    conditions = tasks * texts * wanted.prompt_tokens * channels * _FLOAT16
    moving = parameters + (layout.generated_parameters(kind) if recipe.language_loss.frame_learning_rate else 0)
    # Of the later stages the values at the lowest held-out loss too.
    states = parameters * _STATE + _COPIES * (moving + distilled * parameters) * (_STATE + _FLOAT32)
    return DiskPlan((parameters + layout.parameters) * _FLOAT16, conditions + states)
