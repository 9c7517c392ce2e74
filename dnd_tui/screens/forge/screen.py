"""The Forge screen: a generator for one's own base, by collecting a library and training on it.

    choices --PlanRequest--> plan --collect--> library --train--> generator --> new drops

The steps of a run are saved, so a pause is a stop: the same request goes on from there, also in another session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, Input, Select

from dnd_tui import jobs
from dnd_tui.config import data_folder
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.forge.plan import DOING, KINDS, GeneratorView, PlanView
from dnd_tui.screens.forge.run import ForgeCurves, RunFigures, RunStanding
from dnd_tui.state.forge import ForgeChoices, RememberedChoices
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import Form, FormField, WholeNumber
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.path_completion import BaseSuggester
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput
from dnd_tui.widgets.stages import StageList, ending
from engine.errors import EngineError
from engine.events import Note
from engine.host import Failed
from engine.requests import ModelChoice

# Seconds without a change after which the choices are planned.
_SETTLED = 0.5


_DEVICES = ("auto", "cpu", "cuda", "mps")


class ForgeForm(Form):
    """Folders, recipe, base, device, seed. What is there and whether it fits is judged by the engine's plan."""

    DEFAULT_CSS = """
    ForgeForm {
        .label { width: 11; }
        .problem { margin-left: 11; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tasks = PathField(kind="folder", takes_drops=True, compact=True, id="tasks")
        self._library = PathField(kind="folder", takes_drops=True, compact=True, id="library")
        self._generator = PathField(kind="folder", takes_drops=True, compact=True, id="generator")
        self._recipe = PathField(kind="file", placeholder="default recipe", takes_drops=True, compact=True, id="recipe")
        self._base = DropInput(placeholder=ModelChoice.base, suggester=BaseSuggester(), compact=True, id="base")
        self._device: Select[str] = Select(
            [(device, device) for device in _DEVICES], allow_blank=False, compact=True, id="device"
        )
        self._seed = DropInput(validators=WholeNumber(), compact=True, id="seed")

    def compose(self) -> ComposeResult:
        """Folders first, in the order in which they are needed."""
        yield FormField("Tasks", self._tasks, "Folder with tasks.json, NAME.train.jsonl and NAME.test.jsonl")
        yield FormField("LoRAs", self._library, "LoRA library: the folder that collect writes and train reads")
        yield FormField("Generator", self._generator, "Folder that train writes the new generator to")
        yield FormField("Recipe", self._recipe, "Training settings, a JSON file; empty: the default recipe")
        yield FormField("Base", self._base, '"default", a hub id, a model folder or a .gguf file')
        yield FormField("Device", self._device, "Where both runs are done")
        yield FormField("Seed", self._seed, "Seed of everything that is drawn at random")

    @property
    def choices(self) -> ForgeChoices:
        """What stands in the fields."""
        return ForgeChoices(
            tasks=self._tasks.value,
            library=self._library.value,
            generator=self._generator.value,
            recipe=self._recipe.value,
            base=self._base.value,
            device=str(self._device.value),
            seed=self._seed.value,
        )

    def show(self, choices: ForgeChoices) -> None:
        """Put choices into the fields."""
        with self.prevent(Input.Changed, Select.Changed, PathField.Changed):
            for field, text in (
                (self._tasks, choices.tasks),
                (self._library, choices.library),
                (self._generator, choices.generator),
                (self._recipe, choices.recipe),
            ):
                field.value = text
            self._base.value = choices.base
            names = dict.fromkeys((*_DEVICES, choices.device or ModelChoice.device))
            self._device.set_options((name, name) for name in names)
            self._device.value = choices.device or ModelChoice.device
            self._seed.value = choices.seed


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
        self.query_one(RunStanding).show(self._job, self._figures, self.query_one(PlanView))

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        outcome = message.outcome
        self._figures.end(message.job.seconds)
        self.query_one(StageList).stop(ending(outcome))
        if isinstance(outcome, Failed):
            self.dnd.show_error(outcome)
        self._plan()

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
        self.query_one(RunStanding).show(self._job, self._figures, plans)
        self.refresh_bindings()

    def _focus_next(self) -> None:
        """What is most likely wanted, unless the person is somewhere else than at the buttons."""
        focused = self.focused
        if focused is not None and focused.parent is not self.query_one("#buttons"):
            return
        if self._choices.tasks.strip() or focused is not None:
            self.query_one(f"#{self._wanted}").focus()
        else:
            # Not the field itself: keys would type there, and those of the other screens are wanted too.
            self.query_one("#tasks Button").focus()

    @property
    def _wanted(self) -> str:
        """The button that is most likely pressed next."""
        if self.running:
            return "pause"
        use = self.query_one("#use", Button)
        return self.query_one(PlanView).next_kind or ("use" if use.display and not use.disabled else "copy")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey."""
        if not self.is_mounted:
            return True
        if action == "pause":
            return True if self.running or self.query_one(PlanView).paused else None
        if action in ("start", "use"):
            button = self.query_one(f"#{parameters[0] if parameters else 'use'}", Button)
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

    @on(Button.Pressed, "#copy")
    def action_copy(self) -> None:
        """Copy the commands."""
        commands = self.query_one(PlanView).commands
        if commands:
            self.dnd.copy_text("\n".join(commands.values()), "the commands")
        else:
            hint = "Name a folder of tasks and one for the LoRA library"
            self.dnd.show_error(EngineError("no folders are named", hint=hint))

    def action_leave_field(self) -> None:
        """From a field to the buttons."""
        self.query_one(f"#{self._wanted}").focus()
