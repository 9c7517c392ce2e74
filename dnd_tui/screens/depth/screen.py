"""The Depth screen: a chain of the base's layers for a data set, searched, judged, accepted, compared, exported.

    choices --DepthRequest--> search --> chains to choose from --> accept: the data set's chain
                                                              --> compare, export

A search has a folder in the app's data: the same choices go on there, also in another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button

from dnd_tui import jobs
from dnd_tui.config import exports_folder
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.depth.chain_view import ChainView
from dnd_tui.screens.depth.chains import FoundChains, Lines, Subject, outcome_words
from dnd_tui.screens.depth.export import STAGES as EXPORT_STAGES
from dnd_tui.screens.depth.export import ChainExportDialog, export_lines
from dnd_tui.screens.depth.lists import AcceptedList, ChainMenu
from dnd_tui.screens.depth.search import STAGES, ParetoPlot, SearchFigures, SearchStanding, kept_chains
from dnd_tui.screens.depth.setup import DepthForm, SearchSetup
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.path_inputs import Dropped
from dnd_tui.widgets.stages import ending
from engine.errors import EngineError
from engine.events import Note
from engine.host import Failed, Finished, Stopped
from engine.requests import ChainExportRequest, DepthRequest


class DepthScreen(JobScreen):
    """Choices and accepted chains on the left; the chain that is looked at, and all others, on the right."""

    MODE = "depth"
    AUTO_FOCUS = ""
    HELP = """
# Depth

A model's layers can run in another order: one left out is *skipped*, one that comes again is *looped*. Here a chain of
layers is searched for a data set, on some labelled rows, and judged on rows that the search never saw.

- **Search** looks at many chains on few rows, then twice at the better ones on more; a full search would try each on
  all rows. It can be stopped at any moment: the best chain is kept, and the same choices go on from there.
- The **strip** has a cell for each layer of the base: ■ runs once, · is skipped, 2× runs twice. ↺ is where the chain
  goes back.
- The **plot** has every chain looked at: its score by the number of layers it runs.
- The **verdict** comes from held-out rows: with hundreds of chains, one looks good on the searched rows by chance.

