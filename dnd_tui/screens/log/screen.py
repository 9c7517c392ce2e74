"""The Log screen: what happened, what the engine printed, what was run; and the text of a bug report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button, Input, TabbedContent, TabPane

from dnd_tui.bug_report import bug_report, tail
from dnd_tui.config import data_folder, log_folder
from dnd_tui.screens.base import TabbedScreen
from dnd_tui.screens.log.tabs import JournalList, LogTail, RunList
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.path_inputs import DropInput
from engine.errors import EngineError
from engine.files import write_text


class LogScreen(TabbedScreen):
    """A search field over four tabs."""

    MODE = "log"
    AUTO_FOCUS = "#journal-list"
    HELP = """
# Log

- **Journal**: what happened since the app was opened. `!` marks a warning, `+` an entry with details: Enter opens it.
- **Engine**, **Files**: what the two engine processes and their libraries printed: that for the models, that for
  questions about files.
- **Runs**: every job, also of earlier days. Enter copies the headless command that does the same.

The search field keeps the lines that hold every word. *Copy bug report* copies versions, terminal, settings and the
end of the logs, and saves them as a file; your home folder is written as `~`. Read it before you send it: file names
are in it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy_report", "Copy bug report", id="log.report",
                tooltip="Copy the text of a bug report, and save it"),
        Binding("slash", "search", "Search", id="log.search", tooltip="Search what is shown"),
        Binding("escape", "leave_search", "Leave search", id="log.leave_search", show=False,
                tooltip="Show everything again"),
        Binding("right_square_bracket", "next_tab(1)", "Next tab", id="log.next_tab", show=False,
                tooltip="Show the next log"),
        Binding("left_square_bracket", "next_tab(-1)", "Tab before", id="log.tab_before", show=False,
                tooltip="Show the log before"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    LogScreen {
        #top { height: auto; padding: 0 1; }
        #search { width: 1fr; border: none; height: 1; padding: 0 1; background: $panel; }
        #search:focus { border: none; background: $boost; }
    }
    """
    CSS = """
    LogScreen #top Button { height: 1; border: none; margin-left: 1; }
    """

    def body(self) -> Iterable[Widget]:
        """Search and button, tabs."""
        with Horizontal(id="top"):
            yield DropInput(placeholder="Search", id="search", select_on_focus=False)
            yield KeyButton("Copy bug report", "log.report", id="report")
        with TabbedContent(id="tabs"):
            with TabPane("Journal", id="journal"):
                yield JournalList(id="journal-list")
            with TabPane("Engine", id="engine"):
                yield LogTail(log_folder() / "engine.log", id="engine-log")
            with TabPane("Files", id="files"):
                yield LogTail(log_folder() / "files.log", id="files-log")
            with TabPane("Runs", id="runs"):
                yield RunList(id="run-list")

    def on_mount(self) -> None:
        """Files are looked at once a second, as long as they are on the screen."""
        self.set_interval(1.0, self._look)

    def action_search(self) -> None:
        """To the search field."""
        self.query_one("#search").focus()

    def action_leave_search(self) -> None:
        """Everything again."""
        self.query_one("#search", Input).value = ""
        self.focus_inside()

    @on(Button.Pressed, "#report")
    @work(exclusive=True, group="report")
    async def action_copy_report(self) -> None:
        """Copy the bug report, and save it beside the logs."""
        log = await asyncio.to_thread(tail, log_folder() / "engine.log")
        size = self.app.size
        text = bug_report(self.dnd.settings, list(self.dnd.journal.entries), log, (size.width, size.height))
        self.dnd.copy_text(text, "the bug report")
        file = data_folder() / "reports" / f"bug-report-{datetime.now():%Y%m%d-%H%M%S}.md"
        try:
            await asyncio.to_thread(write_text, file, text)
        except EngineError as error:
            self.dnd.show_error(error)
            return
        self.notify(f"Saved as {file}", timeout=8, markup=False)

    @on(TabbedContent.TabActivated)
    @on(Input.Changed, "#search")
    def _filter(self) -> None:
        """What is searched for, in the open tab."""
        wanted = self.query_one("#search", Input).value
        for shown in self._open_view():
            shown.filter(wanted)
        self._look()

    @on(Input.Submitted, "#search")
    def focus_inside(self) -> None:
        """What is shown, where the arrows move a cursor."""
        for shown in self._open_view():
            shown.focus()

    def _open_view(self) -> list[JournalList | LogTail | RunList]:
        pane = self.tabs.active_pane
        if pane is None:
            return []
        return [each for each in pane.children if isinstance(each, JournalList | LogTail | RunList)]

    def _look(self) -> None:
        """Read again what has changed on the disk and is on the screen."""
        if self.is_current:
            for shown in self._open_view():
                if isinstance(shown, LogTail | RunList):
                    shown.look()
