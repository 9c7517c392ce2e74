"""Training curves: their points as a plot needs them, and a canvas for them that can be drawn anew at any time.

numpy comes with the plot; only screens with a plot import it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from math import ceil, floor, isfinite, log10
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Vertical
from textual.reactive import reactive
from textual.strip import Strip
from textual.timer import Timer
from textual.widgets import Static
from textual_hires_canvas import Canvas
from textual_plot import AxisFormatter, PlotWidget

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


class Curve:
    """Points in the order of their steps; what is not finite is counted and left out."""

    def __init__(self) -> None:
        self._steps = array("d")
        self._values = array("d")
        self.left_out = 0

    def add(self, step: float, value: float) -> None:
        """Take in one point."""
        if isfinite(step) and isfinite(value):
            self._steps.append(step)
            self._values.append(value)
        else:
            self.left_out += 1

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last(self) -> float:
        """The newest value."""
        return self._values[-1]

    def points(self, *, positive: bool = False) -> Points:
        """Steps and values by step; `positive` leaves out what a logarithm does not know."""
        # Copies: a view would forbid the arrays to grow.
        steps, values = np.array(self._steps), np.array(self._values)
        order = np.argsort(steps, kind="stable")  # a resumed run goes over some steps again
        steps, values = steps[order], values[order]
        keep = values > 0 if positive else slice(None)
        return steps[keep], values[keep]


def thinned(steps: NDArray[np.float64], values: NDArray[np.float64], most: int) -> Points:
    """At most `most` points: the lowest and the highest of every stretch, so that no peak is lost."""
    if len(steps) <= most:
        return steps, values
    stretches = np.array_split(np.arange(len(steps)), max(most // 2, 1))
    extremes = [part[[values[part].argmin(), values[part].argmax()]] for part in stretches]
    kept = np.unique(np.concatenate(extremes))
    return steps[kept], values[kept]


class Ticks(AxisFormatter):
    """Ticks at 1, 2, 5, 10, ...; at most `most` of them."""

    def __init__(self) -> None:
        self.most = 8

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Multiples of the smallest such distance that gives no more than `most` ticks."""
        if not max_ > min_:  # zoomed in as far as numbers go
            return []
        least = (max_ - min_) / max(self.most, 1)
        power = 10.0 ** floor(log10(least))
        distance = next(times * power for times in (1, 2, 5, 10, 20) if times * power >= least)
        first = ceil(min_ / distance)
        return [number * distance for number in range(first, floor(max_ / distance) + 1)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """As many digits as the distance asks for; thousands as `k`, millions as `M`."""
        if not ticks:
            return []
        distance = ticks[1] - ticks[0] if len(ticks) > 1 else abs(ticks[0]) or 1.0
        largest = max(map(abs, ticks))
        if 0 < largest < 1e-3:
            digits = max(1, floor(log10(largest)) - floor(log10(distance) + 1e-9))
            return [f"{tick:.{digits}e}" if tick else "0" for tick in ticks]
        size, letter = (1e6, "M") if largest >= 1e7 else (1e3, "k") if largest >= 1e4 else (1.0, "")
        digits = max(0, -floor(log10(distance / size) + 1e-9))
        return [f"{tick / size:.{digits}f}{letter if tick else ''}" for tick in ticks]


class LogTicks(Ticks):
    """The same for values of which the logarithm is plotted: 0.1, 0.2, 0.5, 1, ..."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Whole powers of ten and what is between them, as far as there is room; even distances in a narrow range."""
        powers = range(floor(min_), ceil(max_) + 1)
        for steps in ((1, 2, 5), (1,)):
            ticks = [power + log10(step) for power in powers for step in steps]
            ticks = [tick for tick in ticks if min_ <= tick <= max_]
            if len(ticks) <= self.most:
                break
        else:
            return ticks[:: ceil(len(ticks) / self.most)]
        if len(ticks) >= 2:
            return ticks
        return [log10(tick) for tick in super().get_ticks(10**min_, 10**max_) if tick > 0]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """The values themselves."""
        values = [10**tick for tick in ticks]
        labels = [f"{value:.4g}" for value in values]
        return labels if len(set(labels)) == len(labels) else super().get_labels_for_ticks(values)


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


# Seconds between two drawings.
_PAUSE = 0.25


class DrawnSoon(Vertical):
    """`_draw_soon` asks for a drawing; a subclass draws in `_draw`."""

    _waiting: Timer | None = None

    def on_resize(self) -> None:
        """As many points and ticks as there is room for."""
        self._draw_soon()

    def notify_style_update(self) -> None:
        """Draw in the colours of another theme."""
        super().notify_style_update()
        self._draw_soon()

    def _draw_soon(self) -> None:
        if self.is_mounted and self._waiting is None:
            self._waiting = self.set_timer(_PAUSE, self._drawn)

    def _drawn(self) -> None:
        self._waiting = None
        self._draw()

    def _draw(self) -> None:
        raise NotImplementedError
