"""What collecting or training would do, shown before it does it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.base.catalog import DEFAULT_BASE, DEFAULT_ENCODER, bundled_base
from engine.base.convert import converted_base
from engine.base.fetch import find_model_files
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.files import read_json
from engine.forge.places import LIBRARY_FILE
from engine.forge.plan import DiskPlan, Plan, StagePlan, collect_disk, plan_collect, plan_train, train_disk
from engine.forge.recipe import read_recipe
from engine.generator.about import read_about
from engine.jobs.results import Result
from engine.released import released_generator
from engine.requests import PlanRequest
from engine.text import readable_size
from engine.weights.layout import Layout, LoraSpec


def plan_job(request: PlanRequest, reporter: Reporter) -> Result:
    """Tasks, stages, disk and what is done already, of `collect` or `train`."""
    if request.kind == "collect":
        recipe = read_recipe(request.recipe)
        plan = plan_collect(request.tasks, recipe, request.out, request.seed)
        layout = _layout(request, recipe.frame.lora, reporter)
        disk = collect_disk(layout, recipe, plan.collected) if layout else None
    elif request.library:
        chosen = read_recipe(request.recipe) if request.recipe else None
        plan = plan_train(request.tasks, request.library, chosen, request.out, request.seed)
        disk = _train_disk(request.library, plan, reporter)
    else:
        hint = f"Name the folder of `collect` with {setting('library')}"
        raise EngineError("training needs a LoRA library", hint=hint)
    data: dict[str, Any] = {
        "kind": request.kind,
        "recipe": plan.recipe.to_json(),
        "tasks": {
            "used": [{"name": name, "rows": rows} for name, rows in plan.tasks.used],
            "left_out": [{"name": name, "reason": reason} for name, reason in plan.tasks.left_out],
            "held_out": plan.tasks.held_out,
            "collected": plan.collected,
            "settled": plan.tasks.settled,
        },
        "stages": [asdict(stage) | {"seconds_left": stage.seconds_left} for stage in plan.stages],
        "disk": asdict(disk) | {"free": _free(request)} if disk else None,
        "refusal": plan.refusal,
        "finished": plan.finished,
    }
    return Result(data, _lines(plan, disk))


def _layout(request: PlanRequest, lora: LoraSpec, reporter: Reporter) -> Layout | None:
    """Of a base that is here; nothing is fetched for it, and for the default base nothing is loaded either."""
    base = request.models.base
    if request.out and (request.out / LIBRARY_FILE).is_file():
        return Layout.from_json(read_json(request.out / LIBRARY_FILE)["layout"])
    bundled = bundled_base(base)
    if bundled is DEFAULT_BASE:
        known = _default_layout(request.models.generator)
        if known and known.lora == lora:
            return known
    folder = converted_base(bundled) if bundled else Path(base).expanduser()
    if folder is None or not (folder / "config.json").is_file():
        return None
    with reporter.stage("import"):
        from engine.base.load import resolve_base
        from engine.weights.layout import derive_layout

        trusted = request.models.trust_remote_code
        return derive_layout(resolve_base(base, trust_remote_code=trusted).config, lora)


def _default_layout(generator: Path | None) -> Layout | None:
    """The layout of the default base that a generator for it carries."""
    try:
        about = read_about(generator or released_generator())
    except EngineError:
        return None
    return Layout.from_json(about["layout"]) if about["base"]["id"] == DEFAULT_BASE.hub_id else None


def _train_disk(library: Path, plan: Plan, reporter: Reporter) -> DiskPlan | None:
    """None until the encoder is here: its width is part of every shape."""
    encoder = find_model_files(DEFAULT_ENCODER)
    if encoder is None:
        return None
    about = read_json(library / LIBRARY_FILE)
    channels = int(read_json(encoder / "config.json")["hidden_size"])
    layout = Layout.from_json(about["layout"])
    encoded = next(stage.steps for stage in plan.stages if stage.stage == "encode")
    with reporter.stage("import"):
        return train_disk(layout, about["kind"], plan.recipe, channels, encoded)


def _free(request: PlanRequest) -> int | None:
    """Bytes free where `out` is or will be."""
    if request.out is None:
        return None
    place = next(each for each in (request.out.absolute(), *request.out.absolute().parents) if each.exists())
    return shutil.disk_usage(place).free


def _lines(plan: Plan, disk: DiskPlan | None) -> tuple[tuple[str, str], ...]:
    tasks = plan.tasks
    reasons = Counter(reason.partition(":")[0] for _, reason in tasks.left_out)
    more = "" if tasks.settled else "; tasks with too many long rows will be left out"
    lines = [
        ("tasks", f"{len(tasks.used)}, of which {tasks.held_out} held out{more}"),
        *(("left out", f"{count} {reason}") for reason, count in reasons.items()),
        *((stage.stage, _stage_line(stage)) for stage in plan.stages),
    ]
    if disk:
        lines += [("disk", f"{readable_size(disk.lasting)}, and {readable_size(disk.temporary)} on the way")]
    if plan.finished:
        lines += [("state", "finished")]
    elif plan.refusal:
        lines += [("state", f"it would not go on there: {plan.refusal}")]
    return tuple(lines)


def _stage_line(stage: StagePlan) -> str:
    done = f"{stage.done} of {stage.steps} {stage.unit} done" if stage.done else f"{stage.steps} {stage.unit}"
    left = f", about {stage.seconds_left:.0f} s left" if stage.seconds_left else ""
    return done + left
