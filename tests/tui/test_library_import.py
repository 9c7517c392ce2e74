"""Importing adapters of other tools: drops, the dialog, the job with the real engine process on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.export.screen import ExportScreen
from dnd_tui.screens.library.importing import ImportDialog
from dnd_tui.screens.library.screen import LibraryScreen
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_field import PathField
from engine.adapter.peft_folder import read_peft_folder
from engine.requests import ExportRequest, ModelChoice
from tests.tui.conftest import until
from tests.tui.on_screen import shows
from tests.tui.test_screen_generate import generated
from tests.tui.test_screen_library import names, opened, recorded, screen


def dialog(app: DndApp) -> ImportDialog:
    assert isinstance(app.screen, ImportDialog)
    return app.screen


def value(app: DndApp, field: str) -> str:
    return dialog(app).query_one(f"#{field}", Input).value


def told(app: DndApp) -> str:
    return str(dialog(app).query_one("#remark", Static).content)


def problem(app: DndApp) -> str:
    return dialog(app).query(FormField).first().problem


async def dropped(pilot: Pilot[None], *paths: Path) -> None:
    pilot.app.post_message(events.Paste(" ".join(f"'{path}'" for path in paths)))


async def asked(pilot: Pilot[None], app: DndApp) -> None:
    await until(pilot, lambda: isinstance(app.screen, ImportDialog), "the dialog")


async def imported(pilot: Pilot[None], app: DndApp, name: str) -> AdapterRecord:
    await until(pilot, lambda: isinstance(app.screen, LibraryScreen) and name in names(app), name)
    await until(pilot, lambda: dict(screen(app).query_one(Facts).lines).get("name") == name, "the cursor on it")
    record = screen(app).chosen
    assert record
    return record


def peft_folder(folder: Path, **settings: object) -> Path:
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    return folder


async def of_another_tool(pilot: Pilot[None], app: DndApp, models: ModelChoice, prompts: Path, form: str) -> Path:
    """An adapter in this form, beside the prompts, and none in the library."""
    record = await generated(pilot, app, prompts, models)
    folder = prompts.parent / f"foreign {form}"
    request = ExportRequest(models=models, adapter=record.folder, out=folder, format=form)
    job = app.engine.start(request, "export", app)
    await until(pilot, lambda: job.outcome is not None, "the export")
    if form == "peft":
        for extra in ("README.md", "provenance.json", "SHA256SUMS"):
            (folder / extra).unlink()
        config = json.loads((folder / "adapter_config.json").read_text())
        config |= {"use_rslora": True, "base_model_name_or_path": "someone/tiny"}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    app.library.delete(record.id)
    return folder


async def test_a_dropped_folder_is_imported_compared_and_exported(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = DndApp(models=tiny_models)
    remarks: list[str] = []
    monkeypatch.setattr(app, "notify", lambda message, **more: remarks.append(message))
    async with app.run_test(size=(120, 40)) as pilot:
        folder = await of_another_tool(pilot, app, tiny_models, prompt_file, "peft")
        await dropped(pilot, folder)
        await asked(pilot, app)
        await until(pilot, lambda: value(app, "name") == "foreign peft", "the proposed name")
        assert told(app) == "A PEFT folder of rank 2, made for someone/tiny."
        assert value(app, "base") == "someone/tiny"
        dialog(app).query_one("#base", Input).value = tiny_models.base
        await pilot.click("#import")
        record = await imported(pilot, app, "foreign peft")
        assert (record.origin, record.imported, record.prompts, record.rank) == ("imported", folder, None, 2)
        assert record.base == tiny_models.base and any("rsLoRA" in change for change in record.changes)
        assert app.library.record(record.id) == record
        facts = screen(app).query_one(Facts).lines
        assert ("changed", record.changes[0]) in facts and dict(facts)["imported from"].endswith("foreign peft")
        assert " ".join(["Imported as foreign peft.", *record.changes]) in remarks
        assert screen(app).query_one("#again", Button).disabled
        await pilot.press("y")
        assert app.clipboard.startswith("dnd-tui import") and str(folder) in app.clipboard
        # It has no prompts: they are typed, or dropped.
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the Compare screen")
        compare = app.screen
        assert isinstance(compare, CompareScreen)
        await until(pilot, lambda: shows(app, "Type a prompt (i)"), "what to do")
        await pilot.press("i", *"hello", "enter")
        await until(pilot, lambda: compare.shown and compare.shown.done and not compare.running, "the answers")
        assert compare.shown and set(compare.shown.answers) == {"base", "foreign peft"}
        await dropped(pilot, prompt_file)
        await until(pilot, lambda: len(compare.query_one(PromptList).rows) == 12, "the prompts")
        assert app.screen is compare
        await pilot.press("enter")
        await until(pilot, lambda: compare.shown and compare.shown.number == 1 and compare.shown.done, "its answers")
        await until(pilot, lambda: app.library.record(record.id).scores, "the scores")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen) and shows(app, "yes"), "the programs")
        assert shows(app, "made from  foreign peft")


async def test_a_gguf_adapter_named_at_the_start(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp(models=tiny_models)
    async with app.run_test(size=(120, 40)) as pilot:
        folder = await of_another_tool(pilot, app, tiny_models, prompt_file, "gguf")
    file = folder / "adapter.gguf"
    app = DndApp(file, models=tiny_models)
    async with app.run_test(size=(60, 20)) as pilot:
        await asked(pilot, app)
        await until(pilot, lambda: value(app, "name") == "adapter", "the proposed name")
        assert "GGUF adapter" in told(app) and value(app, "base") == tiny_models.base
        await pilot.press("enter")
        record = await imported(pilot, app, "adapter")
        assert record.origin == "imported" and record.imported == file
        assert read_peft_folder(record.folder)[0].layout.lora.rank == 2


async def test_the_dialog_says_what_is_wrong_and_proposes(app_folders: Path, tmp_path: Path) -> None:
    recorded("known", base_id="someone/llama", base=str(tmp_path / "llama"))
    ours, theirs = peft_folder(tmp_path / "ours"), peft_folder(tmp_path / "x", base_model_name_or_path="someone/llama")
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, 1)
        await pilot.press("i")
        await asked(pilot, app)
        await pilot.press("enter")
        field = dialog(app).query_one(PathField)
        field.value = str(tmp_path)
        await until(pilot, lambda: problem(app) == "has no adapter_config.json", "the problem")
        assert shows(app, "✗ has no adapter_config.json")
        await pilot.press("enter")
        await pilot.pause()
        field.value = str(ours)
        await until(pilot, lambda: value(app, "name") == "ours", "the name")
        assert value(app, "base") == "default" and not problem(app)
        # What the person wrote stays; what was proposed follows.
        dialog(app).query_one("#name", Input).value = "mine"
        await dropped(pilot, theirs)
        await until(pilot, lambda: value(app, "base") == str(tmp_path / "llama"), "the base as it was chosen before")
        assert value(app, "name") == "mine" and "made for someone/llama" in told(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LibraryScreen), "the library")
        assert names(app) == ["known"]


async def test_an_adapter_that_does_not_fit_leaves_nothing(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    folder = peft_folder(prompt_file.parent / "broken")
    app = DndApp(models=tiny_models)
    async with app.run_test(size=(100, 30)) as pilot:
        await dropped(pilot, folder)
        await asked(pilot, app)
        await until(pilot, lambda: value(app, "name") == "broken", "the proposal")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the failure")
        await pilot.press("escape")
        assert names(app) == []
        assert not [each for each in app.library.folder.iterdir() if not each.name.startswith(".")]


@pytest.mark.parametrize("order", [1, -1])
async def test_prompts_and_an_adapter_dropped_together_are_explained(
    app_folders: Path, prompt_file: Path, order: int
) -> None:
    paths = [prompt_file, peft_folder(prompt_file.parent / "mine")]
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await dropped(pilot, *paths[::order])
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the explanation")
        assert isinstance(app.screen, ErrorDialog) and "dropped together with something else" in app.screen.text
