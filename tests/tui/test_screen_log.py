"""The Log screen: the journal, the engine's logs and past runs, live and searched; the bug report."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input, OptionList, TabbedContent

from dnd_tui.app import DndApp
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.log.screen import LogScreen
from dnd_tui.screens.log.tabs import JournalList, LogTail, RunList
from dnd_tui.state.histories import PastRun
from dnd_tui.widgets.lines import Facts
from engine.requests import InfoRequest, ModelChoice
from tests.tui.conftest import until


async def opened(pilot: Pilot[None], app: DndApp, tab: str = "journal") -> LogScreen:
    """The screen with this tab open and the focus in it."""
    screen = await app.go("log")
    assert isinstance(screen, LogScreen)
    await until(pilot, lambda: screen.focused, "a focus")
    if screen.query_one("#tabs", TabbedContent).active != tab:
        screen.open_tab(tab)
    pane = screen.query_one(f"#{tab}")
    await until(pilot, lambda: screen.focused and pane in screen.focused.ancestors, f"the focus in {tab}")
    return screen


def entries(screen: LogScreen) -> list[str]:
    """The lines of the journal without the time."""
    return [str(option.prompt)[len("00:00:00 ") :] for option in screen.query_one(JournalList).options]


async def search(pilot: Pilot[None], screen: LogScreen, text: str) -> None:
    await pilot.press("slash")
    box = screen.query_one("#search", Input)
    await until(pilot, lambda: box.has_focus, "the search")
    box.value = text


async def test_the_journal_is_live_and_opens_details(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        app.journal.add("before the screen was there")
        screen = await opened(pilot, app)
        await until(pilot, lambda: entries(screen) == ["    before the screen was there"], "the first entry")
        await app.go("settings")
        app.journal.add("while another screen was open [not markup]", "line 1\nline 2", warning=True)
        await opened(pilot, app)
        app.journal.add("\x1b[31mnot an escape sequence")
        await until(pilot, lambda: len(entries(screen)) == 3, "all entries")
        assert entries(screen)[1:] == [
            "! + while another screen was open [not markup]",
            "    \\x1b[31mnot an escape sequence",
        ]
        journal = screen.query_one(JournalList)
        assert journal.highlighted == 2, "the cursor follows"
        await pilot.press("up", "enter")
        await until(pilot, lambda: "line 2" in entries(screen)[1], "the details")
        assert entries(screen)[1].startswith("! - ")
        app.journal.add("one more")
        await until(pilot, lambda: len(entries(screen)) == 4, "the entry")
        assert journal.highlighted == 1, "whoever reads is not disturbed"
        await pilot.press("enter")
        await until(pilot, lambda: "line 2" not in entries(screen)[1], "the closed details")
        await pilot.press("y")
        await until(pilot, lambda: app.clipboard.endswith("           line 2"), "the copied entry")
        assert "! while another screen was open" in app.clipboard


async def test_the_journal_is_searched_in_its_details_too(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        app.journal.add("generate: done")
        app.journal.add("compare: failed", "Traceback: ValueError")
        app.journal.add("export: done")
        screen = await opened(pilot, app)
        await search(pilot, screen, "VALUE fail")
        await until(pilot, lambda: entries(screen) == ["  + compare: failed"], "the match")
        app.journal.add("not a match")
        app.journal.add("another failed value")
        await until(pilot, lambda: len(entries(screen)) == 2, "the further match")
        await pilot.press("enter")
        await until(pilot, lambda: screen.query_one(JournalList).has_focus, "the list")
        await pilot.press("escape")
        await until(pilot, lambda: len(entries(screen)) == 5, "everything again")


async def test_a_long_journal_stays_of_a_size(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app)
        for number in range(3000):
            app.journal.add(f"entry {number}")
        await until(pilot, lambda: entries(screen)[-1:] == ["    entry 2999"], "the last entry")
        assert len(entries(screen)) < 2600
        assert len(set(entries(screen))) == len(entries(screen)), "none twice"


async def test_what_the_engine_prints_is_shown_as_it_comes(app_folders: Path) -> None:
    log = app_folders / "data" / "logs" / "engine.log"
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        screen = await opened(pilot, app, "engine")
        shown = screen.query_one("#engine-log", LogTail)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("loading\nwarning: slow disk\n")
        await until(pilot, lambda: shown.text == "loading\nwarning: slow disk", "the log")
        with open(log, "a") as file:
            file.write("\x1b[1mready\n")
        await until(pilot, lambda: shown.text.endswith("\\x1b[1mready"), "the further line")
        await search(pilot, screen, "SLOW")
        await until(pilot, lambda: shown.text == "warning: slow disk", "the match")
        await pilot.press("escape")
        await until(pilot, lambda: shown.text.startswith("loading"), "everything again")
        # Nobody can write into it.
        before = shown.text
        shown.focus()
        await until(pilot, lambda: shown.has_focus, "the log")
        await pilot.press("x")
        assert shown.text == before


async def test_past_runs_are_listed_and_their_commands_copied(app_folders: Path, tmp_path: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        app.runs.add(PastRun(command="dnd-tui models", when="2025-11-02T10:00:00+00:00", seconds=3.0, outcome="done"))
        screen = await opened(pilot, app, "runs")
        lines = screen.query_one("#run-lines", OptionList)
        await until(pilot, lambda: lines.option_count == 1, "the run of before")
        missing = tmp_path / "no such file"
        app.engine.start(InfoRequest(models=ModelChoice(), target=missing), "look at a file", app.screen)
        await until(pilot, lambda: lines.option_count == 2, "the run that just failed")
        first = lines.options[0].prompt.content(110).plain  # type: ignore[union-attr]
        assert "✗ failed" in first and "dnd-tui info" in first
        assert "✓ done" in lines.options[1].prompt.content(110).plain  # type: ignore[union-attr]
        lines.highlighted = 0
        await until(pilot, lambda: dict(screen.query_one("#run-facts", Facts).lines).get("error"), "the error")
        await pilot.press("enter")
        await until(pilot, lambda: app.clipboard == f"dnd-tui info '{missing}'", "the command")
        await search(pilot, screen, "models done")
        await until(pilot, lambda: lines.option_count == 1, "the match")
        assert screen.query_one(RunList)._runs[0].command == "dnd-tui models"


async def test_the_bug_report_is_copied_and_saved(app_folders: Path) -> None:
    log = app_folders / "data" / "logs" / "engine.log"
    app = DndApp()
    async with app.run_test(size=(97, 31)) as pilot:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("what a library printed\n")
        app.journal.add("something failed", "its traceback", warning=True)
        app.change_settings(seed=5)
        screen = await opened(pilot, app)
        await pilot.press("c")
        await until(pilot, lambda: "### Versions" in app.clipboard, "the report")
        for part in ("seed = 5", "something failed", "its traceback", "what a library printed", "terminal 97 x 31"):
            assert part in app.clipboard, part
        folder = app_folders / "data" / "reports"
        await until(pilot, lambda: folder.is_dir() and list(folder.glob("bug-report-*.md")), "the file")
        (file,) = folder.glob("bug-report-*.md")
        assert file.read_text() == app.clipboard
        # By the mouse too; where it cannot be saved, that is told, and the text is copied all the same.
        file.unlink()
        folder.rmdir()
        folder.write_text("a file where the folder should be")
        app.copy_to_clipboard("")
        screen.query_one("#report").focus()
        await pilot.click("#report")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        assert "### Versions" in app.clipboard
