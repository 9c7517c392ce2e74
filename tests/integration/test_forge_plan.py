"""The plan of collect and train against what they do: the same stages, steps, tasks and bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageAdvanced, StageStarted
from engine.forge.curves import read_curves
from engine.jobs import run
from engine.requests import CollectRequest, ModelChoice, PlanRequest, TrainRequest
from tests.tiny import write_tasks

RECIPE: dict[str, Any] = {
    "frame": {"lora": {"rank": 2, "alpha": 4}},
    "data": {"row_tokens": 120, "task_rows": 8, "pack_tokens": 160, "pack_rows": 3},
    "multi_task": {"steps": 3, "packs": 2, "warmup_steps": 1},
    "library": {"adapters": 2, "steps": 3, "keep": 2},
    "decoder": {"prompts": 4, "prompt_tokens": 16, "cascade": [[4, 4, 8], [6, 4, 8]]},
    "warm_start": {"steps": 3, "tasks": 2, "warmup_steps": 1},
    "language_loss": {"steps": 4, "tasks": 2, "warmup_steps": 1, "judge_every": 2, "swap_every": 2},
    "exclude": ["other*"],
    "held_out": 2,
}


class Made:
    """A library and a generator, made once; with the plans before and after, and what was reported."""

    def __init__(self, folder: Path, base: Path) -> None:
        tasks = write_tasks(folder / "tasks", [f"task{number}" for number in range(7)])
        write_tasks(tasks, ["judged"], split="unseen")
        write_tasks(tasks, ["other_one", "other_two"])
        write_tasks(tasks, ["small"], rows=3)
        recipe = folder / "recipe.json"
        recipe.write_text(json.dumps(RECIPE))
        models = ModelChoice(base=str(base), device="cpu")
        self.folder, self.models = folder, models
        self.collect = CollectRequest(models=models, tasks=tasks, out=folder / "library", recipe=recipe)
        self.train = TrainRequest(models=models, tasks=tasks, library=folder / "library", out=folder / "generator")
        self.before = {"collect": self.plan("collect")}
        self.events: dict[str, list[Event]] = {"collect": [], "train": []}
        run(self.collect, Reporter(self.events["collect"].append))
        self.before["train"] = self.plan("train")
        run(self.train, Reporter(self.events["train"].append))

    def plan(self, kind: str, **changes: Any) -> dict[str, Any]:
        request = self.collect if kind == "collect" else self.train
        asked = PlanRequest(
            kind=kind,
            models=self.models,
            tasks=request.tasks,
            library=self.train.library if kind == "train" else None,
            out=request.out,
            recipe=self.collect.recipe if kind == "collect" else None,
        )
        return run(replace(asked, **changes), Reporter()).to_json()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_llama_folder: Path) -> Made:
    return Made(tmp_path_factory.mktemp("forge"), tiny_llama_folder)


def stages(plan: dict[str, Any], field: str) -> dict[str, Any]:
    return {stage["stage"]: stage[field] for stage in plan["stages"]}


def stop_after(stage: str, step: int) -> Reporter:
    """Asks to stop once `step` steps of `stage` are done."""
    seen: list[Event] = []

    def reached() -> bool:
        return any(isinstance(e, StageAdvanced) and e.stage == stage and e.step >= step for e in seen)

    return Reporter(seen.append, reached)


def values(file: Path, *, without: str = "-") -> int:
    """Bytes of all tensors of a file."""
    with safe_open(file, framework="pt") as tensors:
        found = [tensors.get_tensor(name) for name in tensors.keys() if name != without]  # noqa: SIM118
    return sum(tensor.numel() * tensor.element_size() for tensor in found)


def test_tasks_are_told_with_the_reason_why_one_is_left_out(made: Made) -> None:
    tasks = made.before["collect"]["tasks"]
    assert [task["name"] for task in tasks["used"]] == [f"task{number}" for number in range(7)]
    assert tasks["used"][0]["rows"] == 24
    assert {task["name"]: task["reason"] for task in tasks["left_out"]} == {
        "judged": "of the split unseen",
        "other_one": "by the recipe: other*",
        "other_two": "by the recipe: other*",
        "small": "fewer than 8 rows",
    }
    assert (tasks["held_out"], tasks["collected"], tasks["settled"]) == (2, 5, False)
    settled = made.before["train"]["tasks"]
    assert (len(settled["used"]), settled["held_out"], settled["settled"]) == (7, 2, True)
    assert {task["reason"] for task in settled["left_out"]} >= {"not in the library", "of the split unseen"}


@pytest.mark.parametrize("kind", ["collect", "train"])
def test_stages_and_their_steps_are_those_that_the_run_reports(made: Made, kind: str) -> None:
    planned = stages(made.before[kind], "steps")
    started = {
        event.stage: event.total
        for event in made.events[kind]
        if isinstance(event, StageStarted) and event.stage not in ("import", "load")
    }
    assert planned == started and list(planned) == list(started)
    assert set(stages(made.before[kind], "done").values()) == {0}
    assert set(stages(made.before[kind], "seconds_left").values()) == {None}


@pytest.mark.parametrize("kind", ["collect", "train"])
def test_the_disk_is_what_the_run_writes(made: Made, kind: str) -> None:
    disk = made.before[kind]["disk"]
    if kind == "collect":
        files = [made.collect.out / "frame.safetensors", *made.collect.out.glob("checkpoints/*.safetensors")]
        assert len(files) == 1 + 5
        assert disk["lasting"] == sum(map(values, files))
    else:
        assert disk["lasting"] == values(made.train.out / "generator.safetensors", without="scales")
    assert disk["temporary"] > 0 and disk["free"] > 0


def test_what_is_finished_is_told(made: Made) -> None:
    done = made.plan("collect")
    assert done["finished"] and done["refusal"] is None
    assert stages(done, "done") | {"tokenize": 0} == stages(done, "steps") | {"tokenize": 0}
    trained = made.plan("train")
    assert trained["finished"] and trained["refusal"] == "already holds a generator"
    assert set(stages(trained, "seconds_left").values()) == {0.0}


def test_every_stage_tells_enough_for_live_curves_and_its_log_gives_the_same(made: Made) -> None:
    curves = read_curves(made.collect.out) | read_curves(made.train.out)
    for stage in ("multi-task", "library", "warm start", "language loss"):
        advanced = [
            event
            for event in (*made.events["collect"], *made.events["train"])
            if isinstance(event, StageAdvanced) and event.stage == stage and "loss" in event.figures
        ]
        assert all(event.total is not None for event in advanced)
        assert curves[stage] == [(event.step, round(event.figures["loss"], 6)) for event in advanced]
        assert [event.step for event in advanced] == list(range(1, advanced[-1].total + 1))
        assert stage == "warm start" or all(event.figures["tokens_per_second"] > 0 for event in advanced)
        if stage == "library":
            assert [event.figures["tasks_done"] for event in advanced] == [0, 0, 2, 2, 2, 4, 4, 4, 5]
    assert [step for step, _ in curves["held_out_generated"]] == [2, 4]


def test_a_stopped_collection_is_told_with_what_is_left(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "library"
    for stage, step in (("multi-task", 1), ("library", 5)):
        with pytest.raises(Cancelled):
            run(replace(made.collect, out=out), stop_after(stage, step))
        plan = made.plan("collect", out=out)
        done, left = stages(plan, "done"), stages(plan, "seconds_left")
        assert not plan["finished"] and plan["refusal"] is None
        # The stop is heard after the step that follows; where steps take milliseconds not each of them is written.
        assert 1 <= done[stage] <= step + 1 and left[stage] > 0
        if stage == "multi-task":
            assert done["library"] == 0 and left["library"] is None
    assert done["multi-task"] == 3 and done["library"] >= 3


def test_a_stopped_training_is_told_with_what_is_left(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "generator"
    with pytest.raises(Cancelled):
        run(replace(made.train, out=out), stop_after("language loss", 2))
    plan = made.plan("train", out=out)
    done = stages(plan, "done")
    assert (done["encode"], done["warm start"]) == (7, 3) and 1 <= done["language loss"] <= 3
    assert stages(plan, "seconds_left")["language loss"] > 0 and plan["refusal"] is None
    assert "another recipe" in made.plan("train", out=out, seed=1)["refusal"]


def test_what_the_command_would_refuse_is_told(made: Made, tmp_path: Path) -> None:
    assert made.plan("collect", seed=1)["refusal"] == "holds a LoRA library of another seed"
    other = tmp_path / "recipe.json"
    other.write_text(json.dumps(RECIPE | {"held_out": 7}))
    refusal = made.plan("collect", out=None, recipe=other)["refusal"]
    needed = "at least 8 tasks with 8 training rows each: 7 are only watched, the rest is trained on"
    assert refusal == f"only 7 tasks can be used; it needs {needed}"
    with pytest.raises(EngineError, match="is not a LoRA library"):
        made.plan("train", library=tmp_path)
    with pytest.raises(EngineError, match="needs a LoRA library"):
        made.plan("train", library=None)
    tasks = write_tasks(tmp_path / "tasks", [f"task{number}" for number in range(7)], seed=1)
    assert made.plan("collect", tasks=tasks)["refusal"] == "holds a LoRA library of another tasks"
    assert "has changed" in made.plan("train", tasks=tasks, out=tmp_path / "new")["refusal"]


def test_nothing_heavy_is_needed_for_the_default_base(made: Made) -> None:
    script = (
        "import sys; from pathlib import Path; from engine.events import Reporter; from engine.jobs import run; "
        "from engine.requests import ModelChoice, PlanRequest; "
        "plan = PlanRequest(kind='collect', models=ModelChoice(), tasks=Path(sys.argv[1])); "
        "data = run(plan, Reporter()).to_json(); sys.exit('torch' in sys.modules or data['disk'] is None)"
    )
    command = [sys.executable, "-c", script, str(made.collect.tasks)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == 0
