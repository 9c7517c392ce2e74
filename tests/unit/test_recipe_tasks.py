"""Recipes and task folders: what is read, and what is said of broken ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.forge.recipe import Recipe, data_of_history, read_recipe, recipe_from_json
from engine.generator.about import read_about
from engine.released import released_generator
from engine.tasks.tasks import read_rows, read_tasks, without_instruction
from tests.tiny import write_tasks


def test_a_recipe_names_only_what_differs() -> None:
    recipe = recipe_from_json({"multi_task": {"steps": 7}, "exclude": ["a*"], "held_out": 1})
    assert recipe.multi_task.steps == 7 and recipe.exclude == ("a*",)
    assert recipe.library == Recipe().library
    assert recipe_from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"multitask": {}}, "unknown setting 'multitask'.*multi_task"),
        ({"library": {"steps": "many"}}, "library, steps: should be int"),
        ({"library": {"steps": -1}}, "library, steps: should not be negative"),
        ({"library": 3}, "library: should be a table"),
        ({"exclude": "x"}, "exclude: should be a list"),
        ({"compile": 1}, "compile: should be true or false"),
        ({"data": {"variants": 3}}, "no further tasks are made.*Leave data.variants out"),
    ],
)
def test_a_wrong_recipe_says_where(data: dict, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        recipe_from_json(data)


def test_a_recipe_that_was_kept_before_a_setting_went_is_read() -> None:
    kept = {"row_tokens": 99, "variants": 0, "variant_share": 0.5}
    assert recipe_from_json({"data": kept}).data.row_tokens == 99
    assert data_of_history({"data": kept | {"variants": 3}, "warm_start": 1}).row_tokens == 99
    history = read_about(released_generator())["history"]
    assert recipe_from_json(history["recipe"]).data == data_of_history(history["recipe"])


def test_every_recipe_that_comes_along_can_be_read_and_keeps_the_same_tasks_out() -> None:
    folder = released_generator()
    paths = sorted(folder.glob("recipe*.json"))
    assert folder / "recipe.json" in paths and len(paths) > 1
    released = read_recipe(folder / "recipe.json")
    for path in paths:
        recipe = read_recipe(path)
        assert recipe.exclude == released.exclude and recipe.held_out == released.held_out
        assert recipe.decoder.kernel % 2 and all(len(shape) == 3 for shape in recipe.decoder.cascade)
    assert read_recipe(folder / "leave-one-out.json").library.adapters == 5  # its script says which set is left out


def test_broken_recipe_json_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{\n "held_out": 1,\n}')
    with pytest.raises(EngineError, match=r"recipe\.json, line 3"):
        read_recipe(path)


def test_tasks_are_of_one_split_without_the_excluded(tmp_path: Path) -> None:
    write_tasks(tmp_path, ["b", "a", "a_sibling"])
    write_tasks(tmp_path, ["judged"], split="unseen")
    assert [task.name for task in read_tasks(tmp_path, "seen", ["*_sibling"])] == ["a", "b"]
    with pytest.raises(EngineError, match="no task of split 'other'.*seen, unseen"):
        read_tasks(tmp_path, "other")


def test_a_broken_row_names_file_and_line(tmp_path: Path) -> None:
    write_tasks(tmp_path, ["a"], rows=2)
    path = tmp_path / "a.train.jsonl"
    path.write_text(path.read_text() + '{"prompt": "x"}\n')
    with pytest.raises(EngineError, match=r"a\.train\.jsonl, line 3: a task row needs"):
        read_rows(path)


def test_the_instruction_is_the_first_paragraph() -> None:
    assert without_instruction("Do this.\n\nthe input\n\nmore") == "the input\n\nmore"
    assert without_instruction("only one paragraph") == "only one paragraph"
    assert without_instruction("Do this.\n\n  ") == "Do this.\n\n  "
