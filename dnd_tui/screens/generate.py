"""The Generate screen: a prompt batch becomes an adapter, stage by stage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Literal

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.base import AppScreen
from dnd_tui.screens.generate_facts import LoraTraining, RunFacts
from dnd_tui.screens.generate_history import History
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.facts import Facts
from dnd_tui.widgets.heat_map import AdapterMap
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.stages import StageList
from engine.errors import EngineError
from engine.events import Note, UpdateNorms
from engine.host import Failed, Finished, Stopped
from engine.requests import GenerateRequest, LoadRequest, ModelChoice, PromptChoice, TrainingTimeRequest

STAGES = ("import", "load", "read", "encode", "decode", "detokenise", "attach", "write")


class GenerateScreen(AppScreen):
    """Stages with their times, the adapter as a picture, earlier runs."""

    MODE = "generate"
    HELP = """
# Generate

The prompts of your data set become a LoRA adapter, without training. You see every stage with its time:

- **load**: base model, text encoder and generator come into memory (once; later runs are warm)
- **encode**: the text encoder reads the prompt batch, **decode**: the generator makes the weight tokens
- **detokenise**: weight tokens become LoRA matrices, **attach**: peft puts them on the base

The picture shows how large the update of each module of each layer is, beside that of the adapter that the generator
starts from. *Measure LoRA training* times a few real training steps on your labelled rows, for comparison.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "compare", "Compare", id="generate.compare", tooltip="Compare base and adapted answers"),
        Binding("e", "export", "Export", id="generate.export", tooltip="Export this adapter"),
        Binding("r", "again", "Again", id="generate.again", tooltip="Generate once more with the same choices"),
        Binding("m", "measure", "Measure training", id="generate.measure",
                tooltip="Time LoRA training on the same rows, for comparison"),
        Binding("escape,s", "stop", "Stop", id="generate.stop", tooltip="Stop at once"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    GenerateScreen {
        #headline { height: 1; padding: 0 1; text-style: bold; }
        #run { width: 1fr; }
        #run StageList { height: auto; }
        #run Facts { margin-top: 1; }
        #buttons { height: auto; padding: 0 1; }
        #buttons Button { margin-right: 1; }
        .column #picture { height: auto; }
        .-tabs #picture { height: 1fr; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.record: AdapterRecord | None = None
        self._choice: tuple[PromptChoice, ModelChoice] | None = None
        self._job: jobs.Job | None = None
        # Brings the models into memory, where the run waits for that.
        self._ahead: jobs.Job | None = None
        self._place: str | None = None
        self._facts = RunFacts()
        self._training = LoraTraining()
        self._norms: dict[str, tuple[float, float]] = {}

    def body(self) -> Iterable[Widget]:
        """Headline, panes, buttons."""
        yield Static("Drop a prompt file first (key 1)", id="headline", markup=False)
        yield Panes(
            Pane("Stages", VerticalScroll(StageList(id="stages"), Facts(id="facts"), can_focus=False), id="run"),
            (
                Pane("Adapter", AdapterMap(id="map"), id="picture"),
                Pane("Earlier runs", History(id="earlier"), id="history"),
            ),
            narrow=100,
        )
        with Horizontal(id="buttons"):
            yield Button("Compare", id="compare", variant="primary", disabled=True)
            yield Button("Export", id="export", disabled=True)
            yield Button("Again", id="again", disabled=True)
            yield Button("Measure LoRA training", id="measure", disabled=True)
            yield Button("Stop", id="stop", variant="error", disabled=True)

    # -- the run

    @property
    def running(self) -> bool:
        """Whether an adapter is being made."""
        return self._job is not None and self._job.outcome is None

    def begin(self, prompts: PromptChoice, models: ModelChoice) -> None:
        """Generate an adapter into the library; one at a time."""
        if self.running:
            self.notify("An adapter is being made; stop it first", severity="warning")
            return
        self._choice = prompts, models
        self.record = None
        self._start(prompts, models)

    @work(exclusive=True, group="generate")
    async def _start(self, prompts: PromptChoice, models: ModelChoice) -> None:
        try:
            self._place, folder = await asyncio.to_thread(self.dnd.library.new_place)
        except EngineError as error:
            self.dnd.tell(error)
            return
        self._norms = {}
        self._facts, self._training = RunFacts(), LoraTraining()
        self.query_one(AdapterMap).clear()
        self.query_one(StageList).expect(STAGES)
        self.query_one(Panes).show("run")
        title = f"generate an adapter from {prompts.source.name}"
        before = self.dnd.engine.jobs
        self._job = self.dnd.engine.start(GenerateRequest(models=models, prompts=prompts, out=folder), title, self)
        waits = f", after the job before it: {before[-1].title}" if before else ""
        self._say(f"{prompts.source.name} → adapter{waits}")
        self._ahead = next((job for job in before if job.request == LoadRequest(models=models)), None)
        if self._ahead:
            self._ahead.watchers.append(self)
        self._settle()

    @on(jobs.JobBegan)
    def _began(self, message: jobs.JobBegan) -> None:
        if message.job is self._job and self._choice:
            self._say(f"{self._choice[0].source.name} → adapter")
        self._settle()

    def _say(self, headline: str) -> None:
        self.query_one("#headline", Static).update(headline)

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        stages = self.query_one(StageList)
        if message.job is self._ahead and self.running:
            for event in message.events:
                stages.handle(event)
        if message.job is not self._job:
            return
        for event in message.events:
            stages.handle(event)
            self._facts.handle(event)
            if isinstance(event, UpdateNorms):
                self._norms |= event.norms
                self.query_one(AdapterMap).add(event.norms)
            elif isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")
        self._show_facts()

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is self._training.job:
            self._training.end(message.outcome)
            if isinstance(message.outcome, Failed):
                self.dnd.tell(message.outcome)
            self._settle()
            return
        if message.job is not self._job:
            return
        outcome = message.outcome
        stages = self.query_one(StageList)
        if isinstance(outcome, Finished):
            stages.stop("done")
            await self._keep(message.job, outcome)
        else:
            # Stopped a moment too late, the adapter may be there; killed, half of it.
            await asyncio.to_thread(self.dnd.library.give_up, str(self._place))
            how: Literal["stopped", "failed"] = "stopped" if isinstance(outcome, Stopped) else "failed"
            stages.stop(how)
            self._say(f"{how.capitalize()}; nothing was written")
            if isinstance(outcome, Failed):
                self.dnd.tell(outcome)
        await self.query_one(History).refresh_rows()
        self._settle()
        if self.record and self.is_current:
            self.query_one("#compare").focus()

    async def _keep(self, job: jobs.Job, outcome: Finished) -> None:
        """The new adapter goes into the library."""
        assert self._place and isinstance(job.request, GenerateRequest)
        data = outcome.result.to_json()
        prompts, models = job.request.prompts, job.request.models
        record = AdapterRecord(
            id=self._place,
            name=prompts.source.stem or prompts.source.name,
            folder=job.request.out,
            dataset=prompts.source.name,
            source=prompts.source.absolute(),
            column=prompts.column,
            count=prompts.count,
            seed=prompts.seed,
            base_id=data["base"],
            base=models.base,
            generator=models.generator,
            generator_digest=data["generator"],
            device=models.device,
            dtype=models.dtype,
            made=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=dict(data["seconds"]),
            warm=self._facts.warm,
            parameters=data["parameters"],
            bytes=data["bytes"],
            norms=self._norms,
        )
        try:
            self.record = await asyncio.to_thread(self.dnd.library.add, record)
        except EngineError as error:
            self.dnd.tell(error)
            return
        self._facts.finish(data)
        self._say(f"{prompts.source.name} → {self.record.name}")

    def show_record(self, record: AdapterRecord) -> None:
        """An earlier run: its times and its picture."""
        self.record = record
        self._facts = RunFacts.of(record)
        self._training = LoraTraining()
        self._choice = (record.prompts, record.models) if record.prompts else None
        self._say(f"{record.made_from} → {record.name} ({record.made})")
        self.query_one(AdapterMap).show(record.norms)
        self.query_one(StageList).expect(())
        self._settle()

    # -- what is shown

    def _settle(self) -> None:
        """Buttons and facts as the state has it."""
        done = self.record is not None and not self.running
        for name in ("compare", "export"):
            self.query_one(f"#{name}", Button).disabled = not done
        self.query_one("#again", Button).disabled = self.running or self._choice is None
        self.query_one("#measure", Button).disabled = not done or self._training.running
        self.query_one("#stop", Button).disabled = not (self.running or self._training.running)
        self._show_facts()
        self.refresh_bindings()

    def _show_facts(self) -> None:
        self.query_one("#facts", Facts).set([*self._facts.lines(), *self._training.lines(self._facts)])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey."""
        if action in ("compare", "export", "again", "measure", "stop"):
            buttons = self.query(f"#{action}").results(Button)
            return None if any(button.disabled for button in buttons) else True
        return True

    # -- actions

    @on(Button.Pressed, "#stop")
    def action_stop(self) -> None:
        """Stop the generation, or the measuring."""
        for job in (self._job, self._training.job):
            if job is not None:
                self.dnd.engine.stop(job)

    @on(Button.Pressed, "#compare")
    async def action_compare(self) -> None:
        """Compare the adapter with its base."""
        if self.record:
            await self.dnd.compare([self.record])

    @on(Button.Pressed, "#export")
    async def action_export(self) -> None:
        """Export the adapter."""
        if self.record:
            await self.dnd.export(self.record)

    @on(Button.Pressed, "#again")
    def action_again(self) -> None:
        """The same once more."""
        if self._choice and not self.running:
            self.begin(*self._choice)

    @on(Button.Pressed, "#measure")
    def action_measure(self) -> None:
        """Time LoRA training on the same rows."""
        if self._choice is None or self._training.running:
            return
        prompts, models = self._choice
        request = TrainingTimeRequest(models=models, source=prompts.source, column=prompts.column)
        self._training.job = self.dnd.engine.start(request, f"time LoRA training on {prompts.source.name}", self)
        self._settle()

    @on(History.Chosen)
    def _chosen(self, message: History.Chosen) -> None:
        if not self.running:
            self.show_record(message.record)
