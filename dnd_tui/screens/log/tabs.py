"""The tabs of the Log screen: the journal, the ends of log files, what was run."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.bug_report import tail
from dnd_tui.journal import Entry
from dnd_tui.services import app_of
from dnd_tui.state.histories import PastRun
from dnd_tui.text import duration, one_line, printable
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.lines import Cell, Facts, TableLine
from dnd_tui.widgets.path_inputs import DropTextArea
from engine.errors import EngineError

# Entries come faster than they are read away now and then; the list is drawn anew only when it is this much too long.
_TOO_MANY = 500


class JournalList(OptionList):
    """Entries, the newest at the end. As long as the cursor is on the last one, it follows."""

    DEFAULT_CSS = """
    JournalList { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy entry", id="journal.copy", tooltip="Copy the chosen entry with its details"),
    ]

    class Grew(Message):
        """The journal has one entry more."""

        def __init__(self, entry: Entry) -> None:
            super().__init__()
            self.entry = entry

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True)
        self._words: list[str] = []
        self._shown: list[Entry] = []
        self._open: set[int] = set()

    def on_mount(self) -> None:
        """All that happened so far, then every further entry, from whatever thread it comes."""
        self.filter("")
        app_of(self).journal.listen(self._heard)

    def filter(self, text: str) -> None:
        """Show the entries that hold every word of `text`."""
        self._words = text.casefold().split()
        self._open.clear()
        self._shown = [entry for entry in app_of(self).journal.entries if self._fits(entry)]
        self.set_options(Option(_drawn(entry, False)) for entry in self._shown)
        self._to_the_end()

    def _heard(self, entry: Entry) -> None:
        self.post_message(self.Grew(entry))

    @on(Grew)
    def _grown(self, message: Grew) -> None:
        message.stop()
        follows = self.highlighted in (None, self.option_count - 1)
        if not self._fits(message.entry) or any(entry is message.entry for entry in self._shown):
            return
        if len(self._shown) >= (app_of(self).journal.entries.maxlen or 0) + _TOO_MANY:
            self.filter(" ".join(self._words))
            return
        self._shown.append(message.entry)
        self.add_option(Option(_drawn(message.entry, False)))
        if follows:
            self._to_the_end()

    @on(OptionList.OptionSelected)
    def _toggle(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._open ^= {event.option_index}
        entry = self._shown[event.option_index]
        self.replace_option_prompt_at_index(event.option_index, _drawn(entry, event.option_index in self._open))

    def action_copy(self) -> None:
        """Copy the chosen entry."""
        if self.highlighted is not None:
            app_of(self).copy_text(self._shown[self.highlighted].line(), "the entry")

    def _fits(self, entry: Entry) -> bool:
        text = f"{entry.text}\n{entry.details}".casefold()
        return all(word in text for word in self._words)

    def _to_the_end(self) -> None:
        self.highlighted = self.option_count - 1 if self.option_count else None


def _drawn(entry: Entry, opened: bool) -> Content:
    """Time, signs, text: `!` is a warning, `+` has details."""
    clock = time.strftime("%H:%M:%S", time.localtime(entry.when))
    more = ("- " if opened else "+ ") if entry.details else "  "
    parts: list[str | tuple[str, str]] = [
        (f"{clock} ", "$foreground-muted"),
        ("! " if entry.warning else "  ", "bold $text-warning"),
        (more, "bold"),
        printable(entry.text),
    ]
    if opened:
        parts.append((f"\n{printable(entry.details).rstrip()}", "$foreground-muted"))
    return Content.assemble(*parts)


_BYTES = 200_000


class LogTail(DropTextArea):
    """Text that can be scrolled, selected and filtered, not changed."""

    DEFAULT_CSS = """
    LogTail { height: 1fr; border: none; padding: 0; }
    LogTail:focus { border: none; }
    """

    def __init__(self, file: Path, *, id: str | None = None) -> None:
        super().__init__("", read_only=True, id=id, show_line_numbers=False, placeholder="Nothing was logged yet")
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._text = ""
        self._words: list[str] = []

    def filter(self, text: str) -> None:
        """Show the lines that hold every word of `text`."""
        self._words = text.casefold().split()
        self._show()

    @work(exclusive=True, group="tail")
    async def look(self) -> None:
        """Read the file if it is another than before."""
        try:
            stamp = await ask_disk(partial(_stamp, self._file))
            if stamp == self._stamp:
                return
            self._text = printable(await ask_disk(partial(tail, self._file, _BYTES)))
        except TimeoutError:
            return
        self._stamp = stamp
        self._show()

    def _show(self) -> None:
        lines = self._text.splitlines()
        shown = "\n".join(line for line in lines if all(word in line.casefold() for word in self._words))
        if shown == self.text:
            return
        at_end = self.scroll_offset.y >= self.max_scroll_y
        before = self.scroll_offset.y
        self.load_text(shown)
        if at_end:
            self.move_cursor(self.document.end)
            self.scroll_end(animate=False)
        else:
            self.scroll_to(y=before, animate=False)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


_SIGNS = {"done": "✓", "failed": "✗", "cancelled": "■"}


class RunList(Vertical):
    """A table, the chosen run in full below it."""

    DEFAULT_CSS = """
    RunList {
        OptionList { height: 1fr; text-wrap: nowrap; }
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
            runs = await asyncio.to_thread(app_of(self).runs.find, self._wanted)
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
            app_of(self).copy_text(self._chosen.command, "the command")

    def _show_facts(self) -> None:
        run = self._chosen
        lines = [("command", run.command)] if run else []
        if run and run.error:
            lines.append(("error", run.error))
        self.query_one(Facts).set(lines)


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
