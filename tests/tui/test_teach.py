"""A model answers the prompts of the Drop screen: the form, the run, the table of answers, the new source."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.dialogs import ErrorDialog, Question
from dnd_tui.screens.drop.preview import PreviewView
from dnd_tui.screens.drop.screen import DropScreen
from dnd_tui.screens.teach.answers import TaughtDialog
from dnd_tui.screens.teach.form import TeachDialog
from dnd_tui.screens.teach.teaching import TeachRun
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_inputs import Dropped
from engine.events import StageAdvanced, StageStarted
from engine.host import Finished, JobEnded, JobEvent, Stopped
from engine.jobs.results import Result
from engine.prompts.answer_sheet import SheetRow, read_sheet, write_sheet
from engine.requests import ModelChoice, Request, TeachRequest
from tests.tiny import ends_its_answers
from tests.tui.conftest import until
from tests.tui.on_screen import shows
from tests.tui.still_life import StillEngine

WIDE = (120, 40)
ASKED = [f"{word}?" for word in ("who", "what", "when", "where", "why", "how")]


@pytest.fixture
def models(app_folders: Path) -> ModelChoice:
    """Nothing is loaded ahead."""
    config = app_folders / "config"
    config.mkdir()
    (config / "config.toml").write_text("load_ahead = false\n")
    return ModelChoice(device="cpu")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Prompts without answers and without a common instruction."""
    file = tmp_path / "bare.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in ASKED))
    return file


@pytest.fixture
def teacher(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """A random model whose answers come to an end: many of its tokens are one."""
    folder = tmp_path / "tiny-teacher"
    shutil.copytree(tiny_llama_folder, folder)
    return ends_its_answers(folder)


async def previewed(pilot: Pilot[None], app: DndApp, source: Path) -> PreviewView:
    app.post_message(Dropped((source,)))
    await until(pilot, lambda: app.screen.query_one(PreviewView).can_generate, "the preview")
    return app.screen.query_one(PreviewView)


async def asked_for(pilot: Pilot[None], app: DndApp) -> TeachDialog:
    await pilot.press("l")
    return await form(pilot, app)


async def form(pilot: Pilot[None], app: DndApp) -> TeachDialog:
    await until(pilot, lambda: isinstance(app.screen, TeachDialog), "the form")
    assert isinstance(app.screen, TeachDialog)
    return app.screen


async def table(pilot: Pilot[None], app: DndApp) -> TaughtDialog:
    await until(pilot, lambda: isinstance(app.screen, TaughtDialog), "the answers")
    assert isinstance(app.screen, TaughtDialog)
    return app.screen


def told(app: App[None]) -> str:
    return str(app.screen.query_one("#remark", Static).content)


def facts(app: DndApp) -> dict[str, str]:
    return dict(app.screen.query_one("#facts-lines", Facts).lines)


# -- the whole way, with a real model


async def test_a_model_answers_and_what_a_person_makes_of_it_is_the_source(
    models: ModelChoice, bare: Path, teacher: Path, app_folders: Path
) -> None:
    app = DndApp(models=models)
    file = app_folders / "data" / "answers-bare.jsonl"
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, bare)
        await until(pilot, lambda: shows(app, "Let a model answer l"), "the offer")
        dialog = await asked_for(pilot, app)
        assert shows(app, "environment variable OPENAI_API_KEY")
        dialog.query_one("#teacher", Input).value = str(teacher)
        await pilot.press("enter")
        await table(pilot, app)
        written = read_sheet(file)
        assert written is not None and [row.prompt for row in written] == ASKED
        answered = [place for place, row in enumerate(written) if row.answered_by == "tiny-teacher"]
        assert len(answered) >= 3, "enough to edit one, to empty one and to keep one"
        edited, emptied, kept = answered[:3]
        assert told(app).startswith(f"{len(answered)} answers, {len(answered)} by tiny-teacher")
        rows = app.screen.query_one(OptionList)
        rows.highlighted = edited
        await pilot.press("enter", *"ok ")
        # The last key before the next row counts too.
        app.screen.action_step(emptied - edited)  # type: ignore[attr-defined]
        await until(pilot, lambda: rows.highlighted == emptied, "the next row")
        await pilot.press("ctrl+end", "f7", "delete", "ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, DropScreen), "the end")
        name = f"{len(answered) - 1} answers found: from answered examples"
        await until(pilot, lambda: facts(app).get("made from") == name, "the new preview")
        assert facts(app)["answers"] == f"{len(answered) - 1} answers, {len(answered) - 2} by tiny-teacher"
        after = read_sheet(file)
        assert after is not None and [row.prompt for row in after] == ASKED
        assert after[edited] == SheetRow(ASKED[edited], f"ok {written[edited].response}")
        assert after[emptied] == SheetRow(ASKED[emptied]) and after[kept] == written[kept]


async def test_what_is_wrong_stands_in_the_form_and_a_teacher_that_is_not_there_is_told(
    models: ModelChoice, bare: Path, tmp_path: Path
) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, bare)
        dialog = await asked_for(pilot, app)
        assert dialog.query_one("#model", Input).disabled
        dialog.query_one("#count", Input).value = "many"
        dialog.query_one("#instruction", Input).value = "gone.txt"
        await pilot.click("#start")
        problems = {"must be named", "must be a whole number, 1 or more", "no such file"}
        await until(pilot, lambda: {f.problem for f in dialog.query(FormField) if f.problem} == problems, "the marks")
        assert app.focused and app.focused.id == "teacher"
        # A model file that is dropped is the teacher.
        gone = tmp_path / "gone.gguf"
        dialog.post_message(Dropped((gone,)))
        dialog.query_one("#count", Input).value = "5"
        dialog.query_one("#instruction", Input).value = ""
        await until(pilot, lambda: not [f for f in dialog.query(FormField) if f.problem], "nothing is wrong any more")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        assert isinstance(app.screen, ErrorDialog) and str(gone) in app.screen.text
        await pilot.press("escape")
        again = await form(pilot, app)
        assert again is not dialog and again.query_one("#count", Input).value == "5"
        assert again.query_one("#teacher", Input).value == str(gone) and not shows(app, "keeps the answers")
        again.query_one("#teacher", Input).value = "http://127.0.0.1:1/v1"
        await until(pilot, lambda: not again.query_one("#model", Input).disabled, "a server's models have names")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DropScreen), "the preview")


