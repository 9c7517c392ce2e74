"""The Forge screen: a generator for one's own base, by collecting a library and training on it.

    choices --PlanRequest--> plan --collect--> library --train--> generator --> new drops

The steps of a run are saved, so a pause is a stop: the same request goes on from there, also in another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button

from dnd_tui import jobs
from dnd_tui.config import data_folder
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.forge.form import ForgeForm
from dnd_tui.screens.forge.plan import DOING, KINDS, GeneratorView, PlanView
from dnd_tui.screens.forge.run import ForgeCurves, RunFigures, RunStanding
from dnd_tui.state.forge import ForgeChoices, RememberedChoices
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.stages import StageList, ending
from engine.errors import EngineError
from engine.events import Note
from engine.forge.example import RECIPE_NAME, write_example
from engine.host import Failed, Finished
from engine.requests import ModelChoice, TrainingTimeRequest

# Seconds without a change after which the choices are planned.
_SETTLED = 0.5
_TIMED_STEPS = 3


class ForgeScreen(JobScreen):
    """Choices and plan, the run with its stages, its curves."""

    MODE = "forge"
    AUTO_FOCUS = ""
    HELP = """
# Forge

A generator belongs to one base model. Here you make one for yours, from a folder of labelled tasks:

- **Collect** trains one adapter on all tasks, then a few steps a task from there, and keeps the last checkpoints: the
  *library*.
- **Train** learns to predict those checkpoints from prompts alone, then goes on with the loss of the language model
  through the generated adapters.

No tasks yet? *Example* writes fifteen small ones, made by rule, with a short recipe, and names all folders: it shows
how a run goes, not what a good generator knows. *Time it* times a few training steps before anything is begun.

