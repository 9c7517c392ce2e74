"""The Export screen: an adapter of the library leaves it as a folder that other programs read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button

from dnd_tui import jobs
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.export.choices import contents
from dnd_tui.screens.export.form import STAGES, ExportForm
from dnd_tui.screens.export.programs import NothingChosen, ProgramList
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line, printable
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.stages import StageList
from engine.adapter.consumers import Verdict
from engine.errors import EngineError
from engine.events import Note
from engine.files import tidy_after_kill
from engine.host import Failed, Finished
from engine.jobs.command_line import command_line
from engine.requests import ExportRequest, InfoRequest, ModelChoice


class ExportScreen(JobScreen):
    """Form and folder on the left, the programs that read the adapter on the right."""

    MODE = "export"
    HELP = """
# Export

Choose what is written, the number format and the folder, then export:

- **PEFT folder**: for peft, vLLM, SGLang and Ollama
- **merged model**: base and adapter as one model, for whatever takes models
- **GGUF adapter**: for llama.cpp, with the base's own GGUF file
- **merged GGUF model**: base and adapter in one file, for llama.cpp; needs the base's GGUF file
- **Ollama folder**: a Modelfile and all it names
- **MLX adapter folder**: for mlx-lm

Each with a model card; *.zip* writes one file instead of a folder.

Before the export takes its place, it is read back: the logits of an adapter or of a merged model, and the values of a
merged GGUF model, are compared with what was meant. *Rounding* shows what a number format loses against float32. If
anything goes wrong, what was there before stays.

Exports are proposed in one folder, *exports* beside the library; the Settings can name another one. An export that is
there already is replaced only after a question. A folder that holds other files is never replaced: the export goes into
a new folder inside of it.

