"""The run under way: its figures and curves from its events, and the lines on where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dnd_tui.jobs import Job
from dnd_tui.progress import RunningStage
from dnd_tui.screens.forge.plan import DOING, Data, PlanView, seconds_after, standing, time_left
from dnd_tui.services import app_of
from dnd_tui.text import duration, figure
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.loss_plot import LossPlot
from engine.events import Event, StageAdvanced, StageFinished, StageStarted
from engine.forge.curves import HELD_OUT_CURVE, Curve, read_curves
from engine.requests import TrainRequest
from engine.text import readable_size


class ForgeCurves(LossPlot):
    """One curve a stage, and those of the held-out tasks."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._read: dict[str, Curve] = {}

    @work(exclusive=True, group="curves")
    async def open(self, folders: Sequence[Path]) -> None:
        """The curves that the runs in these folders have left, in place of what is shown."""
        found: dict[str, Curve] = {}
        for folder in folders:
            try:
                found |= await ask_disk(partial(read_curves, folder))
            except OSError:  # TimeoutError is one too
                continue  # A folder that cannot be read has no curves; the plan explains why.
        if found == self._read:
            return
        self._read = found
        self.clear()
        for name, points in found.items():
            for step, loss in points:
                self.add(_title(name), step, loss)

    def handle(self, event: Event) -> None:
        """Take in an event of the run under way."""
        for name, step, loss in _points(event):
            self.add(_title(name), step, loss)


def _points(event: Event) -> Iterator[tuple[str, int, float]]:
    """Curve, step and loss of each point in an event; the curves are called as in `engine.forge.curves`."""
    if isinstance(event, StageAdvanced):
        for name, value in event.figures.items():
            if name == "loss":
                yield event.stage, event.step, value
            elif name.startswith(HELD_OUT_CURVE):
                yield name, event.step, value


def _title(name: str) -> str:
    """A curve's name for people."""
    if not name.startswith(HELD_OUT_CURVE):
        return name
    return f"held out, {name.removeprefix(HELD_OUT_CURVE).replace('_', ' ')}"


class RunFigures:
    """Tasks done, throughput, memory, time left.

    Args:
        plan: of this run, before it began.
    """

    def __init__(self, plan: Data | None = None) -> None:
        self._plan = plan
        self._stage = ""
        self._running: RunningStage | None = None
        self._seconds = 0.0
        self._memory = 0
        self._tokens_per_second = 0.0
        self._tasks_done: int | None = None
        self._took: float | None = None

    @property
    def place(self) -> str:
        """The stage under way and how far it is."""
        count = self._running.count if self._running else ""
        return f"{self._stage} {count}".strip()

    def handle(self, event: Event) -> None:
        """Take in an event of the run."""
        if isinstance(event, StageStarted):
            self._stage, self._running, self._seconds = event.stage, RunningStage(event.total, event.unit), 0.0
        elif isinstance(event, StageAdvanced):
            if self._running:
                self._running.advance(event)
            self._seconds = event.seconds
            self._memory = event.memory or self._memory
            self._tokens_per_second = event.figures.get("tokens_per_second", self._tokens_per_second)
            if "tasks_done" in event.figures:
                self._tasks_done = int(event.figures["tasks_done"])
        elif isinstance(event, StageFinished):
            self._memory = event.memory or self._memory

    def end(self, seconds: float) -> None:
        """The run ended after `seconds`, well or not."""
        self._took = seconds

    def text(self) -> str:
        """What is known so far, in one line."""
        parts = [f"ran for {duration(self._took)}"] if self._took is not None else []
        if self._tasks_done is not None:
            many = f" of {self._plan['tasks']['collected']}" if self._plan else ""
            parts.append(f"{self._tasks_done}{many} tasks done")
        if self._tokens_per_second:
            parts.append(f"{figure(self._tokens_per_second)} tokens/s")
        if self._memory:
            parts.append(f"{readable_size(self._memory)} memory")
        left = self._running.left(self._seconds) if self._running and self._took is None else None
        if left is not None:
            later, unknown = seconds_after(self._plan, self._stage)
            parts.append(time_left(left + (later or 0.0), unknown))
        return ", ".join(parts)


class RunStanding(Vertical):
    """Where the run stands, its figures, and who waits behind it. Without a run: where both runs stand."""

    DEFAULT_CSS = """
    RunStanding {
        height: auto; padding: 0 1;
        Static { height: auto; max-height: 2; }
        #headline { text-style: bold; }
        #waiting { color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        """Three lines; those without text are not there."""
        yield Static("Reading what was chosen last", id="headline", markup=False)
        yield Static(id="figures", markup=False)
        yield Static(id="waiting", markup=False)

    def show(self, job: Job | None, figures: RunFigures, plans: PlanView, missing: Sequence[str]) -> None:
        """Bring the lines up to date; `missing`: what has to be named yet."""
        running = job is not None and job.outcome is None
        texts = {"figures": figures.text(), "waiting": ""}
        if job is not None and running:
            texts |= {"headline": self._headline(job, figures), "waiting": self._waiting(job)}
        elif plans.planning:
            texts["headline"] = "Looking at the folders"
        else:
            stands = standing(plans.data("collect"), plans.data("train"))
            named = f"Name {', '.join(missing)}" if missing else ""
            texts["headline"] = ". ".join(filter(None, (stands, named)))
        for name, text in texts.items():
            line = self.query_one(f"#{name}", Static)
            line.display = bool(text)
            if text != line.content:
                line.update(text)

    def _headline(self, job: Job, figures: RunFigures) -> str:
        doing = DOING["train" if isinstance(job.request, TrainRequest) else "collect"]
        if job.stopping:
            return f"{doing}: pausing"
        if job.began is None:
            before = app_of(self).engine.running
            return f"{doing} waits for: {before.title if before else 'a job'}"
        return f"{doing}: {figures.place}"

    def _waiting(self, run: Job) -> str:
        """What other jobs are to expect."""
        behind = [job.title for job in app_of(self).engine.jobs if job is not run and job.began is None]
        if not behind:
            return "Generate and Compare wait until this run is paused or done"
        return f"{len(behind)} wait until this run is paused or done: {', '.join(behind)}"