# -- stopped, and begun again: an engine that waits to be stopped


class SlowTeacher(StillEngine):
    """Answers two prompts a start, and ends when it is stopped; with the last prompt it is done."""

    asked: list[TeachRequest]

    def submit(self, request: Request) -> int:
        if not isinstance(request, TeachRequest):
            return super().submit(request)
        self._jobs += 1
        self.asked.append(request)
        rows = read_sheet(request.out) or [SheetRow(prompt) for prompt in ASKED]
        left = [place for place, row in enumerate(rows) if not row.response]
        for place in left[:2]:
            rows[place] = replace(rows[place], response=f"answer {place}", answered_by="big")
        write_sheet(request.out, rows)
        self._on_message(JobEvent(self._jobs, StageStarted("teach", len(left), "answers")))
        self._on_message(JobEvent(self._jobs, StageAdvanced("teach", 2, len(left), 1.0, {"tokens": 1234})))
        if len(left) <= 2:
            self._on_message(JobEnded(self._jobs, Finished(Result({}, ()))))
        return self._jobs

    def cancel(self, job: int) -> None:
        self._on_message(JobEnded(job, Stopped()))


async def test_stopped_it_keeps_the_answers_and_goes_on_in_the_same_file(
    models: ModelChoice, bare: Path, app_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TeachRequest] = []
    monkeypatch.setattr(SlowTeacher, "asked", asked, raising=False)
    monkeypatch.setattr("dnd_tui.engine_link.EngineProcess", lambda on_message, log: SlowTeacher(on_message))
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, bare)
        dialog = await asked_for(pilot, app)
        dialog.query_one("#teacher", Input).value = "http://127.0.0.1:8080/v1"
        for answered in (2, 4):
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, TeachRun) and shows(app, "tokens 1234"), "the answers")
            assert shows(app, f"2/{8 - answered}")
            # A drop does not end it.
            app.screen.post_message(Dropped((bare,)))
            if answered == 2:
                # Ended behind another dialog, it waits for that.
                await pilot.press("ctrl+q")
                await until(pilot, lambda: isinstance(app.screen, Question), "the question")
                await pilot.press("ctrl+t")
                await until(pilot, lambda: not app.engine.jobs, "the end of the job")
                await pilot.press("n")
            else:
                await pilot.press("escape")
            await table(pilot, app)
            assert told(app) == f"{answered} answers, {answered} by big, {6 - answered} missing"
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, DropScreen), "nothing was changed, nothing is asked")
            dialog = await asked_for(pilot, app)
            assert shows(app, "answers-bare.jsonl keeps the answers that it has")
        await pilot.press("enter")
        await table(pilot, app)
        assert told(app) == "6 answers, 6 by big"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DropScreen), "the preview")
        # It is complete: another start is another file.
        dialog = await asked_for(pilot, app)
        assert not shows(app, "keeps the answers")
        await pilot.press("enter")
        await until(pilot, lambda: len(asked) == 4, "the other start")
    names = [request.out.name for request in asked]
    assert names == ["answers-bare.jsonl"] * 3 + ["answers-bare-2.jsonl"]
    assert all(request.out.parent == app_folders / "data" for request in asked)


