"""Context distillation on a tiny base: the adapter learns to act as the frame that reads the context."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import Cancelled
from engine.events import Reporter
from engine.forge.places import LOG_FILE, run_folder
from engine.generator.artifact import load_generator
from engine.jobs import run
from engine.jobs.plan import plan_job
from engine.requests import CollectRequest, ModelChoice, PlanRequest, TrainRequest
from tests.integration.test_forge import RECIPE, stop_after
from tests.tiny import write_tasks

SETTINGS: dict[str, Any] = RECIPE | {
    "multi_task": {"steps": 12, "packs": 2, "learning_rate": 0.02, "warmup_steps": 2},
    "warm_start": {"steps": 0},
    "language_loss": {"steps": 0},
    "distillation": {"steps": 12, "tasks": 3, "warmup_steps": 1, "examples": 2, "judge_every": 6, "answered": 0.4},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_llama_folder: Path) -> TrainRequest:
    """A library, and what is asked of the generator on it."""
    folder = tmp_path_factory.mktemp("distillation")
    tasks = write_tasks(folder / "tasks", [f"task{number}" for number in range(6)])
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(SETTINGS))
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu", dtype="float32")
    run(CollectRequest(models=models, tasks=tasks, out=folder / "library", recipe=recipe), Reporter())
    return TrainRequest(models=models, tasks=tasks, library=folder / "library", out=folder / "generator", recipe=recipe)


def steps_of(request: TrainRequest) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder(request.out) / LOG_FILE).read_text().splitlines()]


def test_a_stopped_distillation_goes_on_and_ends_the_same(prepared: TrainRequest, tmp_path: Path) -> None:
    whole, parts = replace(prepared, out=tmp_path / "whole"), replace(prepared, out=tmp_path / "parts")
    run(whole, Reporter())
    with pytest.raises(Cancelled):
        run(parts, stop_after("distillation", 5))
    run(parts, Reporter())
    one, other = load_generator(whole.out), load_generator(parts.out).decoder.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.decoder.state_dict().items())
    logged = [line for line in steps_of(whole) if line["stage"] == "distillation"]
    assert [line["step"] for line in logged] == list(range(1, 13))
    # A decoder that is not trained gives the frame's adapter: with the instruction in sight nothing is to learn.
    assert logged[0].get("in sight", 0.0) < 1e-4 < logged[0].get("instruction", 1.0)
    watched = [line for line in steps_of(whole) if line["stage"] == "held-out"]
    assert [line["step"] for line in watched] == [6, 12]
    assert {"generated", "hidden_generated", "hidden_multi_task"} <= set(watched[0])
    assert one.spec.history["losses"].keys() == watched[0].keys() - {"stage", "step", "time"}
    assert "without the instruction" in (whole.out / "README.md").read_text()


def test_distillation_brings_the_adapter_near_the_frame_that_reads_the_instruction(
    prepared: TrainRequest, tmp_path: Path
) -> None:
    settings = SETTINGS | {
        "decoder": SETTINGS["decoder"] | {"scale": 64},
        "distillation": {"steps": 60, "tasks": 4, "warmup_steps": 2, "answered": 0, "in_sight": 0, "judge_every": 0},
    }
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(settings))
    request = replace(prepared, out=tmp_path / "generator", recipe=recipe)
    run(request, Reporter())
    losses = [line["loss"] for line in steps_of(request) if line["stage"] == "distillation"]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_plan_counts_the_steps_of_a_distillation(prepared: TrainRequest) -> None:
    request = PlanRequest(
        kind="train",
        models=prepared.models,
        tasks=prepared.tasks,
        library=prepared.library,
        out=prepared.out,
        recipe=prepared.recipe,
    )
    plan = plan_job(request, Reporter()).to_json()
    stages = {stage["stage"]: stage["steps"] for stage in plan["stages"]}
    assert stages["distillation"] == 12 and "language loss" not in stages
