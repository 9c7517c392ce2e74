"""The whole way in one app: drop -> preview -> generate -> compare -> export."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Select

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.rows import ComparedPrompt
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.export.screen import ExportScreen
from dnd_tui.screens.generate.screen import GenerateScreen
from dnd_tui.state.adapter_record import AdapterRecord
from engine.adapter.peft_folder import read_peft_folder
from engine.base.load import LoadedBase
from engine.released import example_prompts
from engine.requests import ModelChoice
from engine.solver.plan import GENERATOR
from tests.tui.conftest import until
from tests.tui.on_screen import click_on, lines, shows

SMALL, LARGE = (60, 20), (120, 40)


@pytest.fixture
def here(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the settings have exports go there. Paths in it would break markup, if taken for it."""
    folder = app_folders / "here ["
    folder.mkdir()
    monkeypatch.chdir(folder)
    (app_folders / "config").mkdir()
    (app_folders / "config" / "config.toml").write_text(f"exports = '{folder}'\n")
    return folder


async def previewed(pilot: Pilot[None], app: DndApp, name: str) -> None:
    def ready() -> bool:
        return shows(app, name) and not any(button.disabled for button in app.screen.query("#generate").results(Button))

    await until(pilot, lambda: shows(app, name), f"the preview of {name}")
    await until(pilot, ready, "the button")


async def made(pilot: Pilot[None], app: DndApp) -> AdapterRecord:
    def done() -> bool:
        screen = app.screen
        return isinstance(screen, GenerateScreen) and not screen.running and screen.record is not None

    await until(pilot, done, "an adapter")
    assert isinstance(app.screen, GenerateScreen) and app.screen.record
    return app.screen.record


async def answered(pilot: Pilot[None], app: DndApp, number: int) -> None:
    def done() -> bool:
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        return number in screen.comparison.prompts and screen.comparison.prompts[number].done and not screen.running

    await until(pilot, done, f"the answers to prompt {number}")
    await until(pilot, lambda: shows(app, "to first"), "the answers on the screen")


def prompts_of(app: DndApp) -> list[ComparedPrompt]:
    assert isinstance(app.screen, CompareScreen)
    return list(app.screen.comparison.prompts.values())


async def exported(pilot: Pilot[None], app: DndApp) -> None:
    await until(pilot, lambda: shows(app, "Exported, reloaded and compared"), "the export")


def check(app: DndApp, record: AdapterRecord, folder: Path) -> None:
    """What must be there in the end."""
    generated, written = read_peft_folder(record.folder)[0], read_peft_folder(folder)[0]
    assert written.layout == generated.layout
    kept = app.library.record(record.id)
    assert {score.arm: score.rows for score in kept.scores} == {"base": 1, "adapted": 1}
    assert kept.picks == {"base": 0, "adapted": 1}


async def test_by_keyboard(app_folders: Path, here: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    """In a small terminal, and again after it was made larger."""
    app = DndApp(models=tiny_models)
    async with app.run_test(size=SMALL) as pilot:
        for name, size in (("small", SMALL), ("large", LARGE)):
            await pilot.resize_terminal(*size)
            shutil.copy(prompt_file, f"{name} set.jsonl")
            await pilot.press("1", "escape", "slash", "ctrl+u", *(f"{name} set.jsonl"), "enter")
            await previewed(pilot, app, f"{name} set.jsonl")
            await pilot.press("enter")
            record = await made(pilot, app)
            await pilot.press("enter")
            await until(pilot, lambda: shows(app, "…dog?"), "the prompts")
            await pilot.press("down", "enter")
            await answered(pilot, app, 2)
            await pilot.press("n", "e")
            await until(pilot, lambda: isinstance(app.screen, ExportScreen), "the export screen")
            await pilot.press("enter")
            await exported(pilot, app)
            check(app, record, here / f"{name}-set-float32")
            await pilot.press("5")
            await until(pilot, partial(shows, app, record.name), "the adapter in the library")


async def test_by_mouse(app_folders: Path, here: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    """In a large terminal, and again after it was made smaller."""
    app = DndApp(models=tiny_models)
    async with app.run_test(size=LARGE) as pilot:
        for name, size in (("large", LARGE), ("small", SMALL)):
            await pilot.resize_terminal(*size)
            prompts = shutil.copy(prompt_file, here / f"{name} [b] set].jsonl")
            app.post_message(events.Paste(f"'{prompts}' "))  # the mouse dropped it on the terminal
            await previewed(pilot, app, f"{name} [b] set].jsonl")
            await click_on(pilot, "Generate adapter")
            record = await made(pilot, app)
            await click_on(pilot, "Compare")
            await until(pilot, lambda: shows(app, "…dog?"), "the prompts")
            await click_on(pilot, "…dog?")
            await click_on(pilot, "Run")
            await answered(pilot, app, 2)
            await click_on(pilot, "Pick adapted")
            await click_on(pilot, "Save")
            await until(pilot, lambda: shows(app, "Save the transcript"), "the dialog")
            await click_on(pilot, "Save", beside="Cancel")
            await until(pilot, (here / f"{name}-b-set--answers.md").exists, "the transcript")
            await click_on(pilot, "Export")
            await until(pilot, lambda: shows(app, "float16"), "the export screen")
            await click_on(pilot, "float16")
            await click_on(pilot, "Export")
            await exported(pilot, app)
            check(app, record, here / f"{name}-b-set-float16")
            # A job's time in the bar holds digits; until the bar is laid out anew without it, names are cut.
            await until(pilot, lambda: "5" in lines(app)[0] and "stop" not in lines(app)[0], "the end of the job")
            await pilot.click(offset=(lines(app)[0].index("5"), 0))
            await until(pilot, partial(shows, app, record.name), "the adapter in the library")


async def test_the_default_model_and_the_released_generator(
    app_folders: Path, here: Path, default_base: LoadedBase
) -> None:
    """From the prompts alone: with the adapter, the base does what the example's prompts ask for."""
    app = DndApp(example_prompts())
    async with app.run_test(size=LARGE) as pilot:
        await previewed(pilot, app, "topics.jsonl")
        app.screen.query_one("#made-from", Select).value = GENERATOR
        await previewed(pilot, app, "topics.jsonl")
        await pilot.press("ctrl+g")
        record = await made(pilot, app)
        await pilot.press("c")
        await until(pilot, lambda: len(app.screen.query_one(PromptList).rows) == 40, "the prompts")
        for number in (1, 2, 3):
            await pilot.press("enter")
            await answered(pilot, app, number)
            await pilot.press("j")
        for prompt in prompts_of(app)[:3]:
            base, adapted = (prompt.answers[arm].text.split() for arm in ("base", record.name))
            assert len(adapted) == 1 < len(base), "the instruction is to answer with one word"
        await pilot.press("e")
        await until(pilot, lambda: shows(app, "yes, reads"), "the programs")
        await pilot.press("x")
        await exported(pilot, app)
        assert read_peft_folder(here / "topics-float32")[0].layout == read_peft_folder(record.folder)[0].layout
