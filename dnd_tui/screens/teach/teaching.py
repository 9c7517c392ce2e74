"""From prompts without answers to a file of answers that a person has looked through; a teacher at work.

request --> device process --> stages: import, read, load, teach --> how it ended

prompts --TeachDialog--> wish --TeachRun--> answers-NAME.jsonl --TaughtDialog--> as the person left it
           ^                     |
           +--- no answer came --+
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.config import data_folder
from dnd_tui.screens.answer_dialog import free_answers_file
from dnd_tui.screens.dialogs import FRAME
from dnd_tui.screens.teach.answers import TaughtDialog
from dnd_tui.screens.teach.form import TeachDialog, TeachWish
from dnd_tui.services import app_of
from dnd_tui.text import one_line
from dnd_tui.widgets.dialog import Dialog
from dnd_tui.widgets.path_inputs import Dropped
from dnd_tui.widgets.stages import StageList
from engine.events import Note
from engine.host import Failed, Finished
from engine.host.messages import Outcome
from engine.prompts.answer_sheet import read_sheet
from engine.requests import PromptChoice, TeachRequest
from engine.teacher.endpoint import is_endpoint

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


class TeachRun(Dialog[Outcome | None]):
    """Runs the request; how it ended. A failure is reported before that."""

    DEFAULT_CSS = f"""
    TeachRun {FRAME}
    TeachRun {{
        .frame {{ border: round $primary; width: 80; }}
        #doing {{ height: auto; margin-bottom: 1; }}
        .remark {{ height: auto; color: $text-muted; margin-top: 1; }}
        StageList {{ max-height: 10; }}
        &.-short .frame {{ padding: 0 1; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="teach-run.stop", tooltip="Stop; the answers so far are kept")
    ]

    def __init__(self, request: TeachRequest) -> None:
        super().__init__()
        self._request = request
        self._title = f"let {one_line(request.teacher_model or request.teacher)} answer {request.source.name}"
        self._job: jobs.Job | None = None
        self._outcome: Outcome | None = None

    def compose(self) -> ComposeResult:
        """What is done, its stages, a button."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Let a model answer"
            yield Static(id="doing", markup=False)
            yield StageList()
            yield Static("Stop keeps the answers so far.", classes="remark", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Stop", id="stop", variant="error")

    def on_mount(self) -> None:
        """Begin."""
        before = app_of(self).engine.jobs
        waits = f"After the job before it: {before[-1].title}" if before else ""
        self._show_doing(waits or self._doing)
        loads = () if is_endpoint(self._request.teacher) else ("load",)
        self.query_one(StageList).expect(("import", "read", *loads, "teach"))
        self._job = app_of(self).engine.start(self._request, self._title, self)

    def on_unmount(self) -> None:
        """Whoever goes on to something else, by a drop for example, wants no more answers."""
        self.action_stop()

    @property
    def _doing(self) -> str:
        return f"{self._title[:1].upper()}{self._title[1:]}"

    def _show_doing(self, text: str) -> None:
        self.query_one("#doing", Static).update(one_line(text))

    @on(jobs.JobBegan)
    def _began(self) -> None:
        self._show_doing(self._doing)

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        for event in message.events:
            self.query_one(StageList).handle(event)
            if isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        self._outcome = message.outcome
        if isinstance(message.outcome, Failed):
            self.query_one(StageList).stop("failed")
            app_of(self).show_error(message.outcome)
        self._close()

    @on(events.ScreenResume)
    def _close(self) -> None:
        """Over, and no other dialog in front of it."""
        if self._outcome is not None and self.is_active:
            self.dismiss(self._outcome)

    @on(Button.Pressed, "#stop")
    def action_stop(self) -> None:
        """Stop; the answers so far are kept."""
        if self._job is not None:
            app_of(self).engine.stop(self._job)

    @on(Dropped)
    def _dropped(self, event: Dropped) -> None:
        """It is not lost by a slip."""
        event.stop()
        self.notify("Stop the model first", severity="warning")


# What prompts are read from, and how: answers to others do not belong into the same file.
_Origin = tuple[PromptChoice, int, int]


class Teaching:
    """Lets models answer prompts; what was begun and is not complete goes on in its file, as long as the app runs."""

    def __init__(self, app: DndApp) -> None:
        self._app = app
        self._wish = TeachWish()
        self._unfinished: dict[_Origin, Path] = {}

    async def answers_to(self, prompts: PromptChoice) -> Path | None:
        """The file of answers; None where the person wants none of them. From a worker."""
        origin = await asyncio.to_thread(_origin, prompts)
        while True:
            begun = self._unfinished.get(origin)
            wish = await self._app.push_screen_wait(TeachDialog(self._wish, begun))
            if wish is None:
                return None
            self._wish = wish
            file = begun if begun else await asyncio.to_thread(free_answers_file, data_folder(), prompts.source)
            outcome = await self._app.push_screen_wait(TeachRun(wish.request(prompts, file, self._app.models)))
            rows = await asyncio.to_thread(read_sheet, file) or []
            if rows and not (isinstance(outcome, Finished) and all(row.response for row in rows)):
                self._unfinished[origin] = file
            else:
                self._unfinished.pop(origin, None)
            if outcome is None:
                return None  # the person has gone on to something else
            if any(row.response for row in rows):
                return file if await self._app.push_screen_wait(TaughtDialog(file, rows)) else None
            if isinstance(outcome, Finished):
                self._app.notify("The model gave no whole answer", severity="warning")


def _origin(prompts: PromptChoice) -> _Origin:
    """Touches the disk."""
    try:
        known = prompts.source.stat()
    except OSError:  # the job will report it
        return prompts, 0, 0
    return prompts, known.st_mtime_ns, known.st_size
