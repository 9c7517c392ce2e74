"""The whole way in one app: drop -> preview -> generate -> compare -> export."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button

from dnd_tui.app import DndApp
from dnd_tui.screens.compare import CompareScreen
from dnd_tui.screens.export import ExportScreen
from dnd_tui.screens.generate import GenerateScreen
from dnd_tui.state.adapter_record import AdapterRecord
from engine.adapter.peft_folder import read_peft_folder
from engine.base.load import LoadedBase
from engine.requests import ModelChoice
from tests.tui.conftest import until
from tests.tui.on_screen import click_on, lines, shows

SMALL, LARGE = (60, 20), (120, 40)


@pytest.fixture
def here(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: exports go there."""
    folder = app_folders / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


async def previewed(pilot: Pilot[None], app: DndApp) -> None:
    def ready() -> bool:
        return any(not button.disabled and button.region for button in app.screen.query("#generate").results(Button))

    await until(pilot, ready, "the preview")


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
    await until(pilot, lambda: shows(app, "tokens/s"), "the answers on the screen")


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
        for number, size in enumerate((SMALL, LARGE), 1):
            await pilot.resize_terminal(*size)
            await pilot.press("1", "escape", "slash", "ctrl+u")
            await pilot.press(*(f"../{prompt_file.name}"), "enter")
            await previewed(pilot, app)
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
            name = "animals-and-legs-float32" if number == 1 else "animals-and-legs-2-float32"
            check(app, record, here / name)
            await pilot.press("5")
            await until(pilot, lambda: shows(app, record.name), "the adapter in the library")


async def test_by_mouse(app_folders: Path, here: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    """In a large terminal, and again after it was made smaller."""
    app = DndApp(models=tiny_models)
    async with app.run_test(size=LARGE) as pilot:
        for number, size in enumerate((LARGE, SMALL), 1):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            app.post_message(events.Paste(f"'{prompt_file}' "))  # the mouse dropped it on the terminal
            await previewed(pilot, app)
            await click_on(pilot, "Generate adapter")
            record = await made(pilot, app)
            await click_on(pilot, "Compare")
            await until(pilot, lambda: shows(app, "…dog?"), "the prompts")
            await click_on(pilot, "…dog?")
            await click_on(pilot, "Run")
            await answered(pilot, app, 2)
            await click_on(pilot, "Pick adapted")
            await click_on(pilot, "Export")
            await until(pilot, lambda: shows(app, "float16"), "the export screen")
            await click_on(pilot, "float16")
            await click_on(pilot, "Export")
            await exported(pilot, app)
            name = "animals-and-legs-float16" if number == 1 else "animals-and-legs-2-float16"
            check(app, record, here / name)
            assert any("5" in line for line in lines(app)[:1])
            await pilot.click("NavigationItem:nth-of-type(5)")
            await until(pilot, lambda: shows(app, record.name), "the adapter in the library")
