"""Training on answered rows as the Generate screen shows it: its curves, its facts, and what a stopped one has left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnd_tui.text import figure
from dnd_tui.widgets.loss_plot import LossPlot
from engine.adapter.card import read_provenance
from engine.adapter.kind import CONFIG_FILE
from engine.adapter.peft_folder import read_peft_layout
from engine.adapter.solved import Trained
from engine.events import Event, Note, StageAdvanced, StageStarted

_STAGE = "train"
STOPPED = "stopped"
"""Why a training ended that the person stopped."""


class TrainingPlot(LossPlot):
    """The loss of each step, and that of the watched rows."""

    def handle(self, event: Event) -> None:
        """Take in an event of the run."""
        if isinstance(event, StageAdvanced) and event.stage == _STAGE:
            for name, curve in (("loss", "loss"), ("watched_nats", "watched rows")):
                if name in event.figures:
                    self.add(curve, event.step, event.figures[name])


class TrainingFacts:
    """Steps so far, what the watched rows say of them, and how long it will take."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._began = False
        self._will_take = ""
        # Right answers and likelihood of the watched rows: more is better.
        self._looks: list[tuple[float, float]] = []

    def handle(self, event: Event) -> None:
        """Take in an event of the run."""
        if isinstance(event, StageStarted) and event.stage == _STAGE:
            self._began = True
        elif isinstance(event, Note) and self._began and not event.warning:
            self._will_take = event.text
        elif isinstance(event, StageAdvanced) and event.stage == _STAGE:
            self.steps, self.seconds = event.step, event.seconds
            if "watched_right" in event.figures:
                self._looks.append((event.figures["watched_right"], -event.figures["watched_nats"]))

    @property
    def gained(self) -> bool:
        """Whether there is something to keep: the watched rows say so, or, without any, a step was taken."""
        return max(self._looks) > self._looks[0] if self._looks else self.steps > 0

    def lines(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Label and value of each fact; `data` is what the job answered, empty before that."""
        lines = []
        if "steps" in data:
            watched = f"{data['watched']} watched" if data["watched"] else "too few to watch some"
            lines.append(("rows", f"{data['rows']} trained on, {watched}"))
            lines.append(("steps", f"{data['steps']}, the best after {data['best_step']}; {data['ended']}"))
        if self._looks:
            at_first, best = (_look_words(look) for look in (self._looks[0], max(self._looks)))
            now = "" if data else f", now {_look_words(self._looks[-1])}"
            lines.append(("watched rows", f"at first {at_first}{now}, at best {best}"))
        if self._will_take and not data:
            lines.append(("will take", self._will_take))
        return lines


def _look_words(look: tuple[float, float]) -> str:
    right, likelihood = look
    return f"{right:.0f} right ({figure(-likelihood)} nats a token)"


def what_was_kept(folder: Path) -> dict[str, Any] | None:
    """What a training that was stopped has written to `folder`, told as one that ends tells it; None for nothing.

    Touches the disk.

    Raises:
        EngineError: what stands there cannot be read.
    """
    if not (folder / CONFIG_FILE).is_file():
        return None
    told = read_provenance(folder)
    if not isinstance(told, Trained):
        return None
    layout, _ = read_peft_layout(folder)
    return {
        "parameters": layout.parameters,
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "rows": told.rows,
        "taught_by": dict(told.taught_by),
        "watched": told.watched,
        "steps": told.steps,
        "best_step": told.best_step,
        "ended": told.ended,
    }