# -- the table alone


async def test_changes_are_not_lost_unasked_and_the_models_answers_stay(models: ModelChoice, tmp_path: Path) -> None:
    file, rows = tmp_path / "answers.jsonl", [SheetRow(f"{n}?", f"line {n}\nand \x1b[0m", "big") for n in range(64)]
    rows[5] = SheetRow("5?")
    write_sheet(file, rows)
    before = file.read_bytes()
    app = DndApp(models=models)
    async with app.run_test(size=(80, 24)) as pilot:
        result: list[bool | None] = []
        app.push_screen(TaughtDialog(file, rows), result.append)
        await table(pilot, app)
        assert told(app) == "63 answers, 63 by big, 1 missing"
        # To look at a row changes nothing, whatever stands in it.
        await pilot.press("enter", "ctrl+down", "ctrl+down", "x", "ctrl+z", "ctrl+up")
        assert app.screen.query_one(OptionList).highlighted == 1 and told(app) == "63 answers, 63 by big, 1 missing"
        await pilot.press("x")
        await until(pilot, lambda: told(app) == "63 answers, 62 by big, 1 missing", "the change")
        app.screen.post_message(Dropped((file,)))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("n")
        await table(pilot, app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question again")
        await pilot.press("y")
        await until(pilot, lambda: result == [False], "the end")
    assert file.read_bytes() == before


async def test_one_answer_is_not_enough_and_a_full_disk_loses_nothing(models: ModelChoice, tmp_path: Path) -> None:
    folder = tmp_path / "a file, no folder"
    folder.touch()
    app = DndApp(models=models)
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(TaughtDialog(folder / "answers.jsonl", [SheetRow("a?", "A", "big"), SheetRow("b?")]))
        dialog = await table(pilot, app)
        button = dialog.query_one("#save", Button)
        await pilot.press("ctrl+s")
        assert button.disabled and app.screen is dialog
        await pilot.press("down", "enter", "B")
        await until(pilot, lambda: not button.disabled, "enough")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is dialog and told(app) == "2 answers, 1 by big", "the answers")


# -- where it is offered


async def test_it_is_offered_wherever_prompts_have_no_answer(models: ModelChoice, bare: Path, tmp_path: Path) -> None:
    some, every = tmp_path / "some.jsonl", tmp_path / "every.jsonl"
    lines = [{"prompt": prompt, "response": "x" * (number % 3)} for number, prompt in enumerate(ASKED)]
    some.write_text("".join(json.dumps(line) + "\n" for line in lines))
    every.write_text("".join(json.dumps(line | {"response": "x"}) + "\n" for line in lines))
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        view = await previewed(pilot, app, some)
        await until(pilot, lambda: shows(app, "l Let a model answer"), "the key")
        assert view.unanswered is not None and not view.offers
        app.post_message(Dropped((every,)))
        await until(pilot, lambda: view.source == every and view.can_generate, "the other preview")
        await until(pilot, lambda: not shows(app, "l Let a model answer"), "the other keys")
        await pilot.press("l")
        assert view.unanswered is None and isinstance(app.screen, DropScreen)
