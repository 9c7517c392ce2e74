"""What has been asked of the engine, newest first; Enter copies the headless command for the same."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Self, cast

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.state.runs import PastRun
from dnd_tui.text import duration, one_line
from dnd_tui.widgets.facts import Facts
from dnd_tui.widgets.table_line import Cell, TableLine
from engine.errors import EngineError

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

_SIGNS = {"done": "✓", "failed": "✗", "cancelled": "■"}


class RunList(Vertical):
    """A table, the chosen run in full below it."""

    DEFAULT_CSS = """
    RunList {
        OptionList { height: 1fr; text-wrap: nowrap; }
        .titles { height: 1; text-style: bold; color: $text-muted; }
        Facts { max-height: 40%; margin-top: 1; overflow-y: auto; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: list[PastRun] = []
        self._wanted = ""

    def compose(self) -> ComposeResult:
        """Titles, lines, details."""
        yield Static(_line("when", "outcome", "took", "command"), classes="titles")
        yield OptionList(id="run-lines", compact=True)
        facts = Facts(id="run-facts")
        # The key that copies a value there copies the bug report on this screen; Enter copies the command.
        facts.can_focus = False
        yield facts

    def on_mount(self) -> None:
        """The runs of before."""
        self.look()

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the lines."""
        self.query_one(OptionList).focus(scroll_visible)
        return self

    def filter(self, text: str) -> None:
        """Show the runs that hold every word of `text`."""
        self._wanted = text
        self.look()

    @work(exclusive=True, group="runs")
    async def look(self) -> None:
        """Read the history again."""
        try:
            runs = await asyncio.to_thread(self._dnd.runs.find, self._wanted)
        except EngineError as error:
            self.query_one(Facts).set([("problem", str(error))])
            return
        if runs == self._runs or not self.children:
            return  # nothing new, or the app ended meanwhile
        lines = self.query_one(OptionList)
        chosen = self._chosen
        self._runs = runs
        lines.set_options(Option(_line_of(run)) for run in runs)
        lines.highlighted = runs.index(chosen) if chosen in runs else 0 if runs else None
        self._show_facts()

    @property
    def _chosen(self) -> PastRun | None:
        at = self.query_one(OptionList).highlighted
        return self._runs[at] if at is not None and at < len(self._runs) else None

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._show_facts()

    @on(OptionList.OptionSelected)
    def _copy(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if self._chosen:
            self._dnd.copy_text(self._chosen.command, "the command")

    def _show_facts(self) -> None:
        run = self._chosen
        lines = [("command", run.command)] if run else []
        if run and run.error:
            lines.append(("error", run.error))
        self.query_one(Facts).set(lines)

    @property
    def _dnd(self) -> DndApp:
        return cast("DndApp", self.app)


def _line_of(run: PastRun) -> TableLine:
    try:
        when = f"{datetime.fromisoformat(run.when).astimezone():%d %b %H:%M}"
    except ValueError:
        when = one_line(run.when)
    outcome = f"{_SIGNS[run.outcome]} {run.outcome}"
    return _line(when, outcome, duration(run.seconds), one_line(run.command))


def _line(when: str, outcome: str, took: str, command: str) -> TableLine:
    return TableLine(
        Cell(when, 12, least=60),
        Cell(outcome, 11),
        Cell(took, 12, right=True, least=70),
        Cell(command),
    )
