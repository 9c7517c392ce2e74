"""The canvas of the loss plot: PlotWidget with keys that can be changed, and axes that fit live points."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.reactive import reactive
from textual.strip import Strip
from textual.widgets import Static
from textual_hires_canvas import Canvas
from textual_plot import PlotWidget

from dnd_tui.widgets.curves import LogTicks, Points, Ticks

_TICKS_APART = (12, 3)
# Cells on the right for the second half of the last tick's label.
_LABEL = 2


class _StyledCanvas(Canvas):
    """A canvas whose lines all have a style: without colours, Textual cannot paint one that has none.

    The canvas gives such lines while it is smaller than its widget, just after it grew.
    """

    def render_line(self, y: int) -> Strip:
        """One line."""
        strip = super().render_line(y)
        return strip if strip.cell_length else Strip.blank(self.size.width, self.rich_style)


class LossCanvas(PlotWidget, inherit_bindings=False):
    """The plot itself, with keys that can be changed in the settings."""

    DEFAULT_CSS = """
    LossCanvas {
        height: 1fr;
        & > .plot--axis { color: $foreground 25%; }
        &:focus > .plot--axis { color: $foreground 60%; }
        & > .plot--tick { color: $foreground 60%; text-style: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus", "zoom_in", "Zoom in", id="plot.in", show=False, tooltip="Zoom in; the mouse wheel too"),
        Binding("minus", "zoom_out", "Zoom out", id="plot.out", show=False, tooltip="Zoom out; the mouse wheel too"),
        Binding("left", "pan_left", "Pan left", id="plot.left", show=False, tooltip="Move the plot; dragging too"),
        Binding("right", "pan_right", "Pan right", id="plot.right", show=False, tooltip="Move the plot; dragging too"),
        Binding("up", "pan_up", "Pan up", id="plot.up", show=False, tooltip="Move the plot; dragging too"),
        Binding("down", "pan_down", "Pan down", id="plot.down", show=False, tooltip="Move the plot; dragging too"),
        Binding("r", "reset_scales", "Show all", id="plot.all", tooltip="Show all points again"),
    ]

    margin_top = reactive(0)
    margin_bottom = reactive(1)
    margin_left = reactive(8)

    def __init__(self) -> None:
        super().__init__()
        self._shown = (0.0, 1.0, 0.0, 1.0)
        # Limits that were fitted lately: others are the person's own. Several, as a message about them comes later.
        self._fitted = deque([self._shown], maxlen=8)

    def compose(self) -> ComposeResult:
        """The parts that `PlotWidget` draws on."""
        with Grid():
            for part in ("margin-top", "margin-left", "plot", "margin-bottom"):
                yield _StyledCanvas(1, 1, id=part)
        yield Static(id="legend")

    def fit_ticks(self, wide: int, high: int, *, logarithmic: bool) -> None:
        """As many ticks as can be read."""
        steps, values = Ticks(), LogTicks() if logarithmic else Ticks()
        steps.most, values.most = max(wide // _TICKS_APART[0], 2), max(high // _TICKS_APART[1], 2)
        self.set_x_formatter(steps)
        self.set_y_formatter(values)

    def fit_limits(self, points: Sequence[Points], wide: int, high: int) -> None:
        """Axes around all points and half a cell more; not while the person has zoomed or moved the plot."""
        if self._shown not in self._fitted:
            return
        left, right = _around(np.concatenate([steps for steps, _ in points]), wide)
        low, top = _around(np.concatenate([values for _, values in points]), high)
        right += _LABEL * (right - left) / wide
        self._shown = (left, right, low, top)
        self._fitted.append(self._shown)
        self.set_xlimits(left, right)
        self.set_ylimits(low, top)

    def show_all(self) -> None:
        """Forget zooming and moving at the next drawing."""
        self._shown = self._fitted[-1]

    def height_of_a_dot(self, high: int) -> float:
        """What one dot of a braille character spans."""
        return (self._shown[3] - self._shown[2]) / max(high - 3, 1) / 4

    @on(PlotWidget.ScaleChanged)
    def _remember(self, event: PlotWidget.ScaleChanged) -> None:
        self._shown = (event.x_min, event.x_max, event.y_min, event.y_max)


def _around(values: NDArray[np.float64], cells: int) -> tuple[float, float]:
    """Limits half a cell outside; an axis needs some length even where all values are the same."""
    low, high = float(values.min()), float(values.max())
    beside = (high - low) / cells / 2 or 0.5
    return low - beside, high + beside
