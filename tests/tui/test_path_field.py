"""A path field: completion while typing, drops, and what it tells its parents."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

import dnd_tui.widgets.path_completion as path_completion
from dnd_tui.widgets.path_completion import MOST_ROWS, PathCompletion
from tests.tui.conftest import until
from tests.tui.path_field_parts import Host, make_tree, type_text


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


async def offers(pilot: Pilot[Any], *rows: str) -> None:
    app = pilot.app
    assert isinstance(app, Host)
    await until(pilot, lambda: app.offered == list(rows), f"{rows}")


async def test_completion_offers_what_is_in_the_folder(tree: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/")
        await offers(pilot, "a b.txt", "alpha folder/", "Beta/", "prompts.jsonl", "prompts.jsonl.bak")
        await type_text(pilot, "B")
        await offers(pilot, "Beta/", "a b.txt", "prompts.jsonl.bak")
        await pilot.press("backspace")
        await type_text(pilot, ".")
        await offers(pilot, ".env", ".hidden/", "a b.txt", "prompts.jsonl", "prompts.jsonl.bak")
        await type_text(pilot, "no such thing")
        await offers(pilot)


async def test_a_completed_folder_opens_and_a_file_ends_it(tree: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/al")
        await offers(pilot, "alpha folder/")
        await pilot.press("tab")
        assert app.field.value == f"{tree}/alpha folder/"
        await offers(pilot, "inside.txt")
        await pilot.press("enter")
        await offers(pilot)
        file = tree / "alpha folder" / "inside.txt"
        assert app.field.value == str(file)
        assert app.changed[-1] == str(file), "a completion is a change"
        assert not app.submitted
        await pilot.press("enter")
        await until(pilot, lambda: app.submitted == [file])
        assert not app.leaked


async def test_completion_by_arrow_keys_and_by_mouse(tree: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 30)) as pilot:
        await type_text(pilot, f"{tree}/p")
        await offers(pilot, "prompts.jsonl", "prompts.jsonl.bak", "alpha folder/")
        await pilot.press("down", "enter")
        assert app.field.value == f"{tree}/prompts.jsonl.bak"
        app.field.value = ""
        await type_text(pilot, f"{tree}/p")
        await offers(pilot, "prompts.jsonl", "prompts.jsonl.bak", "alpha folder/")
        await pilot.click("PathCompletion AutoCompleteList", offset=(2, 0))
        await until(pilot, lambda: app.field.value == f"{tree}/prompts.jsonl")


async def test_all_rows_have_room(tree: Path) -> None:
    app = Host()
    async with app.run_test(size=(120, 30)) as pilot:
        await type_text(pilot, f"{tree}/")
        await until(pilot, lambda: app.offered)
        await until(pilot, lambda: app.query_one(PathCompletion).option_list.size.height == len(app.offered))


async def test_escape_puts_the_completion_away_and_down_brings_it_back(tree: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/Be")
        await offers(pilot, "Beta/")
        await pilot.press("escape")
        await offers(pilot)
        await pilot.press("down")
        await offers(pilot, "Beta/")


async def test_a_folder_field_offers_folders(tree: Path) -> None:
    app = Host(kind="folder")
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/")
        await offers(pilot, "alpha folder/", "Beta/")


async def test_home_root_and_the_working_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    monkeypatch.chdir(tree / "alpha folder")
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, "~/Be")
        await offers(pilot, "Beta/")
        assert app.field.path == tree / "Be"
        app.field.value = ""
        await type_text(pilot, "ins")
        await offers(pilot, "inside.txt")
        await pilot.press("enter", "enter")
        await until(pilot, lambda: app.submitted == [Path("inside.txt")])
        app.field.value = ""
        await type_text(pilot, "/")
        root = {entry.name for entry in os.scandir("/") if not entry.name.startswith(".")}
        await until(pilot, lambda: {row.rstrip("/") for row in app.offered} == root)


@pytest.mark.parametrize(("below", "says"), [("missing/", "no such folder"), ("a b.txt/", "not a folder")])
async def test_a_folder_that_cannot_be_listed_says_so(tree: Path, below: str, says: str) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/{below}")
        await until(pilot, lambda: app.complaint == says)
        await pilot.press("ctrl+u")
        await type_text(pilot, f"{tree}/")
        await until(pilot, lambda: app.complaint == "" and app.offered)


async def test_a_folder_that_may_not_be_read_says_so(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str, *, folders_only: bool) -> tuple[str, ...]:
        raise PermissionError(folder)  # root may read anything, so no real folder will do

    monkeypatch.setattr(path_completion, "list_folder", refuse)
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/")
        await until(pilot, lambda: app.complaint == "this folder may not be read")


async def test_typing_goes_on_while_the_disk_is_slow(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    really: Callable[..., tuple[str, ...]] = path_completion.list_folder

    def slowly(folder: str, *, folders_only: bool) -> tuple[str, ...]:
        answers.wait()
        return really(folder, folders_only=folders_only)

    monkeypatch.setattr(path_completion, "list_folder", slowly)
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/Be")
        await until(pilot, lambda: app.field.value == f"{tree}/Be")
        assert not app.offered
        answers.set()
        await offers(pilot, "Beta/")


async def test_a_new_file_is_offered_when_the_field_is_entered_again(tree: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tree}/Be")
        await offers(pilot, "Beta/")
        (tree / "Beta 2").touch()
        await pilot.press("escape")
        app.query_one("#other").focus()
        await pilot.pause()
        app.field.focus()
        await pilot.pause()
        assert not app.offered, "nothing pops up before something is typed"
        await type_text(pilot, "t")
        await offers(pilot, "Beta 2", "Beta/")


async def test_a_crowded_folder(tmp_path: Path) -> None:
    assert MOST_ROWS < 140
    for number in range(150):
        (tmp_path / f"file {number:03}").touch()
    app = Host()
    async with app.run_test() as pilot:
        await type_text(pilot, f"{tmp_path}/f")
        await until(pilot, lambda: len(app.offered) == MOST_ROWS)
        await type_text(pilot, "ile 14")
        await offers(pilot, *(f"file {number}" for number in range(140, 150)))


# -- what it tells


async def test_setting_the_value_tells_the_change_and_offers_nothing(tree: Path) -> None:
    app = Host(value="start")
    async with app.run_test() as pilot:
        assert app.field.value == "start"
        app.field.value = f"{tree}/prompts"
        await until(pilot, lambda: app.changed[-1:] == [f"{tree}/prompts"])
        await pilot.pause()
        assert not app.offered
        await type_text(pilot, ".")
        await offers(pilot, "prompts.jsonl", "prompts.jsonl.bak")


async def test_enter_submits_a_path_even_if_it_is_not_there() -> None:
    app = Host(value=" ~/not/there ")
    async with app.run_test() as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: app.submitted == [Path.home() / "not" / "there"])


async def test_an_empty_field_submits_nothing() -> None:
    app = Host(value="  ")
    async with app.run_test() as pilot:
        assert app.field.path is None
        await pilot.press("enter")
        await pilot.pause()
        assert not app.submitted


async def test_a_path_typed_as_a_shell_spells_it_is_understood(tree: Path) -> None:
    """VS Code types a drop instead of pasting it."""
    app = Host(value=f"'{tree}/a b.txt'")
    async with app.run_test() as pilot:
        await pilot.press("enter")
        await until(pilot, lambda: app.submitted == [tree / "a b.txt"])
        assert app.field.value == f"{tree}/a b.txt"


# -- drops


@pytest.mark.parametrize("focused", ["PathField Input", "PathField Button"])
async def test_a_field_that_takes_drops(tree: Path, focused: str) -> None:
    app = Host(takes_drops=True, value="old")
    async with app.run_test() as pilot:
        app.query_one(focused).focus()
        await pilot.pause()
        app.post_message(events.Paste(f"'{tree}/a b.txt' "))
        await until(pilot, lambda: app.submitted == [tree / "a b.txt"])
        assert app.field.value == f"{tree}/a b.txt"
        await pilot.pause()
        assert not app.drops and not app.offered


async def test_a_drop_elsewhere_or_of_several_is_the_apps(tree: Path) -> None:
    app = Host(takes_drops=True)
    async with app.run_test() as pilot:
        app.post_message(events.Paste(f"{tree}/prompts.jsonl\n{tree}/Beta"))
        await until(pilot, lambda: app.drops == [(tree / "prompts.jsonl", tree / "Beta")])
        app.query_one("#other").focus()
        await pilot.pause()
        app.post_message(events.Paste(f"{tree}/Beta"))
        await until(pilot, lambda: app.drops[1:] == [(tree / "Beta",)])
        assert app.field.value == ""