Choose another chain in the list, then **accept** one as the chain of this data set, **compare** its answers with the
base's side by side, or **export** it for other programs.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "search", "Search", id="depth.search", tooltip="Search for a chain, or go on with the search"),
        Binding("s", "stop", "Stop", id="depth.stop", tooltip="Stop; the best chain so far is kept"),
        Binding("a", "accept", "Accept", id="depth.accept", tooltip="Keep this chain as the one of the data set"),
        Binding("c", "compare", "Compare", id="depth.compare", tooltip="Base and chain answer the same prompts"),
        Binding("e", "export", "Export", id="depth.export", tooltip="Write the chain for other programs"),
        Binding("y", "copy", "Copy command", id="depth.copy", show=False,
                tooltip="Copy the command that does the same"),
        Binding("d,delete", "remove", "Forget", id="depth.remove", show=False,
                tooltip="Forget the accepted chain under the cursor"),
        Binding("escape", "leave_field", "Leave field", id="depth.leave", show=False,
                tooltip="From a field to the buttons, where keys are commands"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    DepthScreen {
        #accepted-pane { height: auto; max-height: 9; }
        #chain-pane { height: auto; max-height: 60%; }
        #depth-panes.-tabs Pane { height: 1fr; max-height: 100%; }
        &.-short ChainView { StageList, Facts { margin-top: 0; } }
        &.-short SearchStanding Static { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-narrow #buttons Button, &.-normal #buttons Button { min-width: 8; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._loaded = False
        self._figures = SearchFigures()
        self._found: FoundChains | None = None
        self._request: DepthRequest | None = None
        self._export: jobs.Job | None = None
        self._exported: Lines = []
        self.subject: Subject | None = None

    def body(self) -> Iterable[Widget]:
        """Where it stands, panes, buttons."""
        yield SearchStanding()
        yield Panes(
            (
                Pane("Search", SearchSetup(id="setup"), id="search-pane", share=11),
                Pane("Accepted", AcceptedList(), id="accepted-pane"),
            ),
            (
                Pane("Chain", ChainView(), id="chain-pane", share=19),
                Pane("All chains", ChainMenu(), ParetoPlot(), id="all-pane"),
            ),
            narrow=100,
            id="depth-panes",
        )
        with Horizontal(id="buttons"):
            yield KeyButton("Search", "depth.search", id="search", variant="primary")
            yield KeyButton("Stop", "depth.stop", id="stop", variant="error")
            yield KeyButton("Accept", "depth.accept", id="accept", variant="success")
            yield KeyButton("Compare", "depth.compare", id="compare")
            yield KeyButton("Export", "depth.export", id="export")
            yield KeyButton("Copy command", "depth.copy", id="copy")

    # -- choices

    def on_mount(self) -> None:
        """What was chosen last."""
        self.query_one(ChainMenu).show(None)
        self._settle()
        self._load()

    def on_screen_resume(self) -> None:
        """Adapters may have come, files may have changed while another screen was open."""
        if self._loaded:
            self._load()

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        await self._read_lists()
        setup, first = self.query_one(SearchSetup), not self._loaded
        if first:
            await setup.load()
            self._loaded = True
        await setup.look()
        if first and self.focused is None:
            # Not the field itself: keys would type there, and those of the other screens are wanted too.
            self.query_one("#search" if setup.form.choices.source else "#source Button").focus()

    async def _read_lists(self) -> None:
        """Adapters to choose from, and the chains accepted so far."""
        try:
            entries = await asyncio.to_thread(self.dnd.library.entries)
            await self.query_one(AcceptedList).load()
        except EngineError as error:
            # No dialog: it would come again as soon as it is closed.
            self.dnd.journal.add(str(error), warning=True)
            return
        self.query_one(SearchSetup).offer([entry for entry in entries if isinstance(entry, AdapterRecord)])

    @on(Dropped)
    def _dropped(self, message: Dropped) -> None:
        """One drop is the prompts, two are prompts and held-out rows."""
        message.stop()
        if self.running:
            self.notify("Stop the search first", severity="warning")
            return
        source, *others = map(str, message.paths)
        self.query_one(DepthForm).drop(source, others[0] if others else None)
        self.query_one(Panes).show("search-pane")
        self.query_one("#search").focus()

    # -- the search

    @work(exclusive=True, group="search")
    async def action_search(self) -> None:
        """Begin a search, or go on with it."""
        if self.running or self.query_one(DepthForm).focus_problem():
            self.query_one(Panes).show("chain-pane" if self.running else "search-pane")
            return
        try:
            request = await self.query_one(SearchSetup).request()
        except EngineError as error:
            self.dnd.show_error(error)
            return
        self._figures, self._found, self.subject, self._exported = SearchFigures(), None, None, []
        self._request = request
        self.query_one(ChainMenu).show(None)
        self.query_one(ChainView).clear()
        self.query_one(ParetoPlot).show([])
        self._begin(STAGES)
        self._job = self.dnd.engine.start(request, f"search a chain of layers for {request.source.name}", self)
        self._settle()
        self.query_one("#stop").focus()

    def _begin(self, stages: tuple[str, ...]) -> None:
        self.query_one(ChainView).begin(stages)
        self.query_one(Panes).show("chain-pane")

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job not in (self._job, self._export):
            return
        for event in message.events:
            self.query_one(ChainView).handle(event)
            if message.job is self._job:
                self._figures.handle(event)
            if isinstance(event, Note):
                self.notify(event.text, severity="warning" if event.warning else "information")
        if message.job is self._job:
            self.query_one(SearchStanding).follow(message.job, self._figures)
            self._show_best()

    def _show_best(self) -> None:
        """The best chain so far, among all that were looked at."""
        figures = self._figures
        if figures.best is None or figures.base is None:
            return
        self.query_one(ChainView).show(figures.best.chain, figures.base.layers)
        self.query_one(ParetoPlot).show(figures.points, base=figures.base.chain, chosen=figures.best.chain)

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is self._job:
            await self._finish(message)
        elif message.job is self._export:
            await self._finish_export(message)

    async def _finish(self, message: jobs.JobEnded) -> None:
        outcome, request, view = message.outcome, message.job.request, self.query_one(ChainView)
        assert isinstance(request, DepthRequest)
        found: FoundChains | None = None
        if isinstance(outcome, Finished):
            found = FoundChains.of(outcome.result.to_json())
            view.end("done", stages=False)
        elif isinstance(outcome, Stopped):
            found = await kept_chains(request.out) if self._figures.best else None
            found = found if found and found.stopped else None
            view.end("stopped", stages=found is None)
        else:
            view.end("failed", stages=bool(self._figures.place))  # refused before it began, it has no stages
            self.dnd.show_error(outcome)
        self._show_found(found, stopped=isinstance(outcome, Stopped))
        if found is not None and self.is_current and self.focused is self.query_one("#stop"):
            self.query_one(ChainMenu).focus()
        await self.query_one(SearchSetup).look()

    def _show_found(self, found: FoundChains | None, *, stopped: bool) -> None:
        """How a search ended, and the chains to choose from."""
        self._found = found
        figures = self._figures.lines(running=False)[:1]
        self.query_one(SearchStanding).show_lines(outcome_words(found, stopped=stopped), *figures)
        if found is not None:
            self.query_one(ChainMenu).show(found)
            self._look_at(found.best)

    @on(SearchSetup.Looked)
    def _looked(self) -> None:
        """What an earlier search with these choices found stands beside them."""
        setup = self.query_one(SearchSetup)
        other = setup.wanted and (self._request is None or self._request.out != setup.wanted.out)
        if setup.kept is not None and other and not self.running:
            self._figures, self._request = SearchFigures(), setup.wanted
            self._show_found(setup.kept, stopped=setup.kept.stopped)
        self._settle()

    # -- the chain that is looked at

    @on(ChainMenu.Highlighted)
    def _highlighted(self, message: ChainMenu.Highlighted) -> None:
        if self._found is not None and not self.running:
            self._look_at(message.number)

    def _look_at(self, number: int) -> None:
        """Show a chain that was found: strip, figures, its place in the plot."""
        found, request = self._found, self._request
        assert found and request
        adapter = self.query_one(SearchSetup).adapter_in(request.adapter)
        self._show_subject(Subject.of_found(found, number, request, adapter))
        base, *front = chains = [one.chain for one in found.chains]
        self.query_one(ParetoPlot).show(self._figures.points, front, base, chains[number])

    @on(AcceptedList.Chosen)
    def _accepted_chosen(self, message: AcceptedList.Chosen) -> None:
        if self.running:
            self.notify("Stop the search first", severity="warning")
            return
        self._show_subject(self.query_one(AcceptedList).subject(message.record))
        self.query_one(SearchStanding).show_lines(f"Accepted for {one_line(message.record.dataset)}")
        self.query_one(Panes).show("chain-pane")

    def _show_subject(self, subject: Subject) -> None:
        if self.subject is None or self.subject.chain != subject.chain:
            self._exported = []
        self.subject = subject
        self.query_one(ChainView).show(subject.chain, subject.layers)
        self._settle()

    # -- what is shown

    @on(jobs.JobBegan)
    def _settle(self) -> None:
        """Buttons and texts as the state has it."""
        running, busy = self.running, self._export is not None and self._export.outcome is None
        self.query_one(DepthForm).disabled = running
        search, setup = self.query_one("#search", KeyButton), self.query_one(SearchSetup)
        search.title = "Go on" if setup.begun and not (setup.kept and not setup.kept.stopped) else "Search"
        search.disabled = running
        self.query_one("#stop", Button).disabled = not (running or busy)
        possible = self.subject is not None and self.subject.is_other and not running and not busy
        for name in ("compare", "export"):
            self.query_one(f"#{name}", Button).disabled = not possible
        self.query_one("#accept", Button).disabled = not (possible and self.subject and self.subject.acceptable)
        lines = [*self.subject.lines, *self._exported] if self.subject and not busy else []
        self.query_one(ChainView).show_lines(lines)
        if self._job is not None and running:
            self.query_one(SearchStanding).follow(self._job, self._figures)
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey."""
        if self.is_mounted and action in ("search", "stop", "accept", "compare", "export"):
            return None if any(button.disabled for button in self.query(f"#{action}").results(Button)) else True
        return True

    # -- actions

    @on(Button.Pressed, "#search,#stop,#accept,#compare,#export,#copy")
    async def _pressed(self, event: Button.Pressed) -> None:
        await self.run_action(str(event.button.id))

    def action_stop(self) -> None:
        """Stop the search, or the export."""
        for job in (self._job, self._export):
            if job is not None and job.outcome is None:
                self.dnd.engine.stop(job)
        self._settle()

    @work(exclusive=True, group="accept")
    async def action_accept(self) -> None:
        """Keep the chain as the one of the data set."""
        if self.subject is None or not self.subject.acceptable:
            return
        record = self.subject.record
        try:
            await self.query_one(AcceptedList).accept(self.subject)
        except EngineError as error:
            self.dnd.show_error(error)
            return
        self.notify(f"Accepted {record.chain} for {one_line(record.dataset)}")

    @work(exclusive=True, group="accept")
    async def action_remove(self) -> None:
        """Forget the accepted chain under the cursor."""
        accepted = self.query_one(AcceptedList)
        record = accepted.under_cursor
        if record and await self.dnd.ask(f"Forget the chain accepted for {one_line(record.dataset)}?", yes="Forget"):
            try:
                await accepted.forget(record)
            except EngineError as error:
                self.dnd.show_error(error)

    async def action_compare(self) -> None:
        """Base and chain, side by side on the held-out rows."""
        if self.subject is not None:
            await self.dnd.compare_chain(self.subject.compared())

    @work(exclusive=True, group="export")
    async def action_export(self) -> None:
        """Ask for form and folder, then write the chain."""
        if (subject := self.subject) is None:
            return
        above = exports_folder(self.dnd.settings)
        dialog = ChainExportDialog(subject.models, subject.place, subject.adapter, subject.name, above)
        request: ChainExportRequest | None = await self.app.push_screen_wait(dialog)
        if request is None:
            return
        self._exported = []
        self._begin(EXPORT_STAGES)
        self._export = self.dnd.engine.start(request, f"export a chain as {request.format}", self)
        self._settle()

    async def _finish_export(self, message: jobs.JobEnded) -> None:
        outcome, request = message.outcome, message.job.request
        assert isinstance(request, ChainExportRequest)
        self._exported = await export_lines(outcome, request)
        self.query_one(ChainView).end(ending(outcome), stages=False)
        if isinstance(outcome, Finished):
            self.notify(f"Exported to {request.out}")
        elif isinstance(outcome, Failed):
            self.dnd.show_error(outcome)
        self._settle()

    def action_copy(self) -> None:
        """Copy the command."""
        if command := self.query_one(SearchSetup).command:
            self.dnd.copy_text(command, "the command")
        else:
            self.dnd.show_error(EngineError("no prompts are named", hint="Name a file of labelled prompts"))

    def action_leave_field(self) -> None:
        """From a field to the buttons."""
        self.query_one("#stop" if self.running else "#search").focus()
