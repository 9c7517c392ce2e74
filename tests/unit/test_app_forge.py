"""What the Forge screen says of plans and runs, and what it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dnd_tui.screens.forge.plan import plan_lines, standing, task_list
from dnd_tui.screens.forge.run import RunFigures
from dnd_tui.state.forge import FILE_NAME, ForgeChoices, RememberedChoices
from engine.errors import EngineError
from engine.events import StageAdvanced, StageStarted
from engine.requests import CollectRequest, ModelChoice, TrainRequest


def stage(name: str, steps: int, done: int = 0, left: float | None = None, unit: str = "steps") -> dict[str, Any]:
    return {"stage": name, "unit": unit, "steps": steps, "done": done, "seconds_left": left}


def plan(*stages: dict[str, Any], kind: str = "collect", **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "kind": kind,
        "tasks": {
            "used": [{"name": "one", "rows": 1200}, {"name": "two", "rows": 40}],
            "left_out": [{"name": "judged", "reason": "of the split unseen"}],
            "held_out": 1,
            "collected": 12,
            "settled": True,
        },
        "stages": [stage("tokenize", 2, unit="tasks"), *stages],
        "disk": {"lasting": 2_000_000, "temporary": 5_000_000, "free": 80_000_000_000},
        "refusal": None,
        "finished": False,
    }
    return data | changes


FRESH = plan(stage("multi-task", 400), stage("library", 90))


def test_a_fresh_plan_names_tasks_and_leaves_the_time_open() -> None:
    told = dict(plan_lines(FRESH))
    assert told["tasks"] == "2 with 1,240 rows, 1 of them held out"
    assert told["left out"] == "1 of the split unseen"
    assert told["multi-task"] == "400 steps"
    assert told["disk"] == "2 MB to keep, 5 MB on the way; 80.0 GB free"
    assert told["time"] == "press m: a few steps are timed, nothing is written"
    assert task_list(FRESH).splitlines() == [
        "✓ one: 1200 rows", "✓ two: 40 rows", "· judged: left out, of the split unseen",
    ]  # fmt: skip


def test_measured_stages_are_estimated_and_the_others_named() -> None:
    begun = plan(stage("multi-task", 400, 120, 140.0), stage("library", 90))
    told = dict(plan_lines(begun))
    assert told["multi-task"] == "120 of 400 steps done"
    assert told["time"] == "2 min 20 s left, library after the first measured steps"


def test_too_little_room_and_a_refusal_are_said_with_a_sign() -> None:
    full = plan(stage("library", 90), disk={"lasting": 20, "temporary": 5, "free": 24}, refusal="holds another seed")
    told = dict(plan_lines(full))
    assert told["disk"].startswith("✗ too little room") and told["state"] == "✗ cannot start: holds another seed"


@pytest.mark.parametrize(
    ("collecting", "training", "expected"),
    [
        (None, None, ""),
        (FRESH, None, "Ready to collect"),
        (plan(stage("multi-task", 400, 120), stage("library", 90)), None,
         "Collecting is paused at step 120 of 400 of multi-task"),
        (plan(stage("multi-task", 400, 400), stage("library", 90)), None,
         "Collecting is paused at step 0 of 90 of library"),
        (plan(finished=True), plan(stage("warm start", 9), kind="train"), "Collecting is done. Ready to train"),
        (plan(finished=True), plan(stage("warm start", 9, 4), kind="train"),
         "Training is paused at step 4 of 9 of warm start"),
        (plan(refusal="holds another seed"), plan(stage("warm start", 9), kind="train"),
         "Collecting cannot start: holds another seed. Ready to train"),
        (FRESH, plan(kind="train", finished=True, refusal="already holds a generator"), "Training is done"),
    ],
)  # fmt: skip
def test_standing(collecting: Any, training: Any, expected: str) -> None:
    assert standing(collecting, training) == expected


def test_figures_of_a_run() -> None:
    figures = RunFigures(plan(stage("library", 100), stage("more", 10, 0, 30.0)))
    figures.handle(StageStarted("library", 100))
    figures.handle(StageAdvanced("library", 40, 100, 0.0))
    # 40 steps were done by an earlier run: the pace is that of the ten since.
    figures.handle(
        StageAdvanced("library", 50, 100, 5.0, {"tokens_per_second": 1310.4, "tasks_done": 3.0}, 412_000_000)
    )
    assert figures.place == "library 50/100"
    assert figures.text() == "3 of 12 tasks done, 1310 tokens/s, 412 MB memory, 55.0 s left"
    figures.end(70.0)
    assert figures.text().startswith("ran for 1 min 10 s") and "left" not in figures.text()


def test_choices_are_remembered(tmp_path: Path) -> None:
    remembered = RememberedChoices(tmp_path / "data")
    assert remembered.load() is None
    chosen = ForgeChoices(tasks="~/täsks", library="lib", seed="7")
    remembered.save(chosen)
    assert RememberedChoices(tmp_path / "data").load() == chosen


@pytest.mark.parametrize("text", ["", "{", '{"version": 9}', '{"version": 1, "tasks": 3}', "[]"])
def test_a_file_that_is_not_ours_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert RememberedChoices(tmp_path).load() is None


def test_requests_of_both_runs() -> None:
    chosen = ForgeChoices(tasks="/t", library="/l", generator="/g", base="org/model", device="cuda", seed="5")
    models = ModelChoice(generator=Path("/other"), dtype="float16")
    collect, train = chosen.request("collect", models), chosen.request("train", models)
    expected = ModelChoice(base="org/model", device="cuda", dtype="float16")
    assert collect == CollectRequest(models=expected, tasks=Path("/t"), out=Path("/l"), seed=5)
    assert train == TrainRequest(models=expected, tasks=Path("/t"), library=Path("/l"), out=Path("/g"), seed=5)
    plans = chosen.plan_requests(models)
    assert (plans["collect"].out, plans["train"].library, plans["train"].out) == (Path("/l"), Path("/l"), Path("/g"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"tasks": " "}, "folder of tasks is not named"), ({"generator": ""}, "for the generator is not named"),
     ({"seed": "x"}, "whole number"), ({"tasks": "~nobody-of-that-name/x"}, "home folder")],
)  # fmt: skip
def test_what_is_missing_is_said(changes: dict[str, str], problem: str) -> None:
    whole = {"tasks": "/t", "library": "/l", "generator": "/g"}
    with pytest.raises(EngineError, match=problem):
        ForgeChoices(**(whole | changes)).request("train", ModelChoice())
