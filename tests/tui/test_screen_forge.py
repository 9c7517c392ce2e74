"""The Forge screen with the real engine processes on the tiny model: plan, collect, pause, resume, train, use."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.forge.plan import GeneratorView
from dnd_tui.screens.forge.run import ForgeCurves
from dnd_tui.screens.forge.screen import ForgeScreen
from dnd_tui.state.forge import ForgeChoices, RememberedChoices
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_field import PathField
from engine.requests import ContextChoice, ModelChoice, PromptChoice
from tests.tiny import write_tasks
from tests.tui.conftest import until

RECIPE = {
    "frame": {"lora": {"rank": 2, "alpha": 4}},
    "data": {"row_tokens": 120, "task_rows": 8, "pack_tokens": 160, "pack_rows": 3},
    "multi_task": {"steps": 400, "packs": 2, "warmup_steps": 1},
    "library": {"adapters": 2, "steps": 4, "keep": 2},
    "decoder": {"prompts": 4, "prompt_tokens": 16, "cascade": [[4, 4, 8], [6, 4, 8]]},
    "warm_start": {"steps": 4, "tasks": 2, "warmup_steps": 1},
    "language_loss": {"steps": 4, "tasks": 2, "warmup_steps": 1, "judge_every": 2, "swap_every": 2},
    "held_out": 2,
}


@pytest.fixture
def choices(app_folders: Path, tmp_path: Path, tiny_llama_folder: Path) -> ForgeChoices:
    """Six tiny tasks, one of another split, a recipe of a few steps; remembered from an earlier session."""
    tasks = write_tasks(tmp_path / "tasks", [f"task{number}" for number in range(6)])
    write_tasks(tasks, ["judged"], split="unseen")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    chosen = ForgeChoices(
        tasks=str(tasks),
        library=str(tmp_path / "library"),
        generator=str(tmp_path / "mine"),
        recipe=str(recipe),
        base=str(tiny_llama_folder),
        device="cpu",
    )
    RememberedChoices(app_folders / "data").save(chosen)
    return chosen


def screen(app: DndApp) -> ForgeScreen:
    assert isinstance(app.screen, ForgeScreen)
    return app.screen


def line(app: DndApp, name: str) -> str:
    return str(screen(app).query_one(f"#{name}", Static).content)


def facts(app: DndApp, name: str) -> dict[str, str]:
    return dict(screen(app).query_one(f"#{name}", Facts).lines)


def logged(folder: Path, stage: str) -> list[int]:
    """The steps of a stage in the order in which they were done."""
    lines = [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines() if text.endswith("}")]
    return [each["step"] for each in lines if each["stage"] == stage]


def paused_step(app: DndApp) -> int:
    found = re.fullmatch(r"Collecting is paused at step (\d+) of 400 of multi-task", line(app, "headline"))
    assert found, line(app, "headline")
    return int(found.group(1))


async def opened(pilot: Pilot[None], app: DndApp, stands: str) -> None:
    """The screen is there and says where the runs stand."""
    await pilot.press("6")
    await until(pilot, lambda: isinstance(app.screen, ForgeScreen), "the screen")
    await until(pilot, lambda: stands in line(app, "headline"), stands)


async def test_a_person_with_a_base_only_gets_to_a_plan_with_its_time(
    app_folders: Path, tiny_models: ModelChoice
) -> None:
    app = DndApp(models=tiny_models)
    async with app.run_test(size=(150, 45)) as pilot:
        await opened(pilot, app, "Name the folder of tasks, a folder for the LoRA library, a folder for the generator")
        assert "at least 9 tasks with 40 training rows each" in facts(app, "collect-plan")["tasks"]
        await until(pilot, lambda: app.focused and app.focused.id == "example", "the way in")
        await pilot.press("enter")
        await until(pilot, lambda: line(app, "headline") == "Ready to collect", "the plan of the example")
        assert facts(app, "collect-plan")["time"] == "press m: a few steps are timed, nothing is written"
        await until(pilot, lambda: app.focused and app.focused.id == "collect", "what comes next")
        await pilot.press("m")
        await until(pilot, lambda: facts(app, "collect-plan")["time"].startswith("about "), "the time")
        assert facts(app, "collect-plan")["time"].endswith(" left")
        assert not Path(screen(app).query_one("#library", PathField).value).exists()
        assert not app.screen.query_one("#measure").display and not app.screen.query_one("#example").display


async def test_the_whole_way(choices: ForgeChoices) -> None:
    library, generator = Path(choices.library), Path(choices.generator)
    app = DndApp()
    async with app.run_test(size=(150, 45)) as pilot:
        await opened(pilot, app, "Ready to collect")
        plan = facts(app, "collect-plan")
        assert plan["tasks"].startswith("6 with 144 rows, 2 of them held out")
        assert plan["left out"] == "1 of the split unseen" and "judged: left out" in line(app, "task-list")
        assert plan["multi-task"] == "400 steps" and plan["library"] == "8 steps"
        assert "to keep" in plan["disk"] and plan["time"].startswith("press m")
        assert facts(app, "train-plan") == {"plan": "once the LoRA library is collected"}

        await pilot.press("c")
        await until(pilot, lambda: "multi-task" in line(app, "headline"), "the first stage that trains")
        assert "wait until this run" in line(app, "waiting")
        await until(pilot, lambda: "tokens/s" in line(app, "figures") and " left" in line(app, "figures"), "figures")
        assert "memory" in line(app, "figures")
        await pilot.press("p")
        await until(pilot, lambda: not screen(app).running, "the pause")
        await until(pilot, lambda: "paused" in line(app, "headline"), "the word that it is paused")
        done, before = paused_step(app), logged(library, "multi-task")
        assert 0 < done <= before[-1] < 400
        assert facts(app, "collect-plan")["multi-task"] == f"{done} of 400 steps done"
        assert " left" in facts(app, "collect-plan")["time"]

        await pilot.press("p")
        await until(pilot, lambda: screen(app).running, "the run again")
        await until(pilot, lambda: "Ready to train" in line(app, "headline"), "the end of collecting")
        assert logged(library, "multi-task") == [*before, *range(done + 1, 401)]
        assert set(screen(app).query_one(ForgeCurves)._curves) == {"multi-task", "library"}
        assert "4 of 4 tasks done" in line(app, "figures")
        assert screen(app).query_one("#collect", Button).disabled

        await pilot.press("enter")  # the button that is wanted next has the focus
        await until(pilot, lambda: "Training is done" in line(app, "headline"), "the end of training")
        assert {"warm start", "language loss", "held out, generated"} <= set(screen(app).query_one(ForgeCurves)._curves)
        view = screen(app).query_one(GeneratorView)
        await until(pilot, lambda: view.display, "the trained generator")
        told = dict(view.query_one(Facts).lines)
        assert told["folder"] == str(generator) and told["base"] == Path(choices.base).name
        assert re.search(r"generated \d+\.\d{4}", told["held-out loss"])
        commands = facts(app, "commands")
        assert commands["collect"].startswith("dnd-tui lab collect") and choices.library in commands["train"]

        await pilot.press("u")
        assert app.models.generator == generator and app.models.base == choices.base
        assert str(generator) in app.settings_file.read_text()
        assert "In use" in str(screen(app).query_one("#use", Button).label)


async def test_a_new_session_goes_on_at_the_step_it_had(choices: ForgeChoices) -> None:
    library = Path(choices.library)
    app = DndApp()
    async with app.run_test(size=(150, 45)) as pilot:
        await opened(pilot, app, "Ready to collect")
        await pilot.press("c")
        await until(pilot, lambda: "tokens/s" in line(app, "figures"), "steps")
    # The app is gone in the middle of the run, and its engine with it.
    before = logged(library, "multi-task")
    again = DndApp()
    async with again.run_test(size=(60, 20)) as pilot:
        await opened(pilot, again, "paused at step")
        done = paused_step(again)
        assert 0 < done < 400
        curves = screen(again).query_one(ForgeCurves)
        await until(pilot, lambda: "multi-task" in curves._curves, "the curve of the run before")
        await pilot.press("p")
        await until(pilot, lambda: len(logged(library, "multi-task")) > len(before), "new steps")
        assert logged(library, "multi-task")[len(before)] == done + 1
        await pilot.press("p")
        await until(pilot, lambda: "paused" in line(again, "headline"), "the pause")


@pytest.mark.own_engine
async def test_other_jobs_wait_behind_a_run(choices: ForgeChoices, prompt_file: Path, tiny_models: ModelChoice) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, "Ready to collect")
        await pilot.press("c")
        await until(pilot, lambda: "multi-task" in line(app, "headline"), "the run")
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        await until(pilot, lambda: len(app.engine.jobs) == 2, "the second job")
        run, waits = app.engine.jobs
        await app.go("forge")
        await until(pilot, lambda: waits.title in line(app, "waiting"), "who waits")
        assert waits.began is None and app.engine.running is run
        await pilot.press("p")
        await until(pilot, lambda: waits.began is not None, "the job that waited")
        assert run.outcome is not None
        await pilot.press("c")
        await until(pilot, lambda: "Collecting waits for: generate" in line(app, "headline"), "waiting")
        await until(pilot, lambda: "multi-task" in line(app, "headline"), "the run again")


async def test_what_cannot_be_is_told_by_the_engine(choices: ForgeChoices, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "generator.json").write_text("{}")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "library.json").write_text("{")
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, "")
        await until(pilot, lambda: "✗ no plan" in facts(app, "collect-plan"), "the refusal of the plan")
        assert "broken JSON" in facts(app, "collect-plan")["✗ no plan"]
        # The key works once the button does, a moment after both plans are there.
        await until(pilot, lambda: not screen(app).query_one("#train", Button).disabled, "both plans")
        await pilot.press("t")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the refusal")
        assert "already holds a generator" in app.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape")
        assert not screen(app).running


async def test_the_first_time(app_folders: Path, choices: ForgeChoices) -> None:
    """Nothing is remembered: the fields are filled in, planned, and remembered."""
    (app_folders / "data" / "forge.json").unlink()
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot, app, "Name the folder of tasks")
        assert screen(app).query_one("#forge-panes Tabs").display
        await until(pilot, lambda: app.focused is screen(app).query_one("#example"), "the offer of an example")
        # Its button, not the field: a digit goes to another screen and is not typed.
        await pilot.press("1")
        await until(pilot, lambda: app.current_mode == "drop", "the other screen")
        await opened(pilot, app, "Name the folder of tasks")
        assert screen(app).query_one("#tasks", PathField).value == ""
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "what is missing")
        assert "the folder of tasks is not named" in app.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape")
        for name in ("tasks", "library", "recipe"):
            screen(app).query_one(f"#{name}", PathField).value = getattr(choices, name)
        await until(pilot, lambda: "Ready to collect" in line(app, "headline"), "the plan")
        assert facts(app, "collect-plan")["multi-task"] == "400 steps"
    remembered = RememberedChoices(app_folders / "data").load()
    assert remembered == replace(ForgeChoices(), tasks=choices.tasks, library=choices.library, recipe=choices.recipe)
