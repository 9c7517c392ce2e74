"""A new adapter on its way into the library: the job that makes it, with its stages, a way to stop it, and its record.

plan --new place--> request --> device process --> events: stages, remarks
                                               --> Finished: the record is added, `Added`
                                               --> Failed, Stopped: nothing is left behind
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.generate.facts import RunFacts
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line
from dnd_tui.widgets.stages import StageList
from engine.errors import EngineError
from engine.events import Note
from engine.host import Failed, Finished
from engine.jobs.command_line import command_line
from engine.requests import ModelChoice, Request

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# Where the command that makes an adapter again writes it, beside the places of the library.
AGAIN = "again"


class Plan(Protocol):
    """An adapter that is to be made.

    name: what it will be called. title: of the job, a verb first. stages: of the job, in order.
    models: base and device.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def title(self) -> str: ...  # noqa: D102

    @property
    def stages(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def models(self) -> ModelChoice: ...  # noqa: D102

    def request(self, folder: Path) -> Request:
        """What makes it, at `folder`."""

    def origin(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields of its record that say what it was made of; `data` is what the job answered."""


class LibraryJob(Vertical):
    """One such job at a time; shown only while there is one."""

    DEFAULT_CSS = """
    LibraryJob {
        display: none; height: auto; padding: 0 1; border: round $primary;
        &.-running { display: block; }
        Horizontal { height: auto; }
        #doing { width: 1fr; height: 1; text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
        StageList { max-height: 6; }
    }
    """

    class Added(Message):
        """The adapter is in the library."""

        def __init__(self, record: AdapterRecord) -> None:
            super().__init__()
            self.record = record

    class Changed(Message):
        """A job began or ended."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plan: Plan | None = None
        self._place = ""
        self._job: jobs.Job | None = None
        self._facts = RunFacts()

    def compose(self) -> ComposeResult:
        """What is done, a button; the stages."""
        with Horizontal():
            yield Static(id="doing", markup=False)
            yield Button("Stop", id="stop", variant="error")
        yield StageList()

    @property
    def running(self) -> bool:
        """Whether an adapter is being made."""
        return self._plan is not None

    def begin(self, plan: Plan) -> None:
        """Make an adapter."""
        if self.running:
            self.notify("An adapter is being made; stop it first", severity="warning")
            return
        self._plan = plan
        self._start(plan)

    def stop(self) -> None:
        """Stop it; nothing is left of it."""
        if self._job is not None:
            self._dnd.engine.stop(self._job)

    @property
    def _dnd(self) -> DndApp:
        return cast("DndApp", self.app)

    @work(exclusive=True, group="library-job")
    async def _start(self, plan: Plan) -> None:
        try:
            self._place, folder = await asyncio.to_thread(self._dnd.library.new_place)
        except EngineError as error:
            self._end()
            self._dnd.tell(error)
            return
        self._facts = RunFacts()
        before = self._dnd.engine.jobs
        waits = f", after the job before it: {before[-1].title}" if before else ""
        self._say(f"{plan.title}{waits}")
        self.query_one(StageList).expect(plan.stages)
        self._job = self._dnd.engine.start(plan.request(folder), plan.title, self)
        self.add_class("-running")
        self.post_message(self.Changed())

    def _say(self, text: str) -> None:
        self.query_one("#doing", Static).update(one_line(text[:1].upper() + text[1:]))

    @on(jobs.JobBegan)
    def _began(self, message: jobs.JobBegan) -> None:
        if message.job is self._job:
            self._say(message.job.title)

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        for event in message.events:
            self.query_one(StageList).handle(event)
            self._facts.handle(event)
            if isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        plan, outcome = self._plan, message.outcome
        if message.job is not self._job or plan is None:
            return
        record = None
        if isinstance(outcome, Finished):
            try:
                record = await asyncio.to_thread(self._dnd.library.add, self._record(plan, outcome.result.data))
            except EngineError as error:
                self._dnd.tell(error)
        if record is None:
            # Stopped a moment too late, the adapter may be there; killed, half of it.
            await asyncio.to_thread(self._dnd.library.give_up, self._place)
        self._end()
        if record is not None:
            self.post_message(self.Added(record))
        elif isinstance(outcome, Failed):
            self._dnd.tell(outcome)
        else:
            self.notify("Stopped; nothing was added")

    def _end(self) -> None:
        self._plan = self._job = None
        self.remove_class("-running")
        self.post_message(self.Changed())

    def _record(self, plan: Plan, data: Mapping[str, Any]) -> AdapterRecord:
        library, models = self._dnd.library, plan.models
        return AdapterRecord(
            id=self._place,
            name=plan.name,
            folder=Path(data["adapter"]),
            base_id=data["base"],
            base=models.base,
            device=models.device,
            dtype=models.dtype,
            made=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=dict(data["seconds"]),
            warm=self._facts.warm,
            rank=data["rank"],
            parameters=data["parameters"],
            bytes=data["bytes"],
            command=command_line(plan.request(library.folder / AGAIN)),
            **plan.origin(data),
        )

    @on(Button.Pressed, "#stop")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.stop()
