"""Events of a job -> progress on stderr.

In a terminal one live line shows the running stage (rich); it leaves the same plain line behind
that a log file gets:

    encode 32/32 0.8 s
    train 120/4000 35.2 s, loss 1.23, tokens/s 1310, 18 min 52 s left
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from dnd_tui.text import duration, figure, one_line
from engine.events import (
    AnswersBy,
    AnswersScored,
    Event,
    Note,
    StageAdvanced,
    StageFinished,
    StageStarted,
    TurnsLeftOut,
)
from engine.text import readable_size

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


@dataclass
class RunningStage:
    """What is known of a stage that began; `first` is its first advance, which may leap over resumed steps."""

    total: int | None
    unit: str
    step: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    printed: float = 0.0
    first: StageAdvanced | None = None

    def advance(self, event: StageAdvanced) -> None:
        """Take in how far the stage is."""
        self.step, self.total = event.step, event.total
        self.figures = event.figures or self.figures
        self.first = self.first or event

    @property
    def count(self) -> str:
        """`12/32`, `12 steps`, `12 MB of 98 MB`, or nothing before the first step."""
        if self.unit == "bytes" and (self.step or self.total):
            done = readable_size(self.step)
            return f"{done} of {readable_size(self.total)}" if self.total else done
        if self.total is not None:
            return f"{self.step}/{self.total}"
        return f"{self.step} {self.unit}" if self.step else ""

    def shown_figures(self) -> list[str]:
        """`loss 1.23`, `tokens/s 1310` and the like."""
        names = (name.replace("_per_second", "/s").replace("_", " ") for name in self.figures)
        return [f"{name} {figure(value)}" for name, value in zip(names, self.figures.values(), strict=True)]

    def left(self, seconds: float) -> float | None:
        """Seconds the rest will take at the pace since the first advance; None when that is not known."""
        if self.first is None or self.total is None or not self.step > self.first.step:
            return None
        return (seconds - self.first.seconds) / (self.step - self.first.step) * (self.total - self.step)


class PlainProgress:
    """One line for a finished stage; for a running one at most a line a second, fewer as it gets long."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stages: dict[str, RunningStage] = {}

    def __enter__(self) -> PlainProgress:
        """Nothing to set up."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing to take down."""

    def handle(self, event: Event) -> None:
        """Print `event`; answers are not progress."""
        if isinstance(event, Note):
            self.print_line(f"{'warning' if event.warning else 'note'}: {one_line(event.text)}")
        elif isinstance(event, AnswersBy):
            self.print_line(f"note: answers by {one_line(str(event))}")
        elif isinstance(event, AnswersScored):
            labels = f"; {len(event.labels)} labels: {', '.join(event.labels)}" if event.labels else ""
            self.print_line(f"note: answers are scored by {event.metric}{one_line(labels)}")
        elif isinstance(event, TurnsLeftOut):
            self.print_line(f"note: {one_line(event.arm)}: {event}")
        elif isinstance(event, StageStarted):
            self._stages[event.stage] = RunningStage(event.total, event.unit)
            self._started(event.stage, self._stages[event.stage])
        elif isinstance(event, StageAdvanced):
            stage = self._stages.setdefault(event.stage, RunningStage(event.total, "steps"))
            stage.advance(event)
            self._advanced(event, stage)
        elif isinstance(event, StageFinished):
            stage = self._stages.pop(event.stage, RunningStage(None, "steps"))
            self._finished(event.stage)
            memory = [readable_size(event.memory)] if event.memory else []
            note = f" ({one_line(event.note)})" if event.note else ""
            self.print_line(_line(event.stage, stage, event.seconds, memory) + note)

    def print_line(self, line: str) -> None:
        """One line to stderr. A closed or full stderr never ends the job."""
        try:
            print(line, file=self._stream, flush=True)
        except OSError:
            self._stream = open(os.devnull, "w")  # noqa: SIM115

    def pause(self) -> None:
        """Leave the terminal to streamed answers until the next stage starts."""

    def _started(self, name: str, stage: RunningStage) -> None:
        pass

    def _advanced(self, event: StageAdvanced, stage: RunningStage) -> None:
        pause = min(max(1.0, event.seconds / 60), 60.0)
        last = event.total is not None and event.step >= event.total
        if last or event.seconds - stage.printed < pause:
            return
        stage.printed = event.seconds
        left = stage.left(event.seconds)
        more = [] if left is None else [f"{duration(left)} left"]
        self.print_line(_line(event.stage, stage, event.seconds, more))

    def _finished(self, name: str) -> None:
        pass


class LiveProgress(PlainProgress):
    """The running stage as a live line at the bottom of the terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        super().__init__(stream)
        self._live: RichProgress = Progress(
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=stream),
            transient=True,
            refresh_per_second=5,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the live line."""
        self._live.stop()

    def print_line(self, line: str) -> None:
        """One line above the live one."""
        self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def pause(self) -> None:
        """Remove the live line until the next stage starts."""
        self._live.stop()

    def _started(self, name: str, stage: RunningStage) -> None:
        self._tasks[name] = self._live.add_task(name, total=stage.total, state=stage.count)
        self._live.start()

    def _advanced(self, event: StageAdvanced, stage: RunningStage) -> None:
        left = stage.left(event.seconds)
        state = [stage.count, *stage.shown_figures()] + ([f"{duration(left)} left"] if left is not None else [])
        if event.stage in self._tasks:
            self._live.update(
                self._tasks[event.stage], completed=stage.step, total=stage.total, state=", ".join(filter(None, state))
            )

    def _finished(self, name: str) -> None:
        if name in self._tasks:
            self._live.remove_task(self._tasks.pop(name))
        # Between stages the terminal is free for data.
        if not self._tasks:
            self._live.stop()


def open_progress(stream: TextIO) -> PlainProgress:
    """Live in a terminal that can move its cursor, plain lines everywhere else."""
    able = stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return LiveProgress(stream) if able else PlainProgress(stream)


def _line(name: str, stage: RunningStage, seconds: float, more: list[str]) -> str:
    parts = " ".join(filter(None, [name, stage.count, duration(seconds)]))
    return ", ".join([parts, *stage.shown_figures(), *more])
