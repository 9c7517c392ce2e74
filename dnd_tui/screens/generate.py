"""The Generate screen: what stands in prompts becomes an adapter, stage by stage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, Literal

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.base import AppScreen
from dnd_tui.screens.generate_facts import NOT_CHECKED, LoraTraining, RunFacts
from dnd_tui.screens.generate_history import History
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.facts import Facts
from dnd_tui.widgets.heat_map import AdapterMap
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.stages import StageList
from engine.errors import EngineError
from engine.events import Note, StageStarted, UpdateNorms
from engine.host import Failed, Finished, Stopped
from engine.requests import (
    ContextChoice,
    GenerateRequest,
    LoadRequest,
    ModelChoice,
    PromptChoice,
    TrainingTimeRequest,
)
from engine.solver.plan import AUTO, BOTH, EXAMPLES, GENERATOR, INSTRUCTION

_SOLVED = ("import", "read", "load", "context", "solve", "fit", "check", "attach", "write")
STAGES = {
    EXAMPLES: _SOLVED,
    BOTH: _SOLVED,
    INSTRUCTION: ("import", "read", "load", "answer", "context", "solve", "check", "attach", "write"),
    GENERATOR: ("import", "load", "read", "encode", "decode", "detokenise", "attach", "write"),
}
"""By what an adapter is made from."""


class GenerateScreen(AppScreen):
    """Stages with their times, the adapter as a picture, earlier runs."""

    MODE = "generate"
    HELP = """
# Generate

What you would put in front of every query, examples or an instruction, becomes a LoRA adapter. You see every stage
with its time:

- **load**: the base model comes into memory (once; later runs are warm)
- **answer**: the base answers with the instruction in the prompt; answered examples need no such stage
- **context**: the base reads the rows after their context (the teacher); where there is a generator for the base, once
  more with its adapter, and the start that gives more of the answers stays
- **solve**: it reads them without (the student); layer by layer, the update that stands in for the context is computed.
  *explained* is the share of the context's effect that it has
- **fit**: a few gradient steps on the answers
- **check**: rows that were kept back are answered by the base, with the context in the prompt, and by the adapter

Without answers and instruction a generator makes the adapter from the prompts alone: **encode**, **decode** and
**detokenise** stand in for solving.

The picture shows how large the update of each module of each layer is; of a generator's adapter also that of the
adapter that it starts from. *Measure LoRA training* times a few real training steps on your labelled rows.
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
        #verdict { display: none; height: auto; padding: 0 1; background: $success-muted; text-style: bold; }
        #verdict.-unchecked { background: $warning-muted; }
        #verdict.-shown { display: block; }
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
        self._choice: tuple[PromptChoice, ModelChoice, ContextChoice] | None = None
        self._job: jobs.Job | None = None
        # Brings the models into memory, where the run waits for that.
        self._ahead: jobs.Job | None = None
        self._place: str | None = None
        self._facts = RunFacts()
        self._training = LoraTraining()
        self._norms: dict[str, tuple[float, float]] = {}
        self._expected: tuple[str, ...] = _SOLVED
        # How many layers are being solved.
        self._layers = 0

    def body(self) -> Iterable[Widget]:
        """Headline, what held-out rows said, panes, buttons."""
        yield Static("Drop a prompt file first (key 1)", id="headline", markup=False)
        yield Static(id="verdict", markup=False)
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

    def begin(self, prompts: PromptChoice, models: ModelChoice, solve: ContextChoice) -> None:
        """Generate an adapter into the library; one at a time."""
        if self.running:
            self.notify("An adapter is being made; stop it first", severity="warning")
            return
        self._choice = prompts, models, solve
        self.record = None
        self._start(prompts, models, solve)

    @work(exclusive=True, group="generate")
    async def _start(self, prompts: PromptChoice, models: ModelChoice, solve: ContextChoice) -> None:
        try:
            self._place, folder = await asyncio.to_thread(self.dnd.library.new_place)
        except EngineError as error:
            self.dnd.tell(error)
            return
        self._norms, self._layers = {}, 0
        self._facts, self._training = RunFacts(), LoraTraining()
        self.query_one(AdapterMap).clear()
        # What "auto" finds is known once its stages come.
        kind = GENERATOR if solve.made_from == AUTO and models.generator is not None else solve.made_from
        self._expected = STAGES.get(kind, _SOLVED)
        self.query_one(StageList).expect(self._expected)
        self.query_one(Panes).show("run")
        title = f"generate an adapter from {prompts.source.name}"
        before = self.dnd.engine.jobs
        request = GenerateRequest(models=models, prompts=prompts, solve=solve, out=folder)
        self._job = self.dnd.engine.start(request, title, self)
        waits = f", after the job before it: {before[-1].title}" if before else ""
        self._say(f"{prompts.source.name} → adapter{waits}")
        loading = (job for job in before if isinstance(job.request, LoadRequest) and job.request.models == models)
        self._ahead = next(loading, None)
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
            if isinstance(event, StageStarted):
                self._began_stage(event)
            stages.handle(event)
            self._facts.handle(event)
            if isinstance(event, UpdateNorms):
                self._add_norms(event.norms)
            elif isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")
        self._show_facts()

    def _began_stage(self, event: StageStarted) -> None:
        """A stage that was not expected tells what the adapter is made from."""
        if event.stage == "solve":
            self._layers = event.total or 0
        if event.stage not in self._expected:
            self._expected = next((names for names in STAGES.values() if event.stage in names), self._expected)
            self.query_one(StageList).expect_instead(self._expected)

    def _add_norms(self, norms: Mapping[str, tuple[float, float]]) -> None:
        picture = self.query_one(AdapterMap)
        picture.add(norms)
        if self._layers and not self._norms:
            # Layers are solved one by one: the others keep their places free, as if all were like the first.
            picture.expect(path.replace(".0.", f".{layer}.", 1) for path in norms for layer in range(self._layers))
        self._norms |= norms

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
            label=prompts.label,
            count=prompts.count,
            seed=prompts.seed,
            base_id=data["base"],
            base=models.base,
            generator=models.generator,
            generator_digest=data.get("generator", ""),
            made_from=data["made_from"],
            context=data.get("instruction", ""),
            verdict=(data.get("held_out") or {}).get("sentence", ""),
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
        # Where layers are not alike, places were kept free for modules that are not there.
        self.query_one(AdapterMap).show(self._norms)
        self._say(f"{prompts.source.name} → {self.record.name}")

    def show_record(self, record: AdapterRecord) -> None:
        """An earlier run: its times and its picture."""
        self.record = record
        self._facts = RunFacts.of(record)
        self._training = LoraTraining()
        self._choice = (record.prompts, record.models, record.solve) if record.prompts else None
        self._say(f"{record.source_words} → {record.name} ({record.made})")
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
        self._show_verdict()
        self.refresh_bindings()

    def _show_verdict(self) -> None:
        unchecked = self._facts.unchecked
        told = NOT_CHECKED if unchecked else self._facts.verdict and f"Held out: {self._facts.verdict}"
        line = self.query_one("#verdict", Static)
        line.update(f"! {told}" if unchecked else told)
        line.set_class(bool(told), "-shown")
        line.set_class(unchecked, "-unchecked")

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
        prompts, models, _ = self._choice
        request = TrainingTimeRequest(models=models, source=prompts.source, column=prompts.column)
        self._training.job = self.dnd.engine.start(request, f"time LoRA training on {prompts.source.name}", self)
        self._settle()

    @on(History.Chosen)
    def _chosen(self, message: History.Chosen) -> None:
        if not self.running:
            self.show_record(message.record)
