"""A teacher at work: how many answers there are, what they cost, a way to stop it.

request --> device process --> stages: import, read, load, teach --> how it ended
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.dialogs import FRAME
from dnd_tui.text import one_line
from dnd_tui.widgets.path_inputs import Dropped
from dnd_tui.widgets.stages import StageList
from engine.events import Note
from engine.host import Failed
from engine.host.messages import Outcome
from engine.requests import TeachRequest
from engine.teacher.endpoint import is_endpoint

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


class TeachRun(ModalScreen[Outcome | None]):
    """Runs the request; how it ended. A failure is told before that."""

    DEFAULT_CSS = f"""
    TeachRun {FRAME}
    TeachRun {{
        .frame {{ border: round $primary; width: 80; }}
        #doing {{ height: auto; margin-bottom: 1; }}
        .told {{ height: auto; color: $text-muted; margin-top: 1; }}
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
            yield Static("Stopped, it keeps the answers so far.", classes="told", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Stop", id="stop", variant="error")

    def on_mount(self) -> None:
        """Begin."""
        before = self._dnd.engine.jobs
        waits = f"After the job before it: {before[-1].title}" if before else ""
        self._say(waits or self._told)
        loads = () if is_endpoint(self._request.teacher) else ("load",)
        self.query_one(StageList).expect(("import", "read", *loads, "teach"))
        self._job = self._dnd.engine.start(self._request, self._title, self)

    def on_unmount(self) -> None:
        """Whoever goes on to something else, by a drop for example, wants no more answers."""
        self.action_stop()

    @property
    def _dnd(self) -> DndApp:
        return cast("DndApp", self.app)

    @property
    def _told(self) -> str:
        return f"{self._title[:1].upper()}{self._title[1:]}"

    def _say(self, text: str) -> None:
        self.query_one("#doing", Static).update(one_line(text))

    @on(jobs.JobBegan)
    def _began(self) -> None:
        self._say(self._told)

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
            self._dnd.tell(message.outcome)
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
            self._dnd.engine.stop(self._job)

    @on(Dropped)
    def _dropped(self, event: Dropped) -> None:
        """It is not lost by a slip."""
        event.stop()
        self.notify("A model is answering; stop it first", severity="warning")
