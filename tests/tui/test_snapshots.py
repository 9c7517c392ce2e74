"""Every screen as text, empty and filled, in four sizes; and without colours.

Where a screen is meant to look otherwise than before: look at the difference, then `pytest --snapshot-update`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.color_triplet import ColorTriplet
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from textual.pilot import Pilot

from dnd_tui.app import DndApp
from dnd_tui.config import data_folder
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.depth.export import ChainExportDialog
from dnd_tui.screens.depth.screen import DepthScreen
from dnd_tui.screens.settings.screen import SettingsScreen
from dnd_tui.screens.teach.answers import TaughtDialog
from dnd_tui.state.depth import DepthChoices, RememberedDepth
from dnd_tui.widgets.path_inputs import Dropped
from engine.prompts.answer_sheet import SheetRow
from engine.requests import ContextChoice, ModelChoice, PromptChoice
from tests.tui.on_screen import lines
from tests.tui.still_chains import accept_chain
from tests.tui.still_life import ASKED, fill_library, still_life  # noqa: F401 - a fixture

PICTURES = Path(__file__).parent / "__snapshots__" / "test_snapshots"
SIZES = ((80, 24), (60, 20), (120, 36), (200, 50))


class ScreenText(SingleFileSnapshotExtension):
    """A text file a picture."""

    file_extension = "txt"
    _write_mode = WriteMode.TEXT


async def preview(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    app.post_message(Dropped((prompts,)))


async def bare_preview(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    rows = [json.loads(line)["prompt"] for line in prompts.read_text().splitlines()]
    bare = prompts.with_name("sentences.txt")
    bare.write_text("".join(row.splitlines()[-1] + "\n" for row in rows))
    app.post_message(Dropped((bare,)))


async def answering(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await bare_preview(pilot, app, prompts)
    await settled(pilot)
    await pilot.press("w")
    await settled(pilot)
    await pilot.press(*"sport")


async def teaching(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await bare_preview(pilot, app, prompts)
    await settled(pilot)
    await pilot.press("l")
    await settled(pilot)
    await pilot.press("enter")


async def taught(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    lines = [json.loads(line) for line in prompts.read_text().splitlines()]
    rows = [SheetRow(line["prompt"], line["response"], "a-large-model") for line in lines]
    app.push_screen(TaughtDialog(data_folder() / "answers-topics.jsonl", [SheetRow(rows[0].prompt), *rows[1:]]))
    await settled(pilot)
    await pilot.press("down", "enter", *"hot ")


async def generate(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await app.generate(PromptChoice(source=prompts), ModelChoice(), ContextChoice(made_from="generator"))


async def solved(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await app.generate(PromptChoice(source=prompts), ModelChoice(), ContextChoice())


async def trained(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await solved(pilot, app, prompts)
    await settled(pilot)
    await pilot.press("t")


async def compare(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await app.compare(fill_library(prompts)[:1])
    await settled(pilot)
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    screen.action_run_all()


async def chatting(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await app.compare(fill_library(prompts)[:1])
    await settled(pilot)
    await pilot.press("h", *"Who won?", "enter")
    await settled(pilot)
    await pilot.press(*"And", "ctrl+j", *"then?", "enter")
    await settled(pilot)
    await pilot.press(*"So")


async def history(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    app.asked.add(ASKED)
    await app.go("compare")
    await settled(pilot)
    await pilot.press("slash")
    await settled(pilot)
    await pilot.press(*"sport")


async def export(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    record = fill_library(prompts)[0]
    app.change_settings(exports=Path("/exports"))
    await app.export(replace(record, folder=Path("/library/topics/adapter")))


async def library(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    fill_library(prompts)
    await app.go("library")


async def combining(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await library(pilot, app, prompts)
    await settled(pilot)
    await pilot.press("space", "down", "space", "m")


async def writing_note(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await library(pilot, app, prompts)
    await settled(pilot)
    await pilot.press("n")
    await settled(pilot)
    await pilot.press(*"short tickets", "enter", *"not for mails")


async def all_keys(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    screen = await app.go("settings")
    assert isinstance(screen, SettingsScreen)
    screen.open_tab("keys")


async def importing(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await app.go("library")
    await app.run_action("import", default_namespace=app.screen)


async def depth(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    accept_chain(prompts)
    RememberedDepth(data_folder()).save(DepthChoices(source="~/data/topics.jsonl"))
    await app.go("depth")
    await settled(pilot)
    screen = app.screen
    assert isinstance(screen, DepthScreen)
    screen.action_search()


async def depth_export(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
    await app.go("depth")
    await settled(pilot)
    app.push_screen(ChainExportDialog(ModelChoice(), "0-24,27-29", prompts, "topics-chain", Path("/exports")))


def empty(mode: str) -> Callable[[Pilot[None], DndApp, Path], Awaitable[None]]:
    async def go(pilot: Pilot[None], app: DndApp, prompts: Path) -> None:
        await app.go(mode)

    return go


STATES = {
    "drop": empty("drop"),
    "drop, preview": preview,
    "drop, prompts alone": bare_preview,
    "drop, answering": answering,
    "drop, asking a model": teaching,
    "drop, answers of a model": taught,
    "generate": empty("generate"),
    "generate, nearly done": generate,
    "generate, solved": solved,
    "generate, trained": trained,
    "compare": empty("compare"),
    "compare, answered": compare,
    "compare, chatting": chatting,
    "compare, history": history,
    "export": empty("export"),
    "export, an adapter chosen": export,
    "library": empty("library"),
    "library, two adapters": library,
    "library, combining": combining,
    "library, a note": writing_note,
    "library, importing": importing,
    "forge": empty("forge"),
    "settings": empty("settings"),
    "settings, keys": all_keys,
    "log": empty("log"),
    "depth": empty("depth"),
    "depth, a chain found": depth,
    "depth, export": depth_export,
}


async def settled(pilot: Pilot[None]) -> None:
    """Until the screen stays as it is for longer than the app ever waits before it draws."""
    same, seen = 0, lines(pilot.app)
    while same < 2:
        await pilot.pause(0.08)
        before, seen = seen, lines(pilot.app)
        same = same + 1 if seen == before else 0


def as_text(app: DndApp) -> str:
    """The screen, without the blanks at the ends of lines."""
    return "".join(line.rstrip() + "\n" for line in lines(app))


def colours(app: DndApp) -> set[ColorTriplet]:
    """All colours of letters and of what is behind them."""
    segments = [segment for strip in app.screen._compositor.render_strips() for segment in strip]
    found = [colour for each in segments if each.style for colour in (each.style.color, each.style.bgcolor) if colour]
    return {colour.get_truecolor() for colour in found}


@pytest.mark.parametrize("state", STATES)
async def test_a_screen_looks_as_before(state: str, still_life: Path, snapshot: SnapshotAssertion) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=SIZES[0]) as pilot:
        await STATES[state](pilot, app, still_life)
        for width, height in SIZES:
            await pilot.resize_terminal(width, height)
            await settled(pilot)
            assert as_text(app) == snapshot(extension_class=ScreenText, name=f"{width}x{height}")


@pytest.mark.parametrize("state", [state for state in STATES if "," in state or state in ("drop", "forge", "settings")])
async def test_without_colours_a_screen_tells_the_same(
    state: str,
    still_life: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = DndApp()
    async with app.run_test(size=SIZES[0]) as pilot:
        await STATES[state](pilot, app, still_life)
        await settled(pilot)
        # Textual shows greys then; what tells things apart by a hue would be lost.
        assert all(red == green == blue for red, green, blue in colours(app))
        picture = f"test_a_screen_looks_as_before[{state}][{SIZES[0][0]}x{SIZES[0][1]}].txt"
        assert as_text(app) == (PICTURES / picture).read_text(encoding="utf-8")
