"""A first user: somebody who has never seen the app gets from a file of tickets to an exported adapter."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual import events
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Input
from textual.widgets._footer import FooterKey

from dnd_tui.app import DndApp
from dnd_tui.screens.drop.start import FOUR_STEPS
from dnd_tui.state.histories import TOUR_FILE
from dnd_tui.widgets.bars import KeyButton
from engine.adapter.peft_folder import read_peft_folder
from engine.requests import ModelChoice
from tests.tui.conftest import until
from tests.tui.on_screen import click_on, shows
from tests.tui.still_life import fill_library, still_life  # noqa: F401 - a fixture

MOST_KEYS, MOST_CLICKS = 12, 8
_TOPICS = {
    "billing": ("My invoice of {} is wrong", "I was charged twice for {}"),
    "delivery": ("The parcel with {} has not come", "Where is my order of {}?"),
    "returns": ("I want to send {} back", "How do I return {}?"),
    "account": ("I cannot sign in to see {}", "Change my address for {}"),
}
_THINGS = ("a lamp", "two chairs", "the blue mug", "a kettle", "my shoes")


@pytest.fixture
def tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty labelled tickets without an instruction, in the folder where the app is started."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tickets.csv"
    rows = [(text.format(thing), topic) for topic, texts in _TOPICS.items() for text in texts for thing in _THINGS]
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("id", "ticket", "category"))
        writer.writerows((number, *row) for number, row in enumerate(rows, 1))
    return file


class FirstUser:
    """Does only what the screen offers, and counts it: a drop, a key and a click are one each."""

    def __init__(self, pilot: Pilot[None], app: DndApp) -> None:
        self._pilot, self._app = pilot, app
        self.presses = 0

    async def sees(self, text: str) -> None:
        await until(self._pilot, lambda: shows(self._app, text), text)

    async def drops(self, path: Path) -> None:
        self.presses += 1
        self._app.post_message(events.Paste(f"'{path}' "))

    async def presses_enter(self, label: str, *, ready: Callable[[], bool] | None = None) -> None:
        """Enter, on what the screen has put the focus on."""

        def offered() -> bool:
            focused = self._app.focused
            return focused is not None and label in str(getattr(focused, "label", focused.id))

        await until(self._pilot, offered, f"the focus on {label}")
        self.presses += 1
        await self._pilot.press("enter")

    async def presses_key(self, key: str, what: str) -> None:
        """A key that the screen names."""
        offered = (f"{key} {what}", f"{what} {key}")
        await until(self._pilot, lambda: any(shows(self._app, text) for text in offered), f"the key {key}")
        self.presses += 1
        await self._pilot.press(key)

    async def clicks(self, text: str) -> None:
        await self.sees(text)
        self.presses += 1
        await click_on(self._pilot, text)


def check(app: DndApp, folder: Path) -> None:
    """An adapter of the answers, with a verdict, and its export."""
    (record,) = app.library.entries()
    assert record.made_from == "examples" and record.verdict  # type: ignore[union-attr]
    assert read_peft_folder(folder)[0].layout == read_peft_folder(record.folder)[0].layout  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_first_user_needs_few_keys(
    app_folders: Path, tiny_models: ModelChoice, tickets: Path, size: tuple[int, int]
) -> None:
    app = DndApp(models=replace(tiny_models, generator=None))
    async with app.run_test(size=size) as pilot:
        person = FirstUser(pilot, app)
        await person.drops(tickets)
        await person.sees("40 answers found")
        await person.presses_enter("Generate adapter")
        await person.sees("Held out: ")
        await person.presses_enter("Compare")
        await person.sees("My invoice of a lamp")
        await person.presses_enter("prompts-table")
        await person.sees("to first")
        await person.presses_key("e", "Export")
        await person.presses_enter("Export")
        await person.sees("Exported, reloaded and compared")
        assert person.presses == 6 <= MOST_KEYS
        check(app, app_folders / "data" / "exports" / "tickets-float32")


async def test_a_first_user_needs_few_clicks(app_folders: Path, tiny_models: ModelChoice, tickets: Path) -> None:
    app = DndApp(models=replace(tiny_models, generator=None))
    async with app.run_test(size=(120, 40)) as pilot:
        person = FirstUser(pilot, app)
        await person.drops(tickets)
        await person.sees("40 answers found")
        await person.clicks("Generate adapter")
        await person.sees("Held out: ")
        await person.clicks("Export e")
        await person.sees("PEFT folder:")
        await person.clicks("Export x")
        await person.sees("Exported, reloaded and compared")
        assert person.presses == 4 <= MOST_CLICKS
        check(app, app_folders / "data" / "exports" / "tickets-float32")


async def test_screens_open_on_what_they_are_for_and_name_each_key_once(still_life: Path) -> None:  # noqa: F811
    records = fill_library(still_life)
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:

        async def opens_on(name: str) -> None:
            await until(pilot, lambda: app.focused and name in (app.focused.id, type(app.focused).__name__), name)
            await pilot.pause()
            below = {key.action for key in app.screen.query(FooterKey)}
            for button in app.screen.query(KeyButton):
                around = (each for node in button.ancestors for each in type(node).BINDINGS)
                action = next(each.action for each in around if isinstance(each, Binding) and each.id == button.binding)
                assert button.shows_key == bool(button.region.area), f"{button.title} shows its key"
                assert not (button.shows_key and action in below), f"{button.title} stands in both"
            assert all(button.region.height <= 1 for button in app.screen.query("#buttons Button"))

        await opens_on("DropZone")
        for mode, name in {
            "generate": "runs",
            "library": "table",
            "settings": "model-lines",
            "log": "journal-list",
        }.items():
            await app.go(mode)
            await opens_on(name)
        await app.compare(records[:1])
        await opens_on("prompts-table")
        await app.export(records[0])
        await opens_on("export")


def shows_steps(app: DndApp) -> bool:
    return all(shows(app, line) for line in FOUR_STEPS.splitlines())


async def test_the_first_start_shows_four_lines_once_and_any_key_ends_them(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: shows_steps(app), "the four lines")
        await pilot.press("slash")
        # The key is not lost on them.
        await until(pilot, lambda: isinstance(app.focused, Input) and not shows_steps(app), "the path field")
        await until(pilot, (app_folders / "data" / TOUR_FILE).exists, "the note that they were shown")
        await app.go("library")
        await until(pilot, lambda: shows_steps(app), "the same in an empty library")
    again = DndApp()
    async with again.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await again.workers.wait_for_complete()
        await pilot.pause()
        assert not shows_steps(again)