The plan shows which tasks are used, what will be written and what is done already. Both runs can be paused at any
moment: the same folders go on from the last saved step, also after the app was closed. A step that takes seconds is
always saved; of faster ones at most the last few seconds are done again. While a run is on, other jobs for the device
wait behind it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "start('collect')", "Collect", id="forge.collect", tooltip="Collect a LoRA library, or go on"),
        Binding("t", "start('train')", "Train", id="forge.train", tooltip="Train the generator, or go on"),
        Binding("p", "pause", "Pause or resume", id="forge.pause", tooltip="Pause the run; once more to go on"),
        Binding("u", "use", "Use it", id="forge.use", tooltip="Use the trained generator for new drops"),
        Binding("x", "example", "Example", id="forge.example",
                tooltip="Write a small folder of tasks with a short recipe, and name all folders"),
        Binding("m", "measure", "Time it", id="forge.measure",
                tooltip="Time a few training steps: the plan then shows how long both runs take"),
        Binding("y", "copy", "Copy commands", id="forge.copy", tooltip="Copy the commands that do the same"),
        Binding("escape", "leave_field", "Leave field", id="forge.leave", show=False,
                tooltip="From a field to the buttons, where keys are commands"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    ForgeScreen {
        #forge-panes .panes { layout: grid; grid-size: 2 2; grid-columns: 5fr 6fr; grid-rows: 12 1fr; }
        #forge-panes.-tabs .panes { layout: horizontal; }
        &.-very-wide #forge-panes .panes { grid-columns: 2fr 3fr; }
        &.-short #forge-panes .panes { grid-rows: 1fr 1fr; }
        &.-short #waiting { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        #choices-pane { row-span: 2; }
        #run-pane StageList { height: auto; max-height: 100%; }
        &.-narrow #buttons Button { min-width: 8; }
        &.-narrow #buttons Button:disabled { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._remembered = RememberedChoices(data_folder())
        self._choices = ForgeChoices()
        self._timer: Timer | None = None
        self._loaded = False
        self._figures = RunFigures()
        # Times a few steps before anything is begun.
        self._measuring: jobs.Job | None = None

    def body(self) -> Iterable[Widget]:
        """Where it stands, panes, buttons."""
        yield RunStanding()
        yield Panes(
            Pane("Choices and plan", VerticalScroll(ForgeForm(), PlanView(), can_focus=False), id="choices-pane"),
            Pane("Run", VerticalScroll(GeneratorView(), StageList(), can_focus=False), id="run-pane"),
            Pane("Loss", ForgeCurves(), id="loss-pane"),
            narrow=100,
            id="forge-panes",
        )
        with Horizontal(id="buttons"):
            yield KeyButton("Collect", "forge.collect", id="collect")
            yield KeyButton("Train", "forge.train", id="train")
            yield KeyButton("Pause", "forge.pause", id="pause", variant="warning")
            yield KeyButton("Use it for new drops", "forge.use", id="use", variant="success")
            yield KeyButton("Example", "forge.example", id="example")
            yield KeyButton("Time it", "forge.measure", id="measure")
            yield KeyButton("Copy commands", "forge.copy", id="copy")

    # -- choices and plan

    def on_mount(self) -> None:
        """What was chosen last."""
        self._settle()
        self._load()

    def on_screen_resume(self) -> None:
        """Files may have changed while another screen was open."""
        if self._loaded and not self.running:
            self._plan()

    @work(exclusive=True, group="load")
    async def _load(self) -> None:
        try:
            remembered = await ask_disk(self._remembered.load)
        except TimeoutError:
            remembered = None
        models = self.dnd.models
        self._choices = remembered or ForgeChoices(base=models.base, device=models.device)
        self.query_one(ForgeForm).show(self._choices)
        self._loaded = True
        self._plan()

    @on(ForgeForm.Changed)
    def _changed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_SETTLED, self._plan)

    def _plan(self) -> None:
        choices = self.query_one(ForgeForm).choices
        if choices != self._choices:
            self._choices = choices
            self._remember(choices)
        self.query_one(PlanView).plan(choices, self.dnd.models)
        self._settle()

    @work(exclusive=True, group="remember")
    async def _remember(self, choices: ForgeChoices) -> None:
        try:
            await asyncio.to_thread(self._remembered.save, choices)
        except EngineError as error:
            self.dnd.journal.add(str(error), warning=True)

    @on(PlanView.Planned)
    def _planned(self) -> None:
        if not self.running:
            self.query_one(ForgeCurves).open(self._choices.folders)
            plan = self.query_one(PlanView).data("train")
            folder = self._choices.folders[-1].absolute() if plan and plan["finished"] else None
            self.query_one(GeneratorView).show(folder, self.dnd.models)
        self._settle()
        self._focus_next()

    @on(GeneratorView.Found)
    def _generator_found(self) -> None:
        self._settle()
        self._focus_next()

    # -- the run

    def action_start(self, kind: str) -> None:
        """Begin a run, or go on with it."""
        if self.running:
            return
        choices = self.query_one(ForgeForm).choices
        try:
            request = choices.request(kind, self.dnd.models)
        except EngineError as error:
            self.dnd.show_error(error)
            return
        titles = {"collect": "collect a LoRA library into", "train": "train a generator into"}
        plan = self.query_one(PlanView).data(kind)
        self._figures = RunFigures(plan)
        self.query_one(GeneratorView).show(None, self.dnd.models)
        stages = [stage["stage"] for stage in plan["stages"] if stage["done"] < stage["steps"]] if plan else []
        self.query_one(StageList).expect(("import", "load", *stages))
        self.query_one(Panes).show("run-pane")
        self._job = self.dnd.engine.start(request, f"{titles[kind]} {request.out.name}", self)
        self._settle()
        self._focus_next()

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        stages, curves = self.query_one(StageList), self.query_one(ForgeCurves)
        for event in message.events:
            stages.handle(event)
            curves.handle(event)
            self._figures.handle(event)
            if isinstance(event, Note):
                self.notify(event.text, severity="warning" if event.warning else "information", markup=False)
        self._show_standing()

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        outcome = message.outcome
        if message.job is self._measuring:
            self._measured(message)
        if message.job is not self._job:
            return
        self._figures.end(message.job.seconds)
        self.query_one(StageList).stop(ending(outcome))
        if isinstance(outcome, Failed):
            self.dnd.show_error(outcome)
        self._plan()

    def _measured(self, message: jobs.JobEnded) -> None:
        outcome, request = message.outcome, message.job.request
        if isinstance(outcome, Finished) and isinstance(request, TrainingTimeRequest):
            data = outcome.result.to_json()
            pace = data["tokens_a_step"] / data["seconds_a_step"]
            self.query_one(PlanView).know_pace(request.models, pace)
        elif isinstance(outcome, Failed):
            self.dnd.show_error(outcome)
        self._settle()

    # -- what is shown

    @on(jobs.JobBegan)
    def _settle(self) -> None:
        """Buttons and texts as the state has it."""
        plans, running, folder = self.query_one(PlanView), self.running, self.query_one(GeneratorView).folder
        self.query_one(ForgeForm).disabled = running
        for kind in KINDS:
            button = self.query_one(f"#{kind}", KeyButton)
            button.title = f"Resume {DOING[kind].lower()}" if plans.paused == kind else kind.capitalize()
            button.variant = "primary" if plans.next_kind == kind else "default"
            plan = plans.data(kind)
            button.disabled = running or plans.planning or bool(plan and plan["finished"])
        if plans.next_kind == "collect":
            self.query_one("#train", Button).disabled = True
        self.query_one("#pause", Button).disabled = not running or bool(self._job and self._job.stopping)
        use = self.query_one("#use", KeyButton)
        in_use = folder is not None and self.dnd.models.generator == folder
        use.display, use.disabled = folder is not None, in_use or running
        use.title = "In use for new drops" if in_use else "Use it for new drops"
        self.query_one("#example").display = not self._choices.tasks.strip()
        measure = self.query_one("#measure", Button)
        measure.display, measure.disabled = bool(plans.next_kind) and not plans.timed, running or self._timing
        self._show_standing()
        self.refresh_bindings()

    def _show_standing(self) -> None:
        missing = self._choices.missing
        self.query_one(RunStanding).show(self._job, self._figures, self.query_one(PlanView), missing)

    def _focus_next(self) -> None:
        """What is most likely wanted, unless the person is somewhere else than at the buttons."""
        focused = self.focused
        if focused is not None and focused.parent is not self.query_one("#buttons"):
            return
        self.query_one(f"#{self._wanted}").focus()

    @property
    def _wanted(self) -> str:
        """The button that is most likely pressed next."""
        if self.running:
            return "pause"
        if not self._choices.tasks.strip():
            return "example"
        use = self.query_one("#use", Button)
        return self.query_one(PlanView).next_kind or ("use" if use.display and not use.disabled else "copy")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey."""
        if not self.is_mounted:
            return True
        if action == "pause":
            return True if self.running or self.query_one(PlanView).paused else None
        if action in ("start", "use", "example", "measure"):
            button = self.query_one(f"#{parameters[0] if parameters else action}", Button)
            return None if button.disabled or not button.display else True
        return True

    # -- actions

    @on(Button.Pressed, "#collect,#train")
    def _start_pressed(self, event: Button.Pressed) -> None:
        self.action_start(str(event.button.id))

    @on(Button.Pressed, "#pause")
    def action_pause(self) -> None:
        """Pause the run, or go on with the paused one."""
        if self._job and self.running:
            self.dnd.engine.stop(self._job)
            self._settle()
        elif paused := self.query_one(PlanView).paused:
            self.action_start(paused)

    @on(Button.Pressed, "#use")
    def action_use(self) -> None:
        """New drops use the trained generator and its base, from now on and in later sessions."""
        folder = self.query_one(GeneratorView).folder
        if folder is None:
            return
        models = replace(self.dnd.models, base=self._choices.base.strip() or ModelChoice.base, generator=folder)
        self.dnd.change_settings(base=models.base, generator=folder)
        if self.dnd.models != models:  # the command line named others, or the settings could not be written
            self.dnd.choose_models(models)
        self.notify(f"New drops use {folder.name}", markup=False)
        self._settle()

    @on(Button.Pressed, "#example")
    @work(exclusive=True, group="example")
    async def action_example(self) -> None:
        """Write tasks made by rule beside what the app keeps, once, and name all folders."""
        above = data_folder() / "forge-example"
        tasks = above / "tasks"
        try:
            if not await ask_disk(tasks.is_dir):
                await asyncio.to_thread(write_example, tasks)
        except (EngineError, TimeoutError) as error:
            self.dnd.show_error(error if isinstance(error, EngineError) else EngineError("the disk does not answer"))
            return
        form = self.query_one(ForgeForm)
        named = {
            "tasks": tasks,
            "recipe": tasks / RECIPE_NAME,
            "library": above / "library",
            "generator": above / "mine",
        }
        form.show(replace(form.choices, **{name: str(path) for name, path in named.items()}))
        self.notify(f"Example tasks are in {tasks}")
        self._plan()

    @on(Button.Pressed, "#measure")
    def action_measure(self) -> None:
        """Time a few training steps on the first task, with nothing written."""
        plan = self.query_one(PlanView).data("collect")
        if plan is None or not plan["tasks"]["used"]:
            return
        choices = self._choices
        source = Path(choices.tasks.strip()).expanduser() / f"{plan['tasks']['used'][0]['name']}.train.jsonl"
        request = TrainingTimeRequest(models=choices.models(self.dnd.models), source=source, steps=_TIMED_STEPS)
        self._measuring = self.dnd.engine.start(request, "time a few training steps", self)
        self.notify("A few training steps are timed; nothing is written")
        self._settle()

    @property
    def _timing(self) -> bool:
        return self._measuring is not None and self._measuring.outcome is None

    @on(Button.Pressed, "#copy")
    def action_copy(self) -> None:
        """Copy the commands."""
        commands = self.query_one(PlanView).commands
        if commands:
            self.dnd.copy_text("\n".join(commands.values()), "the commands")
        else:
            hint = "Name a folder of tasks and one for the LoRA library, or take the example (key x)"
            self.dnd.show_error(EngineError("no folders are named", hint=hint))

    def action_leave_field(self) -> None:
        """From a field to the buttons."""
        self.query_one(f"#{self._wanted}").focus()
