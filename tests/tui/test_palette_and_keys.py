"""The command palette, jumping, help, themes and the keys a person has chosen, on the whole app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.command import CommandList, CommandPalette
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Static

from dnd_tui.app import DndApp
from dnd_tui.bindings import EVERYWHERE, _subclasses, all_bindings, shown_keys, taken_by
from dnd_tui.places import PLACES
from dnd_tui.screens.dialogs import JumpDialog, JumpLetter
from dnd_tui.screens.help import HelpDialog
from dnd_tui.screens.log.screen import LogScreen
from dnd_tui.screens.settings.screen import SettingsScreen
from dnd_tui.screens.theme_dialog import ThemeDialog
from tests.tui.conftest import until
from tests.tui.test_screen_library import names as library_names
from tests.tui.test_screen_library import recorded


def config(folder: Path, text: str) -> Path:
    file = folder / "config" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


async def ready(pilot: Pilot[None], app: DndApp) -> None:
    """All screens are imported, the keys of the settings are checked."""
    await until(pilot, lambda: app.keys_known is not None, "the screens")


async def run_command(pilot: Pilot[None], app: DndApp, name: str) -> None:
    """Open the palette, type the name of an entry, press Enter."""
    await pilot.press("ctrl+p")
    await until(pilot, lambda: CommandPalette.is_open(app) and commands(app), "the entries")
    app.screen.query_one(Input).value = name
    await until(pilot, lambda: commands(app)[:1] == [name], f"the entry {name!r} among {commands(app)}")
    await pilot.press("enter")
    await until(pilot, lambda: not CommandPalette.is_open(app), "the end of the palette")


def commands(app: DndApp) -> list[str]:
    """First lines of the entries that the palette shows."""
    options = app.screen.query_one(CommandList).options
    return [str(option.hit.text) for option in options if hasattr(option, "hit")]


def shown(app: DndApp) -> str:
    """The text on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


# -- names of bindings


def test_every_binding_can_be_named_explained_and_is_known_once() -> None:
    from textual.dom import DOMNode

    known = all_bindings()
    found: dict[str, tuple[type, str]] = {}
    for kind in _subclasses(DOMNode):
        for binding in kind.__dict__.get("BINDINGS", ()):
            assert isinstance(binding, Binding) and binding.id and binding.tooltip, (kind, binding)
            assert found.setdefault(binding.id, (kind, binding.key)) == (kind, binding.key), binding.id
    assert set(found) == set(known)


def test_no_key_means_two_things_in_one_place() -> None:
    for binding in all_bindings().values():
        for key in binding.keys.split(","):
            other = taken_by(binding, key, {})
            assert other is None, f"{key}: {binding.id}, {other.id if other else ''}"


def test_where_keys_meet() -> None:
    known = all_bindings()
    assert known["app.quit"].where == EVERYWHERE and known["log.report"].where == "Log"
    assert taken_by(known["log.search"], "c", {}) == known["log.report"]
    assert taken_by(known["log.search"], "c", {"log.report": "x"}) is None
    assert taken_by(known["log.search"], "ctrl+p", {}) == known["app.commands"]
    # A dialog covers the screen and the keys of the app, but for those with priority.
    assert taken_by(known["dialog.copy"], "ctrl+p", {}) is None
    assert taken_by(known["dialog.copy"], "ctrl+q", {}) == known["app.quit"]
    assert taken_by(known["app.quit"], "c", {}) is not None


def test_keys_are_written_as_they_stand_on_the_keyboard() -> None:
    assert shown_keys("f1,question_mark") == "f1 ?"
    assert shown_keys("ctrl+left,slash") == "ctrl+← /"


async def test_unknown_names_in_keys_are_told_and_good_ones_work(app_folders: Path) -> None:
    config(app_folders, '[keys]\n"app.hlep" = "f10"\n"app.help" = "f12"\nlog.report = "shift+a"\n')
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        told = [str(problem) for problem in app.problems]
        assert told[0] == 'config.toml: keys.app.hlep: no such action; the nearest is "app.help"'
        assert told[1].startswith("config.toml: keys.log.report:") and len(told) == 2
        assert [entry.text for entry in app.journal.entries if entry.warning] == [told[1], told[0]]
        await pilot.press("f1")
        assert not isinstance(app.screen, HelpDialog)
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog), "the help")


