"""How the Compare screen shows what there is: rows and picks, widths, remarks, an editor, answers of before."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import DataTable

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.arms import Compared, CompareOptions
from dnd_tui.screens.compare.editor import PromptEditor
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.compare.session import Sessions
from dnd_tui.state.adapter_record import AdapterRecord
from engine.events import AnswerText
from engine.requests import PromptChoice
from tests.tui.conftest import until
from tests.tui.on_screen import lines
from tests.tui.still_life import fill_library, still_life  # noqa: F401 - a fixture


async def opened(pilot: Pilot[None], app: DndApp, prompts: Path) -> CompareScreen:
    await app.compare(fill_library(prompts)[:1])
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    await until(pilot, lambda: screen.query_one(DataTable).row_count == 40, "the prompts")
    return screen


def row(screen: CompareScreen, number: int) -> str:
    table = screen.query_one(DataTable)
    return str(table.get_row(str(number))[0]) if str(number) in table.rows else ""


async def test_a_pick_goes_to_the_row_under_the_cursor_and_is_marked_there(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, still_life)
        await pilot.press("a")
        await until(pilot, lambda: " ✓ ✗ " in row(screen, 3), "the answers")
        await pilot.press("down", "n")
        await until(pilot, lambda: " ✗◆✓ " in row(screen, 2), "the mark")
        await pilot.press("k", "b", "j", "j", "t")
        await until(pilot, lambda: "=✓=✗ " in row(screen, 3), "the tie")
        assert "◆✗ ✓ " in row(screen, 1) and " · · " in row(screen, 4)


async def test_prompts_that_are_painted_at_once_are_there(still_life: Path) -> None:  # noqa: F811
    """What Textual measures after the first painting stayed blank."""
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await app.go("compare")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: "Choose an adapter" in "\n".join(lines(app)), "the empty list")
        screen.query_one(PromptList).add_typed(-1, "Who won?")
        lines(app)
        await until(pilot, lambda: any("typed Who won?" in line for line in lines(app)), "the prompt in the list")


async def test_prompts_have_the_width_until_there_are_answers(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, still_life)
        listed, answers = screen.query_one("#prompts"), screen.query_one("#side")
        assert listed.size.width > 110 and not answers.display
        # The whole of the prompt under the cursor stands below, with what is known to be right.
        await until(pilot, lambda: "reference: sport" in "\n".join(lines(app)), "the prompt in full")
        await pilot.press("a")
        await until(pilot, lambda: answers.display and answers.size.width > 60, "the answers")
        assert 40 < listed.size.width < 60 and not screen.query_one("#whole").display


async def test_remarks_never_cover_the_scores(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        screen = await opened(pilot, app, still_life)
        await pilot.press("a")
        await until(pilot, lambda: "2 of 3 right" in "\n".join(lines(app)), "the scores")
        app.notify("A remark that many a person will read\nin two lines", timeout=60)
        await until(pilot, lambda: "many a person" in "\n".join(lines(app)), "the remark")
        remark = screen.query_one("Toast").region
        assert remark.bottom <= screen.query_one("#foot").region.y


async def test_a_prompt_of_several_lines_and_escape_leaves_the_field(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, still_life)
        editor = screen.query_one("#typed", PromptEditor)
        await pilot.press("i", *"one", "ctrl+j", *"two")
        assert editor.text == "one\ntwo" and editor.size.height == 2
        await pilot.press("escape")
        assert isinstance(app.focused, DataTable) and editor.text == "one\ntwo"
        await pilot.press("i", "enter")
        await until(pilot, lambda: screen.shown and screen.shown.done, "the answers")
        assert screen.shown and screen.shown.prompt == "one\ntwo" and not editor.text
        assert screen.query_one(PromptList).current.number == screen.shown.number == -1  # type: ignore[union-attr]
        await pilot.press("escape", "n")
        await until(pilot, lambda: " •◆• typed one two" in row(screen, -1), "the pick of a key of the screen")


async def test_another_key_sends_where_the_settings_have_one(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    app.settings_file.parent.mkdir(parents=True)
    app.settings_file.write_text('[keys]\n"prompt.send" = "ctrl+r"\n')
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, still_life)
        editor = screen.query_one("#typed", PromptEditor)
        await pilot.press("i", *"one", "enter", *"two")
        assert editor.text == "one\ntwo"
        await pilot.press("ctrl+r")
        await until(pilot, lambda: screen.shown and screen.shown.prompt == "one\ntwo", "the prompt")


async def test_answers_are_there_when_it_is_opened_again(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app, still_life)
        await pilot.press("a")
        await until(pilot, lambda: " ✓ ✗ " in row(screen, 3), "the answers")
        await pilot.press("i", *"ships", "enter", "escape")
        await until(pilot, lambda: " • • typed" in row(screen, -1), "the typed one")
        await pilot.press("ctrl+home", "down", "n")
        await until(pilot, lambda: " ✗◆✓ " in row(screen, 2), "the pick")
        newer, older = (record for record in app.library.entries() if isinstance(record, AdapterRecord))
        await app.compare([older])
        await until(pilot, lambda: screen.query_one(DataTable).row_count == 40, "the prompts of the other")
        assert not screen.shown or not screen.shown.answers
        await app.compare([newer])
        await until(pilot, lambda: screen.query_one(DataTable).row_count == 41, "all rows")
        assert " ✗◆✓ " in row(screen, 2) and " • • typed ships" in row(screen, -1)
        current = screen.query_one(PromptList).current
        assert screen.shown and current and current.number == screen.shown.number == 2
        await until(
            pilot, lambda: "A warm wind" in screen.query_one("#answers", AnswerPanes).answer("base"), "its answer"
        )
        assert app.library.record(newer.id).picks == {"base": 1, "adapted": 4}


def test_picks_on_other_prompts_are_not_lost(still_life: Path) -> None:  # noqa: F811
    sessions = Sessions()
    compared = Compared.of_records(fill_library(still_life)[:1])
    picks = []
    for name in ("one", "two", "one"):
        session = sessions.choose(compared, PromptChoice(source=Path(name)), 0)
        prompt = session.type("hello")
        for arm in session.ask([prompt], CompareOptions()).arms:
            session.take(AnswerText(-1, arm, "hi", done=True))
        session.comparison.pick(prompt, "next")
        kept = session.kept()
        assert kept
        picks.append(kept[2]["adapted"])
    # Three are of earlier runs of the app.
    assert picks == [4, 5, 6]
    assert [prompt.number for prompt in session.comparison.prompts.values()] == [-1, -2]
