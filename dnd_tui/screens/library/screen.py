"""The Library screen: every adapter made or imported so far, and what can be done with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Center, Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, DataTable, Input, Static

from dnd_tui.screens.base import AppScreen
from dnd_tui.screens.dialogs import LongTextQuestion, TextQuestion
from dnd_tui.screens.drop.start import FOUR_STEPS
from dnd_tui.screens.generate.plan import Training, plan_of
from dnd_tui.screens.library.combine import ask_how_to_combine
from dnd_tui.screens.library.entries import COLUMNS, Entry, LibraryJob, Search, cells, command_of, facts, finished_words
from dnd_tui.screens.library.importing import ask_what_to_import
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line, printable
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.heat_map import AdapterMap
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.path_inputs import DropInput
from dnd_tui.widgets.table import Table
from engine.errors import EngineError

# Actions on the entry under the cursor.
_NEED_ENTRY = frozenset({"compare", "mark", "export", "again", "train", "rename", "note", "delete", "copy_command"})
_EMPTY = f"Nothing here yet. Make the first adapter (key 1), or import one (key i)\n\n{FOUR_STEPS}"
# A table of more is slow to draw, and nobody looks through it.
_MOST_ROWS = 500


class LibraryScreen(AppScreen):
    """A table of adapters, the chosen one's facts and picture beside it."""

    MODE = "library"
    AUTO_FOCUS = "#table"
    HELP = """
# Library

Every adapter is kept here, with its data set, its base, its times and its scores.
Choose one and compare it with its base, export it, rename it or generate it again. Where its prompts have answers,
*Train on* makes a new adapter from it, trained on all of them. Mark several with Space to compare them side by side,
or to **combine** them: their weighted sum becomes a new adapter, exact or of a smaller rank; weights 1 and -1 give the
difference of two. Of one adapter alone, the rank can be reduced. Deleting can be undone for a week. A **note** (key n)
stays with the adapter: the search finds it, and the card of an export holds it.

An adapter of another tool is **imported**: a PEFT folder, or a GGUF adapter of llama.cpp. Drop it on the app, or choose
it here. It is checked on its base, brought into our form, and kept beside the others; what was changed is shown.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "undo", "Undo", id="library.undo", tooltip="Bring the adapter deleted last back"),
        Binding("c", "compare", "Compare", id="library.compare", tooltip="Compare the marked adapters, or this one"),
        Binding("space", "mark", "Mark", id="library.mark", tooltip="Mark this adapter, to compare or combine"),
        Binding("m", "combine", "Combine", id="library.combine",
                tooltip="Average the marked adapters, or add them up with weights; or reduce the rank of this one"),
        Binding("i", "import", "Import", id="library.import",
                tooltip="Take in an adapter of another tool: a PEFT folder or a GGUF adapter"),
        Binding("e", "export", "Export", id="library.export", tooltip="Export this adapter"),
        Binding("g", "again", "Again", id="library.again", tooltip="The same prompts and choices once more"),
        Binding("t", "train", "Train on", id="library.train",
                tooltip="Train this adapter on all answers of its prompts; the result is a new one"),
        Binding("r", "rename", "Rename", id="library.rename", show=False, tooltip="Give this adapter another name"),
        Binding("n", "note", "Note", id="library.note", tooltip="Write a note about this adapter"),
        Binding("d,delete", "delete", "Delete", id="library.delete", tooltip="Delete this adapter; u brings it back"),
        Binding("y", "copy_command", "Command", id="library.command", show=False,
                tooltip="Copy the headless command for the same"),
        Binding("slash", "search", "Search", id="library.search", tooltip="Search names, data sets, bases, notes"),
        Binding("s,escape", "stop", "Stop", id="library.stop", tooltip="Stop the job; nothing is kept"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    LibraryScreen {
        #search { height: 1; border: none; padding: 0 1; margin-bottom: 1; }
        #table { height: 1fr; }
        #empty { height: 1fr; align: center middle; color: $text-muted; Static { width: auto; max-width: 100%; } }
        #more { height: 1; color: $text-muted; display: none; }
        #details VerticalScroll { height: auto; max-height: 60%; }
        AdapterMap { height: 1fr; margin-top: 1; }
        &.-short AdapterMap { display: none; }
        &.-short LibraryJob { border: none; StageList { max-height: 3; } }
        &.-narrow #buttons, &.-normal #buttons { padding: 0; Button { min-width: 8; margin: 0; } }
        &.-narrow #rename { display: none; }
    }
    """

    # Over the app's own style sheet, which the default styles of a widget are not.
    CSS = "LibraryJob Button { height: 1; border: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Entry] = {}
        self._marked: set[str] = set()
        self._deleted: list[str] = []
        self._trouble = ""
        self._search = Search()

    def body(self) -> Iterable[Widget]:
        """Search, table, details, buttons."""
        yield Panes(
            Pane(
                "Adapters",
                DropInput(placeholder="Search", id="search"),
                Center(Static(_EMPTY, markup=False), id="empty"),
                Table(("", *COLUMNS), zebra_stripes=True, id="table"),
                Static(id="more", markup=False),
                id="adapters",
                share=3,
            ),
            Pane(
                "Details",
                VerticalScroll(Facts(id="facts"), can_focus=False),
                AdapterMap(id="map"),
                id="details",
                share=2,
            ),
            narrow=100,
        )
        yield LibraryJob(id="job")
        with Horizontal(id="buttons"):
            yield KeyButton("Compare", "library.compare", id="compare", variant="primary")
            yield KeyButton("Combine", "library.combine", id="combine")
            yield KeyButton("Import", "library.import", id="import")
            yield KeyButton("Export", "library.export", id="export")
            yield KeyButton("Again", "library.again", id="again")
            yield KeyButton("Rename", "library.rename", id="rename")
            yield KeyButton("Delete", "library.delete", id="delete")
            yield KeyButton("Undo", "library.undo", id="undo", disabled=True)

    async def on_mount(self) -> None:
        """What is there."""
        await self.reload()

    async def on_screen_resume(self) -> None:
        """Other screens may have added adapters or scores."""
        if self.query("#table"):
            await self.reload()

    async def reload(self) -> None:
        """Read the library again; the cursor stays on its adapter."""
        self._trouble = ""
        try:
            entries = await asyncio.to_thread(self.dnd.library.entries)
        except EngineError as error:
            # In place: it would be read again as soon as a dialog is closed.
            entries, self._trouble = [], f"✗ {printable(str(error))}"
        found = {entry.id: entry for entry in entries}
        if found != self._entries or not found:
            self._entries = found
            self._marked &= set(found)
            self._show_table()

    def _show_table(self) -> None:
        table = self.query_one(Table)
        wanted = self.query_one("#search", DropInput).value
        found = self._search.found(self._entries.values(), wanted)
        shown = found[:_MOST_ROWS]
        today = datetime.now().astimezone()
        table.fill({entry.id: (self._mark(entry.id), *cells(entry, today)) for entry in shown})
        table.display = bool(shown)
        if shown and self.focused is None and self.is_current:
            table.focus()
        more = self.query_one("#more", Static)
        more.display = len(found) > len(shown)
        more.update(f"The newest {len(shown):,} of {len(found):,}; search for the others")
        empty = self.query_one("#empty")
        empty.display = not shown
        empty.query_one(Static).update(self._trouble or ("No adapter matches" if self._entries else _EMPTY))
        self._show_details()

    # -- the chosen adapter

    def _mark(self, id: str) -> str:
        return "✓" if id in self._marked else " "

    @property
    def chosen(self) -> AdapterRecord | None:
        """The adapter under the cursor; None also where it is damaged."""
        entry = self._entries.get(self.query_one(Table).current or "")
        return entry if isinstance(entry, AdapterRecord) else None

    @on(DataTable.RowHighlighted)
    def _show_details(self) -> None:
        entry = self._entries.get(self.query_one(Table).current or "")
        count = len(self._marked)
        self.query_one("#adapters", Pane).border_subtitle = f"{count} marked: c compares, m combines" if count else ""
        self.query_one("#facts", Facts).set(facts(entry) if entry else [])
        picture = self.query_one(AdapterMap)
        norms = entry.norms if isinstance(entry, AdapterRecord) else {}
        picture.show(norms)
        picture.display = bool(norms) or entry is None
        for name in ("compare", "export", "rename"):
            self.query_one(f"#{name}", Button).disabled = self.chosen is None
        self.query_one("#again", Button).disabled = self.chosen is None or self.chosen.prompts is None
        running = self.query_one(LibraryJob).running
        self.query_one("#combine", Button).disabled = running or not self._picked
        self.query_one("#import", Button).disabled = running
        self.query_one("#delete", Button).disabled = entry is None
        self.query_one("#undo", Button).disabled = not self._deleted
        self.refresh_bindings()

    @on(DataTable.RowSelected)
    async def _row_selected(self) -> None:
        await self.action_compare()

    @on(Button.Pressed)
    async def _pressed(self, event: Button.Pressed) -> None:
        await self.run_action(str(event.button.id))

    @on(Input.Changed, "#search")
    def _search_changed(self) -> None:
        self._show_table()

    @on(Input.Submitted, "#search")
    def _search_submitted(self) -> None:
        self.query_one("#table").focus()

    # -- actions

    def action_search(self) -> None:
        """To the search field."""
        self.query_one(Panes).show("adapters")
        self.query_one("#search").focus()

    def action_mark(self) -> None:
        """Mark or unmark the chosen adapter."""
        if self.chosen:
            self._marked ^= {self.chosen.id}
            self.query_one(Table).mark(self._mark(self.chosen.id))
            self._show_details()

    @property
    def _picked(self) -> list[AdapterRecord]:
        """The marked adapters, or the chosen one."""
        marked = [entry for entry in self._entries.values() if entry.id in self._marked]
        found = [entry for entry in marked if isinstance(entry, AdapterRecord)]
        return found or ([self.chosen] if self.chosen else [])

    async def action_compare(self) -> None:
        """The marked adapters, or the chosen one; all must be of one base."""
        found = self._picked
        if len({record.base_id for record in found}) > 1:
            problem = "adapters of different base models cannot be compared side by side"
            self.dnd.show_error(EngineError(problem, hint="Mark adapters of one base only"))
        elif found:
            await self.dnd.compare(found)

    async def action_export(self) -> None:
        """Export the chosen adapter."""
        if self.chosen:
            await self.dnd.export(self.chosen)

    async def action_again(self) -> None:
        """Make it again with the same choices."""
        record = self.chosen
        plan = plan_of(record) if record else None
        if plan:
            await self.dnd.make(plan)
        elif record:
            self.notify(f"{record.name} was {record.origin}, not generated from prompts", severity="warning")

    async def action_train(self) -> None:
        """A new adapter: the chosen one, trained on all answers of its prompts."""
        record = self.chosen
        if record and record.why_not_trained:
            self.notify(record.why_not_trained, severity="warning")
        elif record:
            await self.dnd.make(Training.of(record))

    @work(group="library")
    async def action_rename(self) -> None:
        """Ask for another name."""
        record = self.chosen
        if record:
            name = await self.app.push_screen_wait(TextQuestion("New name", record.name))
            if name and name.strip():
                await self._change(lambda: self.dnd.library.rename(record.id, name))

    @work(group="library")
    async def action_note(self) -> None:
        """Write a note, or another one."""
        record = self.chosen
        if record:
            dialog = LongTextQuestion(f"Note on {one_line(record.name)}", record.note, "What is it good for?")
            note: str | None = await self.app.push_screen_wait(dialog)
            if note is not None and note != record.note:
                await self._change(lambda: self.dnd.library.set_note(record.id, note))

    async def action_delete(self) -> None:
        """Delete the chosen adapter; no question, since it can be undone."""
        id = self.query_one(Table).current
        if id:
            if await self._change(lambda: self.dnd.library.delete(id)):
                self._deleted.append(id)
                self.notify("Deleted. Press u to bring it back", timeout=6)
            self._show_details()

    async def action_undo(self) -> None:
        """Bring back what was deleted last."""
        if self._deleted:
            id = self._deleted.pop()
            await self._change(lambda: self.dnd.library.undo_delete(id))
            self._show_details()

    def action_copy_command(self) -> None:
        """Copy the headless command that makes the same adapter."""
        if self.chosen:
            self.dnd.copy_text(command_of(self.chosen, self.dnd.library.folder), "the command")

    # -- new adapters

    @work(exclusive=True, group="combine")
    async def action_combine(self) -> None:
        """Add the marked adapters up, or reduce the rank of the chosen one."""
        if self._picked:
            plan = await ask_how_to_combine(self.dnd, self._picked)
            if plan is not None:
                self.query_one(LibraryJob).begin(plan)

    def action_import(self) -> None:
        """Take in an adapter of another tool."""
        self.begin_import(None)

    @work(exclusive=True, group="import")
    async def begin_import(self, source: Path | None) -> None:
        """Ask how, then import the adapter at `source`, or one that the person names."""
        job = self.query_one(LibraryJob)
        if job.running:
            self.notify("Stop the running job first", severity="warning")
            return
        plan = await ask_what_to_import(self.dnd, source)
        if plan is not None:
            job.begin(plan)

    def action_stop(self) -> None:
        """Stop what makes an adapter."""
        self.query_one(LibraryJob).stop()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One adapter is made at a time; there is not always something to stop or to bring back."""
        if action == "undo":
            return bool(self._deleted)
        if self.is_mounted and action in _NEED_ENTRY:
            return True if (self.query_one(Table).current if action == "delete" else self.chosen) else None
        if action in ("combine", "import", "stop") and self.is_mounted:
            running = self.query_one(LibraryJob).running
            possible = not running and (action != "combine" or bool(self._picked))
            return running if action == "stop" else possible or None
        return True

    @on(LibraryJob.Changed)
    def _job_changed(self) -> None:
        self._show_details()

    @on(LibraryJob.Added)
    async def _added(self, message: LibraryJob.Added) -> None:
        """The cursor goes to the new adapter."""
        record = message.record
        self._marked.clear()
        search = self.query_one("#search", DropInput)
        with self.prevent(Input.Changed):
            search.value = ""
        await self.reload()
        table = self.query_one(Table)
        table.point_at(record.id)
        self.notify(finished_words(record))
        if self.is_current:
            table.focus()

    async def _change(self, change: Callable[[], Any]) -> bool:
        """Do something to the library in a thread; False, and a dialog, when it could not be done."""
        try:
            await asyncio.to_thread(change)
        except EngineError as error:
            self.dnd.show_error(error)
            return False
        await self.reload()
        return True
