"""The scripts that made the released generator and its tables, at small size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_forge import RECIPE
from tests.tiny import write_tasks

SCRIPTS = Path(__file__).parents[2] / "assets" / "generator"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    return path


def run_script(name: str, *arguments: Path | str, **settings: str) -> None:
    environment = os.environ | {"PYTHON": sys.executable, "ROWS": "2", "SEEDS": "1"} | settings
    done = subprocess.run(
        [str(SCRIPTS / name), *map(str, arguments), "--device", "cpu"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr


def test_tasks_and_a_recipe_become_a_generator_and_its_table(
    tiny_llama_folder: Path, recipe: Path, tmp_path: Path
) -> None:
    tasks = write_tasks(tmp_path / "tasks", [f"task{number}" for number in range(4)])
    write_tasks(tasks, ["judged"], split="unseen")
    arms = "--arm multi_task --arm generated"
    two = {
        "LAUNCH": "python -m torch.distributed.run --standalone --nproc_per_node 2",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    for settings in (two, {}):  # once more: what is finished stays
        run_script("make.sh", tasks, tmp_path / "out", recipe, "--base", tiny_llama_folder, ARMS=arms, **settings)
    start = str(tmp_path / "out" / "generator")
    run_script("make.sh", tasks, tmp_path / "more", recipe, "--base", tiny_llama_folder, ARMS=arms, START=start)
    assert "start" in json.loads((tmp_path / "more" / "library" / "library.json").read_text())
    table = json.loads((tmp_path / "out" / "table" / "table.json").read_text())
    assert [task["name"] for task in table["tasks"]] == ["judged"]
    assert {"multi_task", "generated"} <= set(table["tasks"][0]["score"])
    about = json.loads((tmp_path / "out" / "generator" / "generator.json").read_text())
    assert "judged" not in json.dumps(about)
    drawn = (tmp_path / "out" / "generator" / "curve.svg").read_text()
    assert all(stage in drawn for stage in ("multi-task", "library", "warm start", "language loss", "held-out tasks"))


def test_each_set_is_judged_by_what_the_others_made(tiny_llama_folder: Path, recipe: Path, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", ["one", "other", "further"], split="unseen")
    out = tmp_path / "out"
    for _ in range(2):
        run_script("leave-one-out.sh", tasks, out, recipe, "--base", tiny_llama_folder, SETS="one other")
    assert not set(os.listdir(out / "sets")) & {"further.train.jsonl", "further.test.jsonl"}
    for name, trained_on in (("one", "other"), ("other", "one")):
        about = json.loads((out / name / "library" / "library.json").read_text())
        assert list(about["tasks"]) == [trained_on]
    sets = json.loads((out / "table" / "leave_one_out.json").read_text())["sets"]
    assert [(one["name"], one["best_of"]) for one in sets] == [("one", "other"), ("other", "one")]
