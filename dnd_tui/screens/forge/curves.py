"""The loss curves of both runs: from the logs of earlier ones, and live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from textual import work

from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.loss_plot import LossPlot
from engine.events import Event, StageAdvanced
from engine.forge.history import HELD_OUT_CURVE, Curve, read_curves


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
                continue  # A folder that cannot be read has no curves; the plan tells why.
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
    """Curve, step and loss of each point in an event; the curves are called as in `engine.forge.history`."""
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