async def test_keys_that_mean_two_things_are_told_once(app_folders: Path) -> None:
    keys = {"log.search": "c", "log.report": "c,ctrl+g", "drop.back": "ctrl+p", "go.log": "0"}
    lines = "".join(f'"{id}" = "{key}"\n' for id, key in keys.items())
    config(app_folders, f"[keys]\n{lines}")
    app = DndApp()
    async with app.run_test(size=(120, 30)) as pilot:
        await ready(pilot, app)
        told = [str(problem) for problem in app.problems]
        assert len(told) == 2, told
        assert told[0].startswith("config.toml: keys.log.search: c is also the key of log.report")
        assert told[1].startswith("config.toml: keys.drop.back: ctrl+p is also the key of app.commands")


async def test_the_bar_on_top_shows_the_keys_of_the_settings(app_folders: Path) -> None:
    config(app_folders, '[keys]\n"go.forge" = "ctrl+f,f7"\n')
    app = DndApp()
    async with app.run_test(size=(120, 30)) as pilot:
        await ready(pilot, app)
        assert "5 Library ctrl+f Forge 7 Settings" in shown(app)
        await pilot.press("ctrl+f")
        await until(pilot, lambda: app.current_mode == "forge", "the screen of that key")
        app.change_settings(keys={"go.forge": None, "go.log": "0"})
        await until(pilot, lambda: "▸6 Forge" in shown(app) and "0 Log" in shown(app), "the new keys")
        await pilot.press("1")
        await until(pilot, lambda: "0 Log" in shown(app) and "6 Forge" in shown(app), "them on a screen shown before")


# -- the palette


async def test_the_palette_goes_to_every_screen(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        first, *others = PLACES
        for mode in [*others, first]:
            name = PLACES[mode].name
            await run_command(pilot, app, f"Go to {name}")
            await until(pilot, lambda mode=mode: app.current_mode == mode, name)


async def test_entries_of_the_open_screen_run_there(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await ready(pilot, app)
        settings = await app.go("settings")
        assert isinstance(settings, SettingsScreen)
        settings.open_tab("file")
        await until(pilot, lambda: "e Edit" in shown(app), "the file's keys")
        config(app_folders, "seed = 7\n")
        await run_command(pilot, app, "Reload")
        await until(pilot, lambda: app.settings.seed == 7, "the changed file")
        await run_command(pilot, app, "Next tab")
        await until(pilot, lambda: "f Fetch" in shown(app), "the tab behind the last one, the first")


async def test_the_palette_knows_what_can_be_done_now(app_folders: Path, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 40)) as pilot:
        await ready(pilot, app)
        app.recent.add(prompt_file, rows=12, format="jsonl")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: CommandPalette.is_open(app) and commands(app), "the entries")
        assert "Stop the job" not in commands(app) and "Go to Drop" not in commands(app)
        assert f"Drop {prompt_file.name}" in commands(app)
        await pilot.press("escape")
        await run_command(pilot, app, "Copy bug report")
        await until(pilot, lambda: isinstance(app.screen, LogScreen) and "### Versions" in app.clipboard, "the report")


async def test_the_palette_is_short_grouped_and_finds_what_is_meant(app_folders: Path) -> None:
    for number in range(9):
        recorded(f"adapter number {number}")
    app = DndApp()
    async with app.run_test(size=(100, 60)) as pilot:
        await ready(pilot, app)
        await app.go("library")
        await until(pilot, lambda: len(library_names(app)) == 9, "the library")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: CommandPalette.is_open(app) and commands(app), "the entries")
        listed = list(commands(app))
        # What can be done here comes first, then the screens, the app, and a few of the newest adapters.
        assert listed[0] == "Compare" and listed.index("Export") < listed.index("Go to Drop") < listed.index("Help")
        assert [name for name in listed if name.startswith("Compare ")] == [
            f"Compare adapter number {number}" for number in (8, 7, 6)
        ] and listed[-1] == "Compare adapter number 6"
        app.screen.query_one(Input).value = "theme"
        await until(pilot, lambda: commands(app) == ["Change theme"], f"the theme alone, not {commands(app)}")
        app.screen.query_one(Input).value = "number 2"
        await until(pilot, lambda: commands(app)[:1] == ["Compare adapter number 2"], "an older adapter by its name")
        # What is written about an entry is found too, by whole words.
        app.screen.query_one(Input).value = "colours"
        await until(pilot, lambda: commands(app) == ["Change theme"], "what it is about")


