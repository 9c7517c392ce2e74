"""What was asked before is found by its words and put back, with its answers."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import DataTable, OptionList

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.editor import PromptEditor
from dnd_tui.screens.compare.history import HistoryDialog
from dnd_tui.screens.compare.screen import CompareScreen
from tests.tui.conftest import until
from tests.tui.on_screen import lines
from tests.tui.still_life import ASKED, fill_library, still_life  # noqa: F401 - a fixture


async def searched(pilot: Pilot[None], app: DndApp, words: str, found: int) -> None:
    await pilot.press("slash")
    await until(pilot, lambda: isinstance(app.screen, HistoryDialog), "the dialog")
    await until(pilot, lambda: app.screen.query_one(OptionList).option_count, "what was asked")
    await pilot.press(*words)
    await until(pilot, lambda: app.screen.query_one(OptionList).option_count == found, "what is found")


async def taken(pilot: Pilot[None], app: DndApp) -> CompareScreen:
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the screen")
    assert isinstance(app.screen, CompareScreen)
    return app.screen


async def test_prompts_and_messages_are_found_in_the_next_run_of_the_app(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.compare(fill_library(still_life)[:1])
        await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 40, "the prompts")
        await pilot.press("enter")
        await until(pilot, lambda: len(app.asked.newest_first()) == 1, "the prompt of the file")
        await pilot.press("i", *"ships", "enter", "escape")
        await until(pilot, lambda: len(app.asked.newest_first()) == 2, "the typed one")
        await pilot.press("h", *"Hi", "enter")
        await until(pilot, lambda: len(app.asked.newest_first()) == 3, "the message")
        chat, typed, listed = app.asked.newest_first()
        assert (chat.prompt, chat.turn, typed.prompt, typed.source) == ("Hi", 1, "ships", "")
        assert listed.source == "topics.jsonl" and listed.answers == {
            "base": "The text is about a marathon.", "topics, 8 prompts": "sport"
        }  # fmt: skip
        assert {each.adapters for each in (chat, typed, listed)} == {("topics, 8 prompts",)}
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        # No adapter is chosen yet: one can look all the same.
        await app.go("compare")
        await searched(pilot, app, "lights", 1)
        screen = await taken(pilot, app)
        assert screen.query_one("#typed", PromptEditor).text == "ships"
        await until(pilot, lambda: "Lights and ships." in "\n".join(lines(app)), "its answers")
        assert "typed, HuggingFaceTB/SmolLM2-135M-Instruct," in "\n".join(lines(app))


async def test_a_prompt_of_before_stands_in_the_list_and_is_asked_anew(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    app.asked.add(ASKED)
    async with app.run_test(size=(120, 40)) as pilot:
        await app.compare(fill_library(still_life)[1:])
        table = app.screen.query_one(DataTable)
        await until(pilot, lambda: table.row_count == 40, "the prompts")
        await searched(pilot, app, "sport", 2)
        await pilot.press("down")
        screen = await taken(pilot, app)
        panes = screen.query_one("#answers", AnswerPanes)
        await until(pilot, lambda: "topics, 8 prompts" in panes._panes, "the arms of that time")
        await until(pilot, lambda: panes.answer("topics, 8 prompts") == "sport", "the answer of that time")
        assert "past Which topic" in str(table.get_row("-1")[0])
        # It is of no comparison: nothing to pick, to score or to save, and no prompt that is still open.
        await pilot.press("escape", "n")
        assert not screen.comparison.transcript_rows() and screen.shown and screen.shown.pick is None
        await pilot.press("a")
        await until(pilot, lambda: not screen.running and screen.comparison.prompts[3].done, "all others")
        assert screen.shown.number == -1 and panes.answer("base") == "A match."
        await pilot.press("enter")
        await until(pilot, lambda: screen.shown and screen.shown.done and not screen.shown.words, "new answers")
        assert "• typed Which topic" in str(table.get_row("-1")[0])
        assert list(panes._panes) == ["base", "topics"]


async def test_nothing_is_found_and_nothing_taken(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.go("compare")
        await pilot.press("slash")
        await until(pilot, lambda: "Nothing was asked so far" in "\n".join(lines(app)), "the remark")
        await pilot.press("enter", "escape")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the screen")
        assert not app.screen.query_one("#typed", PromptEditor).text
