"""Curves of a training run, live.

    ⠤⠤ pretraining 2.31   ▄▄ training 1.234                                        log scale

Dots are single steps, the line is their moving mean. Curves differ in colour and in the characters of their lines.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static
from textual_plot import HiResMode

from dnd_tui.text import figure, one_line
from dnd_tui.widgets.curves import Curve, DrawnSoon, LossCanvas, Points, thinned
from engine.forge.curves import smoothed

_LINES = ((HiResMode.BRAILLE, "⠤⠤"), (HiResMode.QUADRANT, "▄▄"), (HiResMode.HALFBLOCK, "▀▀"))
_COLOURS = 4
# Below this size there is no room for axes.
_SMALLEST = (30, 6)


class LossPlot(DrawnSoon):
    """One or more curves by name; `add` points to them."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"loss-plot--curve-{number}" for number in range(_COLOURS)}
    DEFAULT_CSS = """
    LossPlot {
        height: 1fr;
        .head { height: auto; }
        .legend { width: 1fr; height: auto; }
        .scale { width: auto; height: 1; padding: 0 1; background: $panel; }
        .scale:hover { text-style: underline; }
        .nothing { height: 1fr; content-align: center middle; color: $text-muted; }
        .loss-plot--curve-0 { color: $primary; }
        .loss-plot--curve-1 { color: $accent; }
        .loss-plot--curve-2 { color: $secondary; }
        .loss-plot--curve-3 { color: $success; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "toggle_log", "Log scale", id="plot.log", tooltip="Logarithmic or linear scale"),
    ]

    logarithmic: reactive[bool] = reactive(False)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._curves: dict[str, Curve] = {}

    def compose(self) -> ComposeResult:
        """Legend, scale, plot, and what is shown while there is none."""
        with Horizontal(classes="head"):
            yield Static(classes="legend", markup=False)
            scale = Static(classes="scale", markup=False)
            scale.tooltip = "Click for the other scale"
            yield scale
        yield LossCanvas()
        yield Static(classes="nothing", markup=False)

    def on_mount(self) -> None:
        """Nothing to show yet."""
        self._draw()

    def add(self, curve: str, step: float, value: float) -> None:
        """Add a point; the plot follows within a quarter of a second."""
        self._curves.setdefault(curve, Curve()).add(step, value)
        self._draw_soon()

    def clear(self) -> None:
        """Forget all curves."""
        self._curves.clear()
        self._draw_soon()

    def action_toggle_log(self) -> None:
        """The other scale."""
        self.logarithmic = not self.logarithmic

    def watch_logarithmic(self) -> None:
        """Draw on the other scale."""
        if self.is_mounted:
            self.query_one(LossCanvas).show_all()
            self._draw()

    def on_click(self, event: events.Click) -> None:
        """A click on the name of the scale changes it."""
        if self.query_one(".scale").region.contains_point(event.screen_offset):
            self.action_toggle_log()

    def _draw(self) -> None:
        self.query_one(".legend", Static).update(self._legend())
        self.query_one(".scale", Static).update("log scale" if self.logarithmic else "linear scale")
        canvas = self.query_one(LossCanvas)
        points = [curve.points(positive=self.logarithmic) for curve in self._curves.values()]
        steps = np.concatenate([np.empty(0), *(steps for steps, _ in points)])
        wide, high = self.size.width, self.size.height - self.query_one(".head").size.height
        small = wide < _SMALLEST[0] or high < _SMALLEST[1]
        canvas.display = len(steps) > 1 and bool(steps.min() < steps.max()) and not small
        nothing = self.query_one(".nothing", Static)
        nothing.display = not canvas.display
        if canvas.display:
            self._plot(canvas, [(x, np.log10(y) if self.logarithmic else y) for x, y in points], wide, high)
        else:
            why = "No room for a plot here" if small else "One step so far" if len(steps) else "No points yet"
            nothing.update(why)

    def _plot(self, canvas: LossCanvas, points: list[Points], wide: int, high: int) -> None:
        canvas.clear()
        canvas.fit_ticks(wide, high, logarithmic=self.logarithmic)
        canvas.fit_limits(points, wide, high)
        dot = canvas.height_of_a_dot(high)
        lines = []
        for number, (x, y) in enumerate(points):
            mean = smoothed(y)
            colour, faint = self._styles(number)
            if not np.array_equal(mean, y):
                canvas.scatter(*thinned(x, y, 2 * wide), marker_style=faint, hires_mode=HiResMode.BRAILLE)
            x, mean = thinned(x, mean, 2 * wide)
            kind = _LINES[number % len(_LINES)][0]
            if kind is HiResMode.BRAILLE:  # There and back one dot lower: a line of one dot is hardly seen.
                x, mean = np.concatenate((x, x[::-1])), np.concatenate((mean, mean[::-1] - dot))
            lines.append((x, mean, colour, kind))
        for line in lines:
            canvas.plot(*line)

    def _styles(self, number: int) -> tuple[str, str]:
        """Of the line and of the dots, as Rich writes them."""
        colour = self.get_component_styles(f"loss-plot--curve-{number % _COLOURS}").color
        if colour.ansi is not None:
            return colour.rich_color.name, f"dim {colour.rich_color.name}"
        return colour.rich_color.name, colour.blend(self.background_colors[1], 0.55).rich_color.name

    def _legend(self) -> Content:
        """Each curve's line, name, newest value, and how many points are left out."""
        parts = []
        for number, (name, curve) in enumerate(self._curves.items()):
            style = f".loss-plot--curve-{number % _COLOURS}"
            text = f" {one_line(name)}" + (f" {figure(curve.last)}" if len(curve) else "")
            parts.append(Content.assemble((_LINES[number % len(_LINES)][1], style), text))
            if curve.left_out:
                parts.append(Content.styled(f"{curve.left_out} left out (not finite)", "$text-warning"))
            low = len(curve) - len(curve.points(positive=True)[0]) if self.logarithmic else 0
            if low:
                parts.append(Content.styled(f"{low} left out (not above 0)", "$text-warning"))
        return Content("   ").join(parts)
