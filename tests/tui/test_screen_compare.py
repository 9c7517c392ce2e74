"""The Compare screen with the real engine process on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Select, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.answers import AnswerPanes, StateLine
from dnd_tui.screens.compare.dialogs import OptionsDialog, SaveDialog
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import printable
from dnd_tui.widgets.path_field import PathField
from engine.requests import ModelChoice
from tests.tui.conftest import until
from tests.tui.test_screen_generate import generated


def screen(app: DndApp) -> CompareScreen:
    assert isinstance(app.screen, CompareScreen)
    return app.screen


async def opened(
    pilot: Pilot[None], app: DndApp, prompts: Path, models: ModelChoice, many: int = 1
) -> list[AdapterRecord]:
    """Compare with so many new adapters."""
    records = [await generated(pilot, app, prompts, models) for _ in range(many)]
    await app.compare(records)
    await until(pilot, lambda: table(app).row_count == 12, "the prompts")
    return records


def table(app: DndApp) -> DataTable[object]:
    return screen(app).query_one("#prompts-table", DataTable)


def under_cursor(app: DndApp) -> int | None:
    row = screen(app).query_one(PromptList).current
    return row.number if row else None


async def answered(pilot: Pilot[None], app: DndApp, count: int) -> None:
    def done() -> bool:
        return sum(prompt.done for prompt in screen(app).comparison.prompts.values()) == count

    await until(pilot, lambda: done() and not screen(app).running, f"{count} answers")


async def test_one_prompt_by_enter_and_all_of_them(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        (record,) = await opened(pilot, app, prompt_file, tiny_models)
        table(app).focus()
        await pilot.press("down", "enter")
        await answered(pilot, app, 1)
        prompt = screen(app).comparison.prompts[2]
        panes = screen(app).query_one("#answers", AnswerPanes)
        for arm in ("base", record.name):
            assert panes.answer(arm).strip() == printable(prompt.answers[arm].text).strip()
            assert prompt.answers[arm].score is not None and prompt.answers[arm].tokens
        await pilot.press("a")
        await answered(pilot, app, 12)
        base, adapted = screen(app).comparison.scores({})
        assert base.judged == adapted.judged == 12
        # List and answers have gone along together; the keys go on from there.
        shown = screen(app).shown
        assert shown and shown.number > 2 and under_cursor(app) == shown.number
        await pilot.press("k")
        await until(pilot, lambda: under_cursor(app) == screen(app).shown.number == shown.number - 1, "the one before")
        # Scores belong to the adapter from now on.
        await until(pilot, lambda: {score.rows for score in app.library.record(record.id).scores} == {12}, "the scores")
        kept = {score.arm: score.mean for score in app.library.record(record.id).scores}
        assert kept == {"base": base.mean, "adapted": adapted.mean}


async def test_a_prompt_of_ones_own(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, prompt_file, tiny_models)
        for count, text in enumerate(("say hello", "and goodbye"), 1):
            await pilot.press("i", *(key if key != " " else "space" for key in text), "enter")
            await answered(pilot, app, count)
            shown = screen(app).shown
            assert shown and shown.prompt == text and shown.number == -count
            await pilot.press("escape")
        assert table(app).row_count == 14


async def test_stop_keeps_what_is_finished(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    prompt_file.write_text("".join(json.dumps({"prompt": f"say {n}"}) + "\n" for n in range(400)))
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        records = [await generated(pilot, app, prompt_file, tiny_models)]
        await app.compare(records)
        await until(pilot, lambda: table(app).row_count >= 100, "the prompts")
        table(app).focus()
        await pilot.press("a")
        await until(pilot, lambda: any(p.done for p in screen(app).comparison.prompts.values()), "the first answers")
        await pilot.press("s")
        await until(pilot, lambda: not screen(app).running, "the end")
        await pilot.pause()
        answers = [prompt for prompt in screen(app).comparison.prompts.values() if prompt.answers]
        assert 0 < len(answers) < 100 and all(prompt.done for prompt in answers)


async def test_picks_are_tallied_and_kept(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        (record,) = await opened(pilot, app, prompt_file, tiny_models)
        table(app).focus()
        await pilot.press("b")  # nothing is answered: nothing to pick
        assert screen(app).comparison.picks({}) == {"base": 0, record.name: 0}
        await pilot.press("enter")
        await answered(pilot, app, 1)
        await pilot.press("n")
        await until(pilot, lambda: app.library.record(record.id).picks == {"base": 0, "adapted": 1}, "the pick")
        await pilot.press("b")
        await until(pilot, lambda: app.library.record(record.id).picks == {"base": 1, "adapted": 0}, "the other pick")
        await pilot.press("t")
        await until(pilot, lambda: app.library.record(record.id).picks == {"base": 0, "adapted": 0}, "the tie")


async def test_several_adapters_stand_side_by_side(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        records = await opened(pilot, app, prompt_file, tiny_models, many=3)
        table(app).focus()
        await pilot.press("enter")
        await answered(pilot, app, 1)
        arms = ["base", *(record.name for record in records)]
        shown = screen(app).shown
        assert shown and list(shown.answers) and set(shown.answers) == set(arms)
        # Made from the same prompts: the same adapter, hence the same answers under the same seed.
        assert len({shown.answers[arm].text for arm in arms[1:]}) == 1
        await pilot.press("n", "n")
        assert shown.pick == arms[2]


async def test_drawn_answers_are_the_same_under_the_same_seed(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, prompt_file, tiny_models)
        table(app).focus()
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, OptionsDialog), "the dialog")
        app.screen.query_one("#temperature", Input).value = "1.5"
        app.screen.query_one("#max", Input).value = "12"
        await pilot.click("#use")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the screen")
        texts = []
        for _ in range(2):
            table(app).focus()
            await pilot.press("enter")
            await answered(pilot, app, 1)
            texts.append(screen(app).comparison.prompts[1].answers["base"].text)
        assert texts[0] == texts[1]
        screen(app).options = screen(app).options.__class__(12, 1.5, 7, "rouge_l")
        await pilot.press("enter")
        await answered(pilot, app, 1)
        assert screen(app).comparison.prompts[1].answers["base"].text != texts[0]


async def test_examples_in_the_prompt_are_an_arm_and_the_scores_are_told_in_words(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(200, 50)) as pilot:
        (record,) = await opened(pilot, app, prompt_file, tiny_models)
        verdict = screen(app).query_one("#verdict", Static)
        table(app).focus()
        await pilot.press("b", "o")
        assert not verdict.display
        await until(pilot, lambda: isinstance(app.screen, OptionsDialog), "the dialog")
        examples = app.screen.query_one("#examples", Input)
        assert examples.placeholder == "none; 8 are usual" and not examples.value
        assert app.screen.query_one("#metric", Select).value == ""
        examples.value = "8"
        app.screen.query_one("#max", Input).value = "4"
        await pilot.click("#use")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the screen")
        table(app).focus()
        await pilot.press("enter")
        await answered(pilot, app, 1)
        arms = ["base", "examples in the prompt", record.name]
        prompt = screen(app).comparison.prompts[1]
        assert list(screen(app).comparison.arms) == arms and set(prompt.answers) == set(arms)
        asked = {arm: prompt.answers[arm].asked for arm in arms}
        assert asked["base"] == asked[record.name] < asked["examples in the prompt"]
        states = [str(line.tooltip) for line in screen(app).query(StateLine)]
        assert all(f"{asked[arm]} tokens a query" in state for arm, state in zip(arms, states, strict=True))
        # It comes after the scores are kept, a moment after the last answer.
        await until(pilot, lambda: verdict.display, "the verdict")
        told = str(verdict.render())
        assert "of 1 right; the base alone" in told and "always answering '3' 1" in told
        assert "Answers by llama.cpp, float16." in told or "Answers by transformers, float32" in told
        assert "the base with 8 examples in the prompt" in told and "chance 33%, majority 100%" in told
        assert "No sure difference between the adapter and the base alone on 1 row" in told
        # Of all the others some are kept back, for else there would be no examples. Once more, they have some too.
        for done in (7, 11, 12):
            await pilot.press("a")
            await answered(pilot, app, done)
        await until(pilot, lambda: {score.rows for score in app.library.record(record.id).scores} == {12}, "the scores")
        kept = {(score.arm, score.metric) for score in app.library.record(record.id).scores}
        assert kept == {("base", "label"), ("adapted", "label")}


async def test_the_transcript_is_saved_and_replaced_only_when_agreed(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    target = app_folders / "answers.json"
    target.write_text("mine")
    async with app.run_test(size=(120, 40)) as pilot:
        (record,) = await opened(pilot, app, prompt_file, tiny_models)
        table(app).focus()
        await pilot.press("enter")
        await answered(pilot, app, 1)
        for agree in (False, True):
            table(app).focus()
            await pilot.press("w")
            await until(pilot, lambda: isinstance(app.screen, SaveDialog), "the dialog")
            app.screen.query_one(PathField).value = str(target)
            await pilot.click("#save")
            await until(pilot, lambda: app.screen.query("#yes"), "the question")
            await pilot.press("y" if agree else "n")
            if not agree:
                await until(pilot, lambda: isinstance(app.screen, SaveDialog), "the dialog again")
                assert target.read_text() == "mine"
                await pilot.press("escape")
        await until(pilot, lambda: target.read_text() != "mine", "the file")
        saved = json.loads(target.read_text())
        assert saved["rows"][0]["answers"].keys() == {"base", record.name} and saved["settings"]["base"]


async def test_a_source_that_is_gone_still_lets_one_type(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        record = await generated(pilot, app, prompt_file, tiny_models)
        prompt_file.unlink()
        await app.compare([record])
        problem = screen(app).query_one("#problem")
        await until(pilot, lambda: problem.display and "no such file" in str(problem.render()), "the reason")
        await pilot.press("i", "h", "i", "enter")
        await answered(pilot, app, 1)
