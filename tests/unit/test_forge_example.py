"""The example folder of tasks: what it holds is what `collect` asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.forge.example import RECIPE_NAME, example_tasks, write_example
from engine.forge.plan import least_tasks, plan_collect
from engine.forge.recipe import Recipe, read_recipe
from engine.tasks.tasks import read_rows, read_tasks


def test_the_example_can_be_collected_with_its_own_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write_example(folder)
    plan = plan_collect(folder, read_recipe(folder / RECIPE_NAME), None, 0)
    assert plan.refusal is None and plan.tasks.left_out == ()
    assert len(plan.tasks.used) == len(example_tasks()) and plan.collected == len(plan.tasks.used) - 3
    # Every stage that trains says what it reads, so that its time can be estimated.
    assert all(stage.tokens_a_step for stage in plan.stages if stage.unit == "steps")


def test_rows_are_in_one_half_only_and_answers_fit(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write_example(folder)
    for task in read_tasks(folder, "seen"):
        train, test = read_rows(task.train_path), read_rows(task.test_path)
        assert len(train) == 36 and len(test) == 12
        assert not {row.prompt for row in train} & {row.prompt for row in test}, task.name
    backwards = read_rows(folder / "backwards.train.jsonl")
    assert all(row.prompt.split()[-1] == row.response[::-1] for row in backwards)


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(EngineError):
        write_example(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_too_few_tasks_are_refused_with_the_least_number(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    write_example(folder)
    refusal = plan_collect(folder, Recipe(), None, 0).refusal
    assert refusal == f"no task here can be used; it needs {least_tasks(Recipe())}"
    assert least_tasks(Recipe()).startswith("at least 9 tasks with 40 training rows each")
