"""The dialogs behind a path field: a file, a folder or either is chosen, or dropped on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input
from textual_fspicker.parts import DirectoryNavigation

from dnd_tui.widgets.path_field import Kind
from dnd_tui.widgets.pickers import FilePicker, FolderPicker, PathPicker
from tests.tui.conftest import until
from tests.tui.path_field_parts import Host, make_tree, type_text


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree")


async def browse(pilot: Pilot[Any], kind: type) -> DirectoryNavigation:
    """Press Browse; the list of the dialog that opens, once it is filled."""
    await pilot.click("PathField Button")
    await until(pilot, lambda: isinstance(pilot.app.screen, kind))
    await until(pilot, lambda: pilot.app.screen.query(DirectoryNavigation))
    navigation = pilot.app.screen.query_one(DirectoryNavigation)
    await until(pilot, lambda: navigation.option_count)
    return navigation


def screen_text(app: Host) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


async def test_a_file_is_chosen_in_the_dialog(tree: Path) -> None:
    app = Host(kind="file", value=f"{tree}/missing/x")
    async with app.run_test(size=(120, 40)) as pilot:
        navigation = await browse(pilot, FilePicker)
        assert navigation.location == tree, "it opens at the nearest folder that is there"
        await until(pilot, lambda: "Beta" in screen_text(app))
        text = screen_text(app)
        assert "▸" in text
        assert not any(sign in text for sign in "📁📄🔗\x1b")
        app.screen.query_one(Input).focus()
        await type_text(pilot, "prompts.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: app.submitted == [tree / "prompts.jsonl"])
        assert app.field.value == str(tree / "prompts.jsonl")
        assert not app.offered


async def test_a_folder_is_chosen_in_the_dialog(tree: Path) -> None:
    app = Host(kind="folder", value=str(tree))
    async with app.run_test(size=(120, 40)) as pilot:
        navigation = await browse(pilot, FolderPicker)
        await until(pilot, lambda: navigation.option_count == 3)  # "..", Beta, alpha folder
        await pilot.press("down", "enter")
        await until(pilot, lambda: navigation.location == tree / "Beta")
        await pilot.click("#select")
        await until(pilot, lambda: app.submitted == [tree / "Beta"])


async def test_either_is_chosen_in_the_dialog(tree: Path) -> None:
    app = Host(value=f"{tree}/prompts.jsonl")
    async with app.run_test(size=(80, 24)) as pilot:
        await browse(pilot, PathPicker)
        await pilot.click("#folder")
        await until(pilot, lambda: app.submitted == [tree])
        await browse(pilot, PathPicker)
        app.screen.query_one(Input).focus()
        await type_text(pilot, "a b.txt")
        await pilot.click("#select")
        await until(pilot, lambda: app.submitted[1:] == [tree / "a b.txt"])


async def test_leaving_the_dialog_changes_nothing(tree: Path) -> None:
    app = Host(value=f"{tree}/x")
    async with app.run_test() as pilot:
        await browse(pilot, PathPicker)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, PathPicker))
        assert app.field.value == f"{tree}/x"
        assert not app.submitted


@pytest.mark.parametrize(("kind", "dialog"), [("file", FilePicker), ("folder", FolderPicker), ("either", PathPicker)])
async def test_a_drop_on_the_dialog_is_chosen(tree: Path, kind: Kind, dialog: type) -> None:
    app = Host(kind=kind)
    async with app.run_test() as pilot:
        await browse(pilot, dialog)
        app.post_message(events.Paste(f"{tree}/Beta"))
        await until(pilot, lambda: app.submitted == [tree / "Beta"])
        assert not app.drops


async def test_a_drop_on_the_input_of_the_dialog_is_chosen(tree: Path) -> None:
    app = Host(kind="file")
    async with app.run_test() as pilot:
        await browse(pilot, FilePicker)
        app.screen.query_one(Input).focus()
        app.post_message(events.Paste(f"'{tree}/a b.txt' "))
        await until(pilot, lambda: app.submitted == [tree / "a b.txt"])