# -- jumping


async def test_a_letter_moves_the_focus(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        log = await app.go("log")
        await until(pilot, lambda: log.focused, "a focus")
        before = log.focused
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, JumpDialog) and app.screen.query(JumpLetter), "the letters")
        signs = {str(sign.content).strip(): sign for sign in app.screen.query(JumpLetter)}
        letter = next(letter for letter, sign in signs.items() if sign.target.id == "search")
        assert signs[letter].region.offset == log.query_one("#search").region.offset
        await pilot.press(letter)
        await until(pilot, lambda: log.focused is log.query_one("#search"), "the focus on the search")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, JumpDialog) and app.screen.query(JumpLetter), "the letters")
        sign = next(sign for sign in app.screen.query(JumpLetter) if sign.target is before)
        await pilot.click(sign)
        await until(pilot, lambda: app.screen is log and log.focused is before, "the focus where it was clicked")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, JumpDialog), "the letters")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is log and log.focused is before, "the focus where it was")


# -- themes


async def test_a_theme_is_tried_on_left_and_kept(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        assert app.theme == "drop-dark"
        await run_command(pilot, app, "Change theme")
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog) and app.focused, "the list")
        await pilot.press("down")
        await until(pilot, lambda: app.theme == "drop-light", "the theme under the cursor")
        await pilot.press("escape")
        await until(pilot, lambda: app.theme == "drop-dark", "the theme of before")
        assert not (app_folders / "config" / "config.toml").exists()
        await run_command(pilot, app, "Change theme")
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog) and app.focused, "the list")
        themes = app.screen.query_one(OptionList)
        assert {option.id for option in themes.options} == set(app.available_themes)
        themes.highlighted = themes.get_option_index("nord")
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(app.screen, ThemeDialog), "the end of the dialog")
        assert app.theme == app.settings.theme == "nord"
    again = DndApp()
    async with again.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: again.current_mode == "drop", "the first screen")
        assert again.theme == "nord"


async def test_a_theme_that_there_is_not_is_told(app_folders: Path) -> None:
    config(app_folders, 'theme = "pink"\n')
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        assert app.theme == "drop-dark"
        assert [str(problem) for problem in app.problems] == ["config.toml: theme: no theme 'pink'"]
        assert [entry.text for entry in app.journal.entries] == ["config.toml: theme: no theme 'pink'"]


# -- help


@pytest.mark.parametrize("size", [(60, 20), (120, 40)])
async def test_help_on_every_screen(app_folders: Path, size: tuple[int, int]) -> None:
    config(app_folders, '[keys]\n"log.report" = "ctrl+g"\n')
    app = DndApp()
    async with app.run_test(size=size) as pilot:
        await ready(pilot, app)
        for mode, place in PLACES.items():
            name = place.name
            screen: Any = await app.go(mode)
            await until(pilot, lambda screen=screen: screen.query("Footer"), name)
            await pilot.press("f1")
            await until(pilot, lambda: helps(app), f"help on {name}")
            frame = app.screen.query_one("VerticalScroll")
            assert app.screen.region.contains_region(frame.region) and name in shown(app), shown(app)
            # It scrolls by keys to its end, and what is written fits its width.
            await pilot.press("end")
            await until(pilot, lambda frame=frame: frame.scroll_offset.y == frame.max_scroll_y, "the end")
            assert frame.max_scroll_x == 0
            await pilot.press("escape")
            await until(pilot, lambda screen=screen: app.screen is screen, "the screen again")
        # The keys are those that are set.
        await app.go("log")
        app.set_focus(app.screen.query_one("#report", Button))
        await pilot.press("question_mark")
        await until(pilot, lambda: helps(app), "help on Log")
        dialog = app.screen
        assert isinstance(dialog, HelpDialog)
        here, everywhere = dialog.query(".keys").results(Static)
        assert "ctrl+g" in table_text(here) and "Copy the text of a bug report" in table_text(here)
        assert "Search every command" in table_text(everywhere)


def helps(app: DndApp) -> bool:
    """Whether help is shown, drawn to its end."""
    return isinstance(app.screen, HelpDialog) and all(table.size.height for table in app.screen.query(".keys"))


def table_text(table: Static) -> str:
    """All rows of the table, whether in view or not."""
    return "\n".join("".join(segment.text for segment in table.render_line(y)) for y in range(table.size.height))
