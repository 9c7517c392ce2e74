"""Combining adapters of the library: the dialog, and the job with the real engine process on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from dnd_tui.app import DndApp
from dnd_tui.config import data_folder
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.library.combine import CombineDialog
from dnd_tui.screens.library.entries import LibraryJob
from dnd_tui.screens.library.screen import LibraryScreen
from dnd_tui.state.adapter_record import AdapterRecord, WeightedName
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.lines import Facts
from engine.adapter.peft_folder import read_peft_folder
from engine.requests import CompareRequest, ModelChoice
from tests.tui.conftest import until
from tests.tui.on_screen import shows
from tests.tui.test_screen_generate import generated
from tests.tui.test_screen_library import names, opened, recorded, screen


def with_rank(record: AdapterRecord, rank: object) -> AdapterRecord:
    (record.folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return record


def dialog(app: DndApp) -> CombineDialog:
    assert isinstance(app.screen, CombineDialog)
    return app.screen


def problems(app: DndApp) -> list[str]:
    return [field.problem for field in dialog(app).query(FormField)]


def fields(app: DndApp) -> list[Input]:
    return list(dialog(app).query(Input))


def told(app: DndApp) -> str:
    return str(dialog(app).query_one("#remark", Static).content)


async def asked(pilot: Pilot[None], app: DndApp) -> None:
    await until(pilot, lambda: isinstance(app.screen, CombineDialog), "the dialog")


async def made(pilot: Pilot[None], app: DndApp, name: str) -> AdapterRecord:
    await until(pilot, lambda: isinstance(app.screen, LibraryScreen) and name in names(app), name)
    await until(pilot, lambda: dict(screen(app).query_one(Facts).lines).get("name") == name, "the cursor on it")
    record = screen(app).chosen
    assert record
    return record


def left_behind(count: int) -> list[Path]:
    places = [each for each in (data_folder() / "library").iterdir() if not each.name.startswith(".")]
    return places if len(places) != count else []


async def test_problems_stand_beside_their_fields(app_folders: Path) -> None:
    with_rank(recorded("cats"), 8)
    with_rank(recorded("dogs"), 4)
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, 2)
        await pilot.press("space", "down", "space", "m")
        await asked(pilot, app)
        dogs, cats, rank, name = fields(app)
        assert [dogs.value, cats.value, rank.value, name.value] == ["0.5", "0.5", "", "dogs + cats"]
        assert told(app) == "The average has rank 12." and not any(problems(app))
        assert dogs.has_focus
        for field, text, problem in (
            (dogs, "half", "must be a number like 0.5 or -1"),
            (cats, "inf", "must be a number like 0.5 or -1"),
            (rank, "x", "must be a whole number, 1 or more"),
            (rank, "13", "must be from 1 to 12"),
        ):
            before, field.value = field.value, text
            await until(pilot, lambda problem=problem: problem in problems(app), problem)
            assert shows(app, f"✗ {problem}") and len(list(filter(None, problems(app)))) == 1
            await pilot.press("enter")
            await until(pilot, lambda field=field: field.has_focus, "the focus on the wrong field")
            field.value = before
            await until(pilot, lambda: not any(problems(app)), "no problem")
        rank.value = "5"
        await until(pilot, lambda: "rank 5 keeps" in told(app), "what a rank does")
        await pilot.press("escape")
        assert screen(app).query_one(LibraryJob).running is False


async def test_one_adapter_would_only_be_copied(app_folders: Path) -> None:
    with_rank(recorded("cats"), 8)
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot, app, 1)
        await pilot.press("m")
        await asked(pilot, app)
        weight, rank, name = fields(app)
        assert (weight.value, rank.value, name.value) == ("1", "4", "cats, smaller") and rank.has_focus
        rank.value = ""
        await until(pilot, lambda: "one adapter of weight 1 would only be copied" in problems(app), "the problem")
        weight.value = "0.5"
        await until(pilot, lambda: not any(problems(app)), "no problem")


@pytest.mark.parametrize(
    ("changes", "rank", "problem"),
    [({"base_id": "another/base"}, 8, "different base models cannot be added up"), ({}, "many", "has no rank")],
)
async def test_what_cannot_be_combined_is_refused_before(
    app_folders: Path, changes: dict[str, str], rank: object, problem: str
) -> None:
    with_rank(recorded("one"), 8)
    with_rank(recorded("two", **changes), rank)
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, 2)
        await pilot.press("space", "down", "space", "m")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        assert isinstance(app.screen, ErrorDialog) and problem in app.screen.text
        assert not left_behind(2)


async def test_a_sum_and_a_smaller_one(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        first = await generated(pilot, app, prompt_file, tiny_models)
        second = await generated(pilot, app, prompt_file, tiny_models)
        await opened(pilot, app, 2)
        await pilot.press("space", "down", "space")
        await pilot.click("#combine")
        await asked(pilot, app)
        fields(app)[0].value, fields(app)[1].value = "1", "-0.5"
        await pilot.press("enter")
        record = await made(pilot, app, f"{second.name} + {first.name}")
        assert (record.origin, record.prompts, record.rank, record.kept) == ("combined", None, 4, {})
        parts = (WeightedName(name=second.name, weight=1.0), WeightedName(name=first.name, weight=-0.5))
        assert record.parts == parts and app.library.record(record.id) == record
        facts = dict(screen(app).query_one(Facts).lines)
        assert facts["sum of"] == f"{second.name} - 0.5 x {first.name}" and facts["kept"].startswith("all")
        assert "rank 4" in facts["adapter"] and "generator" not in facts and app.focused is not None
        assert read_peft_folder(record.folder)[0].layout.lora.rank == 4
        assert screen(app).query_one("#again", Button).disabled
        await pilot.press("y")
        command = app.clipboard
        assert command.startswith("dnd-tui combine") and "--weight=-0.5" in command
        assert str(first.folder) in command and str(record.folder) not in command
        assert f"combine '{second.name}' '{first.name}'" in (record.folder / "README.md").read_text()
        # Its rank reduced again: what is kept is told.
        await pilot.press("m")
        await asked(pilot, app)
        await pilot.press("enter")
        smaller = await made(pilot, app, f"{record.name}, smaller")
        assert smaller.rank == 2 and 0 < smaller.kept["all"] <= 1 and "q_proj" in smaller.kept
        facts = dict(screen(app).query_one(Facts).lines)
        assert f"{smaller.kept['all']:.2%} of the squared norm; least of" in facts["kept"]
        assert shows(app, f"{smaller.kept['all']:.2%}")
        assert not left_behind(4)


async def test_nothing_is_left_of_a_failure_or_a_stop(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        record = await generated(pilot, app, prompt_file, tiny_models)
        weights = record.folder / "adapter_model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:100])
        await opened(pilot, app, 1)
        await pilot.press("m")
        await asked(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the failure")
        await pilot.press("escape")
        job = screen(app).query_one(LibraryJob)
        assert not job.running and not job.display and not left_behind(1)
        weights.write_bytes(whole)
        # Behind a job that takes long, there is time to stop it.
        request = CompareRequest(
            models=tiny_models, texts=("hello",) * 8, adapters=(record.folder,), max_new_tokens=4000, temperature=1.0
        )
        before = app.engine.start(request, "answer for long", app)
        await pilot.press("m")
        await asked(pilot, app)
        await pilot.press("enter")
        await until(pilot, lambda: shows(app, "after the job before it: answer for long"), "the job")
        assert screen(app).query_one("#combine", Button).disabled
        await pilot.press("s")
        await until(pilot, lambda: not job.running, "its end")
        app.engine.stop(before)
        assert not job.display and not left_behind(1) and names(app) == [record.name]
