"""The bar of screens and the bar of keys, at every width, with and without a job under way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen

from dnd_tui.app import DndApp
from dnd_tui.places import PLACES
from dnd_tui.widgets.bars import KeyBar, NavigationBar
from engine.requests import InfoRequest, ModelChoice
from tests.tui.conftest import until
from tests.tui.on_screen import lines
from tests.tui.still_life import fill_library, still_life  # noqa: F401 - a fixture


def line(app: DndApp, at: int) -> str:
    """One line of the screen; none where it is not drawn yet."""
    return next(iter(lines(app)[at : at + 1 or None]), "")


def words(line: str) -> list[str]:
    return line.replace("▏", " ").split()


def shown_keys(screen: Screen[None]) -> list[str]:
    """The words of all keys of the bar below, whether they have room or not."""
    keys: list[Any] = list(screen.query_one(KeyBar).query("FooterKey"))
    return " ".join(f"{key.key_display} {key.description}" for key in keys).split()


class Unending:
    """An engine whose jobs do not end."""

    def __init__(self, on_message: object) -> None:
        self._jobs = 0

    def submit(self, request: object) -> int:
        self._jobs += 1
        return self._jobs

    def cancel(self, job: int) -> None: ...

    def close(self) -> None: ...


async def test_at_every_width_screens_have_names_and_no_key_is_cut(still_life: Path) -> None:  # noqa: F811
    fill_library(still_life)
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        for mode, place in PLACES.items():
            screen = await app.go(mode)
            for width in (60, 80, 120) if mode == "library" else (60,):
                await pilot.resize_terminal(width, 20)
                await until(pilot, lambda width=width: len(line(app, -1)) == width, f"{width} cells")
                await until(
                    pilot,
                    lambda screen=screen: words(line(app, -1)) == shown_keys(screen),
                    f"keys of {mode}",
                )
                assert line(app, -1).endswith("f1 Help ^p Commands ")
                assert f"▸{place.key} {place.short}" in line(app, 0)
                assert all(f"{each.key} {each.short}" in line(app, 0) for each in PLACES.values())


@pytest.mark.parametrize(("width", "names"), [(80, ["3 Comp ", "9 Depth"]), (120, ["3 Compare", "9 Depth"])])
async def test_names_and_time_of_a_job_have_room(
    app_folders: Path, monkeypatch: pytest.MonkeyPatch, width: int, names: list[str]
) -> None:
    monkeypatch.setattr("dnd_tui.engine_link.EngineProcess", lambda on_message, log: Unending(on_message))
    app = DndApp()
    async with app.run_test(size=(width, 24)) as pilot:
        job = app.engine.start(InfoRequest(models=ModelChoice(), target=app_folders), "generate an adapter", app)
        job.began = time.monotonic() - 754.2
        await until(pilot, lambda: "12 min" in line(app, 0), "the job's time")
        assert all(name in line(app, 0) for name in names)
        bar = app.screen.query_one(NavigationBar)
        assert all(bar.region.contains_region(each.region) for each in bar.children if each.display)


async def test_digits_and_function_keys_open_the_same_screens(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        for mode, place in list(PLACES.items())[::-1]:
            await pilot.press(place.keys.split(",")[1])
            await until(pilot, lambda mode=mode: app.current_mode == mode, mode)
        keys = [place.keys for place in PLACES.values()]
        assert keys == ["1,f10", *(f"{number},f{number}" for number in range(2, 10))]
