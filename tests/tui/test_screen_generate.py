"""The Generate screen with the real engine process on the tiny model."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.drop.screen import DropScreen
from dnd_tui.screens.generate.screen import GenerateScreen
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.heat_map import AdapterMap
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.stages import StageList
from engine.requests import CompareRequest, ContextChoice, LoadRequest, ModelChoice, PromptChoice
from tests.tui.conftest import until
from tests.tui.on_screen import shows


def screen(app: DndApp) -> GenerateScreen:
    assert isinstance(app.screen, GenerateScreen)
    return app.screen


def headline(app: DndApp) -> str:
    return str(screen(app).query_one("#headline", Static).content)


def facts(app: DndApp) -> dict[str, str]:
    return dict(screen(app).query_one("#facts", Facts).lines)


async def generated(pilot: Pilot[None], app: DndApp, prompts: Path, models: ModelChoice) -> AdapterRecord:
    await app.generate(PromptChoice(source=prompts), models, ContextChoice())
    await until(pilot, lambda: screen(app).record and not screen(app).running, "an adapter")
    record = screen(app).record
    assert record
    return record


@pytest.mark.own_engine
async def test_stages_picture_facts_and_library(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        record = await generated(pilot, app, prompt_file, tiny_models)
        assert (record.folder / "adapter_model.safetensors").is_file()
        assert app.library.record(record.id) == record
        assert len(record.norms) == 14 and set(record.norms) == set(screen(app)._norms)
        assert "14 modules" in str(screen(app).query_one(AdapterMap).render())
        await until(pilot, lambda: "cold" in facts(app).get("whole run", ""), "the first run's facts")
        assert "throughput" in facts(app)
        assert headline(app) == f"{prompt_file.name} → {record.name}"
        await until(pilot, lambda: app.focused and app.focused.id == "compare", "the focus on what comes next")
        again = await generated(pilot, app, prompt_file, tiny_models)
        assert again.id != record.id and again.name == f"{record.name} 2" and again.warm
        await until(pilot, lambda: "warm" in facts(app).get("whole run", ""), "the second run's facts")
        await until(pilot, lambda: screen(app).query_one("#runs", DataTable).row_count == 2, "both runs in the history")


def solved(models: ModelChoice) -> ModelChoice:
    """The same base without a generator: what stands in the prompts decides."""
    return replace(models, generator=None)


def verdict(app: DndApp) -> str:
    line = screen(app).query_one("#verdict", Static)
    return str(line.content) if line.display else ""


def stage_names(app: DndApp) -> list[str]:
    return list(screen(app).query_one(StageList)._rows)


async def test_answered_rows_become_an_adapter_that_is_checked(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        record = await generated(pilot, app, prompt_file, solved(tiny_models))
        assert stage_names(app) == ["import", "read", "load", "context", "solve", "fit", "check", "attach", "write"]
        assert (record.made_from, record.context, record.generator_digest) == ("examples", "", "")
        assert record.verdict
        await until(pilot, lambda: verdict(app) == f"Held out: {record.verdict}", "what the check found")
        told = facts(app)
        assert told["made from"] == "answered examples (12 answers found)" and told["rows"].startswith("10, ")
        for way in ("base alone", "examples in prompt", "this adapter"):
            assert "tokens" in told[way] and "s a query" in told[way]
        # Layer by layer, and without an adapter that it would start from.
        assert record.norms and all(base == 0 for _, base in record.norms.values())
        await pilot.press("r")
        await until(pilot, lambda: len(app.library.entries()) == 2 and not screen(app).running, "the same again")
        assert app.engine.jobs == []


async def test_an_instruction_is_kept_for_the_next_time(
    app_folders: Path, tiny_models: ModelChoice, tmp_path: Path
) -> None:
    prompts = tmp_path / "words.txt"
    prompts.write_text("who\nwhen\nwhere\n")
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        choice = ContextChoice(context="Answer in one word.")
        await app.generate(PromptChoice(source=prompts), solved(tiny_models), choice)
        await until(pilot, lambda: screen(app).record and not screen(app).running, "an adapter")
        record = screen(app).record
        assert record and record.solve == ContextChoice(made_from="instruction", context="Answer in one word.")
        # Three rows are too few to keep some back.
        assert "check" not in stage_names(app) and "answer" in stage_names(app)
        await until(pilot, lambda: verdict(app).startswith("! Not checked"), "the warning")
        assert record.verdict == ""
        await app.go("library")
        await until(pilot, lambda: shows(app, "Answer in one word."), "the entry")
        await pilot.press("g")
        await until(pilot, lambda: isinstance(app.screen, GenerateScreen) and screen(app).record, "an adapter again")
        await until(pilot, lambda: len(app.library.entries()) == 2 and not screen(app).running, "both")
        again, first = app.library.entries()
        assert isinstance(again, AdapterRecord) and again.solve == record.solve and again.id != first.id


@pytest.mark.own_engine
async def test_while_models_are_loaded_ahead_the_run_shows_how_far_that_is(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        ahead = app.engine.start(LoadRequest(models=tiny_models), "load the models", app)
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        await until(pilot, lambda: "after the job before it: load the models" in headline(app), "the run that waits")
        stages = screen(app).query_one(StageList)
        await until(pilot, lambda: any(row.state != "waiting" for row in stages._rows.values()), "a stage of the other")
        assert app.engine.running is ahead
        await until(pilot, lambda: screen(app).record, "the adapter")
        assert all(row.state == "done" for row in stages._rows.values())


def remarks(app: DndApp) -> str:
    return " ".join(notification.message for notification in app._notifications)


async def test_what_is_pressed_during_a_run_follows_it_or_is_refused_in_words(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        prompts = PromptChoice(source=prompt_file)
        request = CompareRequest(models=tiny_models, prompts=prompts, max_new_tokens=4000, temperature=1.0)
        before = app.engine.start(request, "answer for long", app)
        await app.generate(prompts, tiny_models, ContextChoice())
        await until(pilot, lambda: screen(app).running and app.focused, "the run")
        assert app.focused is screen(app).query_one("#compare")
        await pilot.press("r")
        assert "Not while this is under way: generate an adapter" in remarks(app)
        await pilot.press("e", "c")
        assert headline(app).endswith(", then compare")
        app.engine.stop(before)
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "what was asked for")
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, GenerateScreen), "the run again")
        assert "whole run" in facts(app) and app.focused is screen(app).query_one("#compare")


@pytest.mark.own_engine
async def test_stop_ends_the_run_and_nothing_is_kept(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        await until(pilot, lambda: screen(app).running, "the run")
        await pilot.press("escape")
        await until(pilot, lambda: not screen(app).running, "its end")
        await until(pilot, lambda: "Stopped" in headline(app), "the word that it was stopped")
        assert app.library.entries() == []
        assert (await generated(pilot, app, prompt_file, tiny_models)).parameters


@pytest.mark.own_engine
async def test_the_engine_killed_in_mid_job_is_told_and_the_next_run_works(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        await until(pilot, lambda: app.engine.running, "the engine at work")
        os.kill(app.engine.pids[0], signal.SIGKILL)
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        assert isinstance(app.screen, ErrorDialog) and "killed" in app.screen.text
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, GenerateScreen), "the screen again")
        await pilot.press("r")
        await until(pilot, lambda: screen(app).record, "an adapter after all")


async def test_without_a_generator_for_the_base_the_error_leads_to_solving(
    app_folders: Path, tiny_models: ModelChoice, tiny_qwen2_folder: Path, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        other = replace(tiny_models, base=str(tiny_qwen2_folder))
        await app.generate(PromptChoice(source=prompt_file), other, ContextChoice(made_from="generator"))
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        assert shows(app, "Solve from examples") and shows(app, "Forge")
        await until(pilot, lambda: app.focused and app.focused.id == "solve", "the first way")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DropScreen), "the prompts")
        await until(pilot, lambda: shows(app, "12 answers found"), "what the adapter is made from now")
        assert app.models == replace(other, generator=None)
        await until(pilot, lambda: app.focused and app.focused.id == "generate", "the button")


async def test_without_an_adapter_keys_are_refused_in_words(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.go("generate")
        await pilot.press("c")
        assert "There is no adapter here yet: drop a prompt file (key 1)" in remarks(app)
        await pilot.press("s")
        assert "Nothing is under way here" in remarks(app)


async def test_a_deleted_file_is_told(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        prompt_file.unlink()
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the dialog")
        assert isinstance(app.screen, ErrorDialog)
        assert "no such file" in app.screen.text and str(prompt_file) in app.screen.text


async def test_an_earlier_run_can_be_seen_again_in_another_session(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    first = DndApp()
    async with first.run_test(size=(120, 40)) as pilot:
        record = await generated(pilot, first, prompt_file, tiny_models)
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.go("generate")
        table = screen(app).query_one("#runs", DataTable)
        await until(pilot, lambda: table.row_count == 1, "the history")
        table.focus()
        await pilot.press("enter")
        await until(pilot, lambda: screen(app).record == record, "the record")
        assert "14 modules" in str(screen(app).query_one(AdapterMap).render())
        assert ("warm" if record.warm else "cold") in facts(app)["whole run"]


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)])
async def test_the_main_button_is_on_the_screen(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path, size: tuple[int, int]
) -> None:
    app = DndApp()
    async with app.run_test(size=size) as pilot:
        await app.go("generate")
        await pilot.pause()
        region = screen(app).query_one("#compare").region
        assert region.height and app.screen.region.contains_region(region)
