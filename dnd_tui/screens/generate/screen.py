"""The Generate screen: what stands in prompts becomes an adapter, stage by stage; or one is trained on answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.generate.facts import STOPPED, History, RunFacts, TrainingPlot, what_was_kept
from dnd_tui.screens.generate.plan import STAGES, Plan, Training, lead_on, plan_of, record_of
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.heat_map import AdapterMap
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.stages import StageList
from engine.errors import EngineError
from engine.events import Note, StageStarted, UpdateNorms
from engine.host import Failed, Finished, Stopped
from engine.jobs.checks import is_unfinished
from engine.requests import GenerateRequest, LoadRequest, RefineRequest


class GenerateScreen(JobScreen):
    """Stages with their times, the adapter as a picture, earlier runs."""

    MODE = "generate"
    AUTO_FOCUS = ""
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

*Compare* and *Export* may be pressed while the run is on: they follow as soon as the adapter is there.

The picture shows how large the update of each module of each layer is; of a generator's adapter also that of its
frame.

*Train on* makes a new adapter from this one, where its prompts have answers: **train** takes gradient steps on all of
them, up to 512. A fifth is not trained on but watched: the best state stays, and training ends once the watched rows
gain no more, after a minute at the latest. What it will take is shown after a few steps. Stopping keeps the best so
far.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "compare", "Compare", id="generate.compare", tooltip="Compare base and adapted answers"),
        Binding("e", "export", "Export", id="generate.export", tooltip="Export this adapter"),
        Binding("r", "again", "Again", id="generate.again", tooltip="Generate once more with the same choices"),
        Binding("t", "train", "Train on", id="generate.train",
                tooltip="Train this adapter on all answers of its prompts; the result is a new one"),
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
        .column #picture { height: auto; }
        .-tabs #picture { height: 1fr; }
        TrainingPlot { height: 10; display: none; }
        .-tabs TrainingPlot { height: 1fr; }
        &.-training TrainingPlot { display: block; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.record: AdapterRecord | None = None
        self._plan: Plan | None = None
        # Brings the models into memory, where the run waits for that.
        self._ahead: jobs.Job | None = None
        self._place: str | None = None
        self._facts = RunFacts()
        # A training was stopped in the middle of a step: this job only writes what it had gained.
        self._saving = False
        self._norms: dict[str, tuple[float, float]] = {}
        self._expected: tuple[str, ...] = ()
        # How many layers are being solved.
        self._layers = 0
        # What the person asked for during the run: "compare" or "export", done once the adapter is there.
        self._wanted = ""

    def body(self) -> Iterable[Widget]:
        """Headline, what held-out rows showed, panes, buttons."""
        yield Static("Drop a prompt file first (key 1)", id="headline", markup=False)
        yield Static(id="verdict", markup=False)
        yield Panes(
            Pane("Stages", VerticalScroll(StageList(id="stages"), Facts(id="facts"), can_focus=False), id="run"),
            (
                Pane("Adapter", AdapterMap(id="map"), TrainingPlot(id="plot"), id="picture"),
                Pane("Earlier runs", History(id="earlier"), id="history"),
            ),
            narrow=100,
        )
        with Horizontal(id="buttons"):
            yield KeyButton("Compare", "generate.compare", id="compare", variant="primary", disabled=True)
            yield KeyButton("Export", "generate.export", id="export", disabled=True)
            yield KeyButton("Again", "generate.again", id="again", disabled=True)
            yield KeyButton("Train on", "generate.train", id="train", disabled=True)
            yield KeyButton("Stop", "generate.stop", id="stop", variant="error", disabled=True)

    def on_screen_resume(self) -> None:
        """What is most likely wanted has the focus."""
        if self.focused is None:
            self._focus_main()

    def _focus_main(self) -> None:
        """Compare, also while the run is on; without any run the earlier ones."""
        compare = self.query_one("#compare", Button)
        if not compare.disabled:
            compare.focus(scroll_visible=False)
        elif self.query_one("#runs").display:
            self.query_one("#runs").focus(scroll_visible=False)

    # -- the run

    def begin(self, plan: Plan) -> None:
        """Make an adapter into the library; one at a time."""
        if self.running:
            self.notify(self.refusal("again"), severity="warning")
            return
        before, self.record, self._plan, self._wanted = self.record, None, plan, ""
        self._start(plan, before)

    @work(exclusive=True, group="generate")
    async def _start(self, plan: Plan, before: AdapterRecord | None) -> None:
        try:
            self._place, folder = await asyncio.to_thread(self._new_place, plan)
        except EngineError as error:
            if before:
                # It is still what is shown, so it is also what is made again.
                self.record, self._plan = before, plan_of(before)
            self.dnd.show_error(error)
            return
        self._norms, self._layers, self._saving = {}, 0, False
        self._facts = RunFacts()
        self.query_one(AdapterMap).clear()
        self.query_one(TrainingPlot).clear()
        self.set_class(isinstance(plan, Training), "-training")
        self._expected = plan.stages
        self.query_one(StageList).expect(self._expected)
        self.query_one(Panes).show("run")
        self._submit(plan.request(folder), plan)

    def _new_place(self, plan: Plan) -> tuple[str, Path]:
        if isinstance(plan, Training):
            plan.check_start()
        return self.dnd.library.new_place()

    def _submit(self, request: GenerateRequest | RefineRequest, plan: Plan) -> None:
        before = self.dnd.engine.jobs
        self._job = self.dnd.engine.start(request, plan.title, self)
        self._show_subject(f", after the job before it: {before[-1].title}" if before else "")
        loading = (job for job in before if isinstance(job.request, LoadRequest) and job.request.models == plan.models)
        self._ahead = next(loading, None)
        if self._ahead:
            self._ahead.watchers.append(self)
        self._settle()
        self._focus_main()

    @on(jobs.JobBegan)
    def _began(self, message: jobs.JobBegan) -> None:
        if message.job is self._job:
            self._show_subject()
        self._settle()

    def _show_subject(self, waits: str = "") -> None:
        """What is being made, what it waits for, and what comes then."""
        if self._plan:
            then = f", then {self._wanted}" if self._wanted else ""
            self._show_headline(f"{self._plan.subject} → adapter{waits}{then}")

    def _show_headline(self, headline: str) -> None:
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
            self.query_one(TrainingPlot).handle(event)
            if isinstance(event, UpdateNorms):
                self._norms |= event.norms
                self.query_one(AdapterMap).add(event.norms, self._layers)
            elif isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")
        self._show_facts()

    def _began_stage(self, event: StageStarted) -> None:
        """A stage that was not expected shows what the adapter is made from."""
        if event.stage == "solve":
            self._layers = event.total or 0
        if event.stage not in self._expected:
            self._expected = next((names for names in STAGES.values() if event.stage in names), self._expected)
            self.query_one(StageList).expect_instead(self._expected)

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        outcome = message.outcome
        stages = self.query_one(StageList)
        if isinstance(outcome, Finished):
            stages.stop("done")
            await self._keep(message.job, outcome.result.to_json())
        elif not (isinstance(outcome, Stopped) and await self._keep_best(message.job)):
            # Stopped a moment too late, the adapter may be there; killed, half of it.
            await asyncio.to_thread(self.dnd.library.give_up, str(self._place))
            how: Literal["stopped", "failed"] = "stopped" if isinstance(outcome, Stopped) else "failed"
            stages.stop(how)
            self._show_headline(f"{how.capitalize()}; nothing was written")
            if isinstance(outcome, Failed):
                lead_on(self.dnd, outcome, self._plan)
        await self.query_one(History).refresh_rows()
        self._settle()
        wanted, self._wanted = self._wanted, ""
        if self.record and self.is_current:
            self._focus_main()
            if wanted:
                await self.run_action(wanted)

    async def _keep_best(self, job: jobs.Job) -> bool:
        """What a training had gained when it was stopped stays; False where nothing does."""
        request, plan = job.request, self._plan
        if not isinstance(request, RefineRequest) or plan is None:
            return False
        self._facts.stop()
        self.query_one(StageList).stop("stopped")
        try:
            data = await asyncio.to_thread(what_was_kept, request.out)
        except EngineError as error:
            self.dnd.show_error(error)
            return False
        if data is not None:
            await self._keep(job, data)
            if self.record:
                self.notify(f"Stopped; the best state so far is {self.record.name}")
            return self.record is not None
        left = not self._saving and await asyncio.to_thread(is_unfinished, request.out)
        if left and self._facts.training.gained:
            # It was in the middle of a step and had no time to write. The same run with so many steps ends at once.
            self._saving = True
            self.notify("Stopped; the best state so far is being written. Stop again to discard it")
            self._submit(replace(request, steps=self._facts.training.steps), plan)
            return True
        return False

    async def _keep(self, job: jobs.Job, data: Mapping[str, Any]) -> None:
        """The new adapter goes into the library; `data` is what the job answered."""
        plan = self._plan
        assert plan and self._place and isinstance(job.request, GenerateRequest | RefineRequest)
        if self._saving:
            data = {**data, "ended": STOPPED}
        record = record_of(plan, self._place, job.request.out, data, self._facts, self._norms)
        try:
            self.record = await asyncio.to_thread(self.dnd.library.add, record)
        except EngineError as error:
            self.dnd.show_error(error)
            return
        self._facts.finish({**data, **plan.origin(data)})
        # Where layers are not alike, places were kept free for modules that are not there.
        self.query_one(AdapterMap).show(self._norms)
        self._show_headline(f"{plan.subject} → {self.record.name}")

    def show_record(self, record: AdapterRecord) -> None:
        """An earlier run: its times and its picture."""
        self.record = record
        self._facts = RunFacts.of(record)
        self._plan = plan_of(record)
        self.remove_class("-training")
        self._show_headline(f"{record.source_words} → {record.name} ({record.made})")
        self.query_one(AdapterMap).show(record.norms)
        self.query_one(StageList).expect(())
        self._settle()

    # -- what is shown

    def _settle(self) -> None:
        """Buttons and facts as the state has it."""
        done = self.record is not None and not self.running
        for name in ("compare", "export"):
            self.query_one(f"#{name}", Button).disabled = not done and not self.running
        train, why_not = self.query_one("#train", Button), self.record.why_not_trained if self.record else ""
        train.disabled, train.tooltip = not done or bool(why_not), why_not or None
        self.query_one("#again", Button).disabled = self.running or self._plan is None
        self.query_one("#stop", Button).disabled = not self.running
        self._show_facts()
        self._show_verdict()
        self.refresh_bindings()

    def _show_verdict(self) -> None:
        line = self.query_one("#verdict", Static)
        line.update(self._facts.words)
        line.set_class(bool(self._facts.words), "-shown")
        line.set_class(self._facts.unchecked, "-unchecked")

    def _show_facts(self) -> None:
        self.query_one("#facts", Facts).set(self._facts.lines())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey."""
        if action == "train" and self.record and not self.running:
            return True  # where it cannot be, the key explains why
        if action in ("compare", "export", "again", "train", "stop"):
            buttons = self.query(f"#{action}").results(Button)
            return None if any(button.disabled for button in buttons) else True
        return True

    def refusal(self, action: str) -> str:
        """Why not now: a run is on, or there has been none."""
        if self.running or action == "stop":
            return super().refusal(action)
        return "There is no adapter here yet: drop a prompt file (key 1), or choose an earlier run"

    # -- actions

    @on(Button.Pressed, "#stop")
    def action_stop(self) -> None:
        """Stop the job; what was to follow does not."""
        self._wanted = ""
        super().action_stop()

    def _comes_later(self, action: str) -> bool:
        """Whether a run is on: then what the person wants comes as soon as its adapter is there."""
        if self.running:
            self._wanted = action
            self._show_subject()
            self.notify(f"{action.capitalize()} follows as soon as the adapter is there", timeout=3)
        return self.running

    @on(Button.Pressed, "#compare")
    async def action_compare(self) -> None:
        """Compare the adapter with its base."""
        if not self._comes_later("compare") and self.record:
            await self.dnd.compare([self.record])

    @on(Button.Pressed, "#export")
    async def action_export(self) -> None:
        """Export the adapter."""
        if not self._comes_later("export") and self.record:
            await self.dnd.export(self.record)

    @on(Button.Pressed, "#again")
    def action_again(self) -> None:
        """The same once more."""
        if self._plan and not self.running:
            self.begin(self._plan)

    @on(Button.Pressed, "#train")
    def action_train(self) -> None:
        """A new adapter: this one, trained on all answers of its prompts."""
        if self.record is None:
            return
        if self.record.why_not_trained:
            self.notify(self.record.why_not_trained, severity="warning")
        else:
            self.begin(Training.of(self.record))

    @on(History.Chosen)
    def _chosen(self, message: History.Chosen) -> None:
        if not self.running:
            self.show_record(message.record)
