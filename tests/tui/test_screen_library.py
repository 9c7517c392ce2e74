"""The Library screen over adapters that were recorded before; the engine is not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from dnd_tui.app import DndApp
from dnd_tui.config import data_folder
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.dialogs import ErrorDialog, LongTextQuestion, Question, TextQuestion
from dnd_tui.screens.export.screen import ExportScreen
from dnd_tui.screens.library.screen import LibraryScreen
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore
from dnd_tui.state.library import Library
from dnd_tui.widgets.lines import Facts
from tests.tui.conftest import until
from tests.tui.on_screen import shows

RECORD = AdapterRecord(
    id="",
    name="",
    folder=Path(),
    dataset="animals.jsonl",
    source=Path("/data/animals.jsonl"),
    column=None,
    count=None,
    seed=3,
    base_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    base="default",
    generator=None,
    generator_digest="5819b61a8842",
    device="auto",
    dtype="auto",
    made="2026-11-23T09:30:00+00:00",
    seconds={"load": 3.0, "encode": 0.3},
    warm=False,
    parameters=2_442_240,
    bytes=9_826_398,
    norms={"model.layers.0.self_attn.q_proj": (1.0, 0.9), "model.layers.1.self_attn.q_proj": (1.2, 1.0)},
)


def recorded(name: str, **changes: object) -> AdapterRecord:
    """An adapter that is in the library of the app."""
    library = Library(data_folder() / "library")
    id, folder = library.new_place()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return library.add(replace(RECORD, id=id, folder=folder, name=name, **changes))  # type: ignore[arg-type]


def screen(app: DndApp) -> LibraryScreen:
    assert isinstance(app.screen, LibraryScreen)
    return app.screen


def names(app: DndApp) -> list[str]:
    table = screen(app).query_one("#table", DataTable)
    return [str(table.get_row_at(row)[1]) for row in range(table.row_count)]


async def opened(pilot: Pilot[None], app: DndApp, count: int) -> None:
    await app.go("library")
    await until(pilot, lambda: len(names(app)) == count, f"{count} adapters")
    await until(pilot, lambda: screen(app).query_one("#table").has_focus, "the focus on the list")
    await pilot.pause()


async def test_the_newest_is_first_and_its_facts_are_shown(app_folders: Path) -> None:
    scores = (AdapterScore(arm="base", metric="exact_match", rows=40, mean=0.25),
              AdapterScore(arm="adapted", metric="exact_match", rows=40, mean=0.5))  # fmt: skip
    recorded("older")
    recorded("newer", scores=scores, picks={"base": 1, "adapted": 3}, note="good one")
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, 2)
        assert names(app) == ["newer", "older"]
        facts = dict(screen(app).query_one(Facts).lines)
        assert facts["dataset"] == "/data/animals.jsonl" and "seed 3" in facts["prompts"]
        await until(pilot, lambda: shows(app, "exact_match 0.25 → 0.50, 40 rows"), "the scores")
        assert facts["exact_match"] == "base 0.250, adapted 0.500 on 40 rows"
        assert facts["picks"] == "base 1, adapted 3"
        await pilot.press("down")
        await until(pilot, lambda: dict(screen(app).query_one(Facts).lines)["name"] == "older", "the other's facts")


async def test_rename_delete_and_undo(app_folders: Path) -> None:
    record = recorded("first")
    recorded("second")
    app = DndApp()
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await opened(pilot, app, 2)
        await pilot.press("down", "r")
        await until(pilot, lambda: isinstance(app.screen, TextQuestion), "the question")
        app.screen.query_one(Input).value = "second"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, LibraryScreen) and "second 2" in names(app), "the new name")
        assert app.library.record(record.id).name == "second 2"
        undo = screen(app).query_one("#undo")
        assert undo.disabled
        await pilot.press("d")
        await until(pilot, lambda: names(app) == ["second"], "the deletion")
        # At every width the way back is in sight, and no remark covers button or key.
        app.notify("A remark", timeout=600)
        for width in (60, 80, 120):
            await pilot.resize_terminal(width, 24)
            await until(pilot, lambda: (shows(app, "u Undo") or shows(app, "Undo u")) and shows(app, "A remark"), "u")
            assert not undo.disabled and app.screen.get_widget_at(*undo.region.center)[0] is undo  # type: ignore[arg-type]
            assert shows(app, "f1 Help")
        await pilot.press("u")
        await until(pilot, lambda: names(app) == ["second", "second 2"], "its undoing")
        await until(pilot, lambda: undo.disabled, "nothing more to bring back")
        assert (record.folder / "adapter_model.safetensors").exists()


async def test_search_looks_at_everything_that_is_known(app_folders: Path) -> None:
    recorded("cats", note="for the talk in May")
    recorded("dogs")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 2)
        search = screen(app).query_one("#search", Input)
        for text, expected in (("may talk", ["cats"]), ("DOGS", ["dogs"]), ("whales", []), ("", ["dogs", "cats"])):
            search.value = text
            await until(pilot, lambda expected=expected: names(app) == expected, text)


async def test_a_note_is_written_kept_shown_and_found(app_folders: Path) -> None:
    record = recorded("cats")
    recorded("dogs")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 2)
        await pilot.press("down", "n")
        await until(pilot, lambda: isinstance(app.screen, LongTextQuestion) and app.focused, "the editor")
        await pilot.press(*"short", "enter", *"whiskers", "ctrl+s")
        await until(pilot, lambda: app.library.record(record.id).note == "short\nwhiskers", "the note on the disk")
        await until(pilot, lambda: dict(screen(app).query_one(Facts).lines).get("note"), "the note on the screen")
        screen(app).query_one("#search", Input).value = "whiskers"
        await until(pilot, lambda: names(app) == ["cats"], "the adapter of the note")
        screen(app).query_one("#table").focus()
        # What was typed is not lost by a slip.
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, LongTextQuestion) and app.focused, "the editor")
        await pilot.press("x")
        await pilot.click("#cancel")
        await until(pilot, lambda: isinstance(app.screen, Question), "a question")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, LongTextQuestion), "the editor again")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Question), "a question")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, LibraryScreen), "the library")
        assert app.library.record(record.id).note == "short\nwhiskers"


async def test_marked_adapters_are_compared_together(app_folders: Path) -> None:
    made = [recorded(name) for name in ("one", "two", "three")]
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, 3)
        await pilot.press("space", "down", "down", "space")
        await until(pilot, lambda: shows(app, "2 marked: c compares"), "the count")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the Compare screen")
        assert isinstance(app.screen, CompareScreen)
        assert [record.id for record in app.screen._records] == [made[2].id, made[0].id]


async def test_adapters_of_two_bases_are_refused(app_folders: Path) -> None:
    recorded("one")
    recorded("two", base_id="another/base")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 2)
        await pilot.press("space", "down", "space", "c")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        assert isinstance(app.screen, ErrorDialog) and "different base models" in app.screen.text


async def test_the_command_that_makes_it_again(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("one")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 1)
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard.startswith("dnd-tui generate /data/animals.jsonl --out")
        assert "--seed 3" in app.clipboard


async def test_a_damaged_entry_is_told_and_can_be_deleted(app_folders: Path) -> None:
    record = recorded("fine")
    (record.folder.parent / "record.json").write_text("{")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 1)
        assert "broken JSON" in dict(screen(app).query_one(Facts).lines)["damaged"]
        await pilot.press("c", "e", "d")
        await until(pilot, lambda: names(app) == [], "the deletion")


async def test_export_by_the_mouse(app_folders: Path) -> None:
    recorded("one")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 1)
        await pilot.click("#export")
        # Over it comes a dialog, for these adapters are empty.
        await until(pilot, lambda: isinstance(app.screen_stack[0], ExportScreen), "the Export screen")


async def test_an_empty_library_says_what_to_do(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await app.go("library")
        await pilot.pause()
        empty = screen(app).query_one("#empty")
        assert empty.display and "Make the first adapter (key 1)" in str(empty.query_one(Static).content)
        await pilot.press("c", "e", "g", "r", "d", "u", "y", "space")
        assert isinstance(app.screen, LibraryScreen)