On the right is which programs take what is chosen, and why the others do not. After the export each has the command
that uses the new folder: choose one with the arrow keys and copy it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "export", "Export", id="export.export", tooltip="Write the folder"),
        Binding("y", "copy", "Copy", id="export.copy", tooltip="Copy the command of the chosen program"),
        Binding("f", "folder", "Folder", id="export.folder", tooltip="Type another folder"),
        Binding("s,escape", "stop", "Stop", id="export.stop", tooltip="Stop the export; nothing is kept"),
        Binding("n", "newest", "Newest", id="export.newest", tooltip="Export the newest adapter of the library"),
    ]
    DEFAULT_CSS = """
    ExportScreen {
        Panes, #buttons { display: none; }
        &.-chosen { Panes, #buttons { display: block; } NothingChosen { display: none; } }
        &.-short ExportForm {
            .caption, StageList { margin-top: 0; }
            #format-caption { display: none; }
            PathField { height: 1; }
            PathField DropInput { border: none; height: 1; }
        }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.record: AdapterRecord | None = None
        self._newest: AdapterRecord | None = None
        self._info: jobs.Job | None = None
        # Of the open adapter, as the engine gives it: see `engine.jobs.inspect`.
        self._formats: Mapping[str, Mapping[str, Any]] = {}
        self._form_shown = "peft"

    def body(self) -> Iterable[Widget]:
        """Choices, programs, buttons; or what to do where no adapter is chosen."""
        yield NothingChosen()
        yield Panes(
            Pane("Export", ExportForm(id="form"), id="choices"),
            Pane("Programs that read it", ProgramList(id="programs"), id="readers"),
            narrow=100,
        )
        with Horizontal(id="buttons"):
            yield KeyButton("Export", "export.export", id="export", variant="primary")
            yield KeyButton("Copy command", "export.copy", id="copy")
            yield KeyButton("Stop", "export.stop", id="stop", variant="error")

    # -- which adapter

    def on_mount(self) -> None:
        """Nothing is chosen yet."""
        self._settle()

    def on_screen_resume(self) -> None:
        """Another screen may have made an adapter."""
        if self.record is None:
            self._find_newest()

    @work(exclusive=True, group="newest")
    async def _find_newest(self) -> None:
        try:
            entries = await asyncio.to_thread(self.dnd.library.entries)
        except EngineError as error:
            # In place: this comes again as soon as a dialog is closed.
            self.query_one(NothingChosen).complain(error)
            return
        self._newest = next((entry for entry in entries if isinstance(entry, AdapterRecord)), None)
        if self.record is None:
            self.query_one(NothingChosen).offer(self._newest)
            self.query_one("#newest" if self._newest else "#library").focus()
            self.refresh_bindings()

    def open(self, record: AdapterRecord) -> None:
        """Choose how this adapter leaves the library."""
        if self.running:
            self.notify("Stop the export first", severity="warning")
            return
        self.record, self._formats = record, {}
        self.add_class("-chosen")
        self.query_one(ExportForm).open(record)
        self.query_one(ProgramList).remark("being asked")
        self.query_one(Panes).show("choices")
        title = f"look at {one_line(record.name)}"
        request = InfoRequest(models=record.models, target=record.folder)
        self._info = self.dnd.engine.start(request, title, self, light=True)
        self._settle()
        self.query_one("#export").focus()

    # -- the export

    def _request(self, target: Path, *, replacing: bool = False) -> ExportRequest:
        assert self.record
        choices = self.query_one(ExportForm).choices
        return ExportRequest(
            models=replace(self.record.models, generator=ModelChoice.generator),  # an export needs none
            adapter=self.record.folder,
            out=target,
            format=choices.form,
            float_type=choices.float_type,
            zip=choices.zip,
            note=self.record.note,
            replace=replacing,
        )

    @work(exclusive=True, group="export")
    async def action_export(self) -> None:
        """Write the folder, after a question where one is there."""
        if self.record is None or self.running:
            return
        place = await self._decide_place()
        if place is None:
            return
        with suppress(EngineError):  # deleted meanwhile: the engine explains
            self.record = await asyncio.to_thread(self.dnd.library.record, self.record.id)  # its note may be new
        request = self._request(place[0], replacing=place[1])
        form = self.query_one(ExportForm)
        form.begin((*STAGES, "zip") if request.zip else STAGES)
        self.query_one(Panes).show("choices")
        self._job = self.dnd.engine.start(request, f"export {one_line(self.record.name)}", self)
        self.query_one(ProgramList).show_command_line(command_line(request))
        self._settle()

    async def _decide_place(self) -> tuple[Path, bool] | None:
        """The folder to write, and whether it may be replaced; None when the person thinks better of it."""
        form = self.query_one(ExportForm)
        while (target := form.target) is not None:
            written = form.written or target
            shown = printable(str(written))
            try:
                there = await ask_disk(partial(contents, written))
            except TimeoutError:
                self.dnd.show_error(EngineError("the disk does not answer", where=shown, hint="Choose another folder"))
                return None
            if there.is_file and form.choices.zip:
                return (target, True) if await self.dnd.ask(f"Replace {shown}?", yes="Replace") else None
            if not there.names:
                return target, False
            if there.is_export:
                agreed = await self.dnd.ask(f"Replace the export in {shown}?", yes="Replace")
                return (target, True) if agreed else None
            inside = target / form.folder_name
            held = f"{shown} holds other files ({printable(there.words)}); they stay."
            if not await self.dnd.ask(f"{held} Export into {inside.name} in it?", yes="Export there"):
                return None
            form.target = inside
        self.dnd.show_error(EngineError("no folder is named", hint="Type the folder to write, or choose one"))
        return None

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        stages = self.query_one(StageList)
        for event in message.events:
            stages.handle(event)
            if isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning", markup=False)

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is self._info:
            self._show_verdicts(message)
        elif message.job is self._job:
            await self._finish(message)
            self._settle()

    def _show_verdicts(self, message: jobs.JobEnded) -> None:
        programs, outcome = self.query_one(ProgramList), message.outcome
        if isinstance(outcome, Finished) and outcome.result.data["kind"] == "adapter":
            self._formats = outcome.result.data["formats"]
            self.query_one(ExportForm).choices.know(self._formats)
            self._show_readers()
        else:
            hint = "Generate it again from the Library (key 5)"
            where = str(self.record.folder) if self.record else ""
            gone = EngineError("no longer holds an adapter", where=where, hint=hint)
            failure = outcome if isinstance(outcome, Failed) else gone
            programs.remark(failure.problem)
            self.dnd.show_error(failure)

    async def _finish(self, message: jobs.JobEnded) -> None:
        outcome, request = message.outcome, message.job.request
        assert isinstance(request, ExportRequest)
        form, programs = self.query_one(ExportForm), self.query_one(ProgramList)
        stages = self.query_one(StageList)
        if isinstance(outcome, Finished):
            stages.stop("done")
            form.show_result(outcome.result.data)
            form.remember(request.out)
            self._info = None  # an answer that is still to come knows less
            programs.show(_verdicts(outcome.result.data["consumers"]), with_commands=True)
            if self.focused is None and self.query_one("#readers").display:
                self.set_focus(programs)
            return
        await asyncio.to_thread(tidy_after_kill, request.target)
        before = "what was there is as it was" if request.replace else "nothing was written"
        if isinstance(outcome, Failed):
            stages.stop("failed")
            form.show_outcome(f"✗ Failed; {before}")
            self.dnd.show_error(outcome)
        else:
            stages.stop("stopped")
            form.show_outcome(f"✗ Stopped; {before}")

    # -- what is shown

    def _show_readers(self) -> None:
        """Who would read the chosen form."""
        known = self._formats.get(self.query_one(ExportForm).choices.form)
        if known is not None:
            self.query_one(ProgramList).show(_verdicts(known["consumers"]), with_commands=False)

    @on(ExportForm.Changed)
    def _choices_changed(self) -> None:
        if self.record is None or self.running:
            return
        form = self.query_one(ExportForm)
        if form.choices.form != self._form_shown or form.has_outcome:
            # What an earlier export came to is not what these choices come to.
            form.begin(())
            self._form_shown = form.choices.form
            self._show_readers()
        target = form.target
        self.query_one(ProgramList).show_command_line(command_line(self._request(target)) if target else "")

    @on(ExportForm.Decided)
    def _folder_decided(self) -> None:
        self.query_one("#export").focus()

    def _settle(self) -> None:
        """Buttons as the state has it."""
        export, stop = self.query_one("#export", Button), self.query_one("#stop", Button)
        if self.running and self.focused is export:
            self.set_focus(None)  # else the next button would get it, and a second Enter would press that
        export.disabled = self.running
        stop.disabled = not self.running
        if self.focused is None and not self.running and self.record:
            self.set_focus(export)
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey, or not at all."""
        if action == "newest":
            return self.record is None and self._newest is not None
        possible = {"export": not self.running, "copy": True, "folder": True, "stop": self.running}
        if action in possible:
            if self.record is None:
                return False
            return True if possible[action] else None
        return True

    # -- actions

    @on(Button.Pressed)
    async def _pressed(self, event: Button.Pressed) -> None:
        await self.run_action(str(event.button.id))

    def action_copy(self) -> None:
        """Copy the command of the highlighted program; where the programs are not in front, they come there first."""
        programs = self.query_one(ProgramList)
        if not self.query_one("#readers").display:
            self.query_one(Panes).show("readers")
            programs.call_after_refresh(programs.focus)
            return
        entry = programs.chosen
        if entry and entry.copied:
            self.dnd.copy_text(*entry.copied)
        elif entry:
            self.notify(f"{entry.program} has no command yet: export first", timeout=3, markup=False)

    def action_folder(self) -> None:
        """Type another folder."""
        self.query_one(Panes).show("choices")
        self.call_after_refresh(self.query_one(ExportForm).edit_folder)

    def action_newest(self) -> None:
        """Take the newest adapter."""
        if self._newest is not None:
            self.open(self._newest)

    async def action_library(self) -> None:
        """Choose an adapter there."""
        await self.dnd.go("library")


def _verdicts(consumers: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    return [Verdict(**each) for each in consumers]
