"""Chains of layers by length and score: all that were looked at, those to choose from, the base, the one chosen.

    · on few rows  • on all rows  o to choose from  ▲ base  ◆ shown        score by layers

Each kind has a sign of its own besides its colour. Where several chains share a place, the one named later is seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from dnd_tui.widgets.drawn_soon import DrawnSoon
from dnd_tui.widgets.loss_canvas import LossCanvas

Kind = Literal["few", "whole", "front", "base", "chosen"]

KINDS: tuple[Kind, ...] = get_args(Kind)
SIGNS: dict[Kind, str] = {"few": "·", "whole": "•", "front": "o", "base": "▲", "chosen": "◆"}
_NAMES: dict[Kind, str] = {
    "few": "on few rows",
    "whole": "on all rows",
    "front": "to choose from",
    "base": "base",
    "chosen": "shown",
}
# Below this size there is no room for axes.
_SMALLEST = (24, 5)


@dataclass(frozen=True)
class Point:
    """A chain as the plot has it: its name, its length, its score, and on how many rows."""

    chain: str
    layers: int
    value: float
    rows: int


def kind_of(point: Point, most: int, front: Collection[str], base: str, chosen: str) -> Kind:
    """What a point is marked as.

    Args:
        most: rows of the points that were scored on most.
        front: the chains to choose from.
    """
    if point.chain == chosen:
        return "chosen"
    if point.chain == base:
        return "base"
    if point.chain in front:
        return "front"
    return "whole" if point.rows >= most else "few"


def plotted(points: Iterable[Point], front: Collection[str], base: str, chosen: str) -> dict[Kind, list[Point]]:
    """The points by kind, in the order in which kinds are drawn; kinds without points are left out."""
    points = list(points)
    most = max((point.rows for point in points), default=0)
    found: dict[Kind, list[Point]] = {kind: [] for kind in KINDS}
    for point in points:
        found[kind_of(point, most, front, base, chosen)].append(point)
    return {kind: some for kind, some in found.items() if some}


class ParetoPlot(DrawnSoon):
    """The plot and its legend."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"pareto-plot--{kind}" for kind in KINDS}
    DEFAULT_CSS = """
    ParetoPlot {
        height: 1fr;
        .legend { height: auto; width: 1fr; color: $text-muted; }
        .nothing { height: 1fr; content-align: center middle; color: $text-muted; }
        .pareto-plot--few { color: $foreground 50%; }
        .pareto-plot--whole { color: $foreground 80%; }
        .pareto-plot--front { color: $primary; }
        .pareto-plot--base { color: $warning; }
        .pareto-plot--chosen { color: $accent; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._points: dict[Kind, list[Point]] = {}

    def compose(self) -> ComposeResult:
        """Legend, plot, and what is said while there is none."""
        yield Static(classes="legend", markup=False)
        yield LossCanvas()
        yield Static(classes="nothing", markup=False)

    def on_mount(self) -> None:
        """Nothing to show yet."""
        self._draw()

    def show(self, points: Iterable[Point], front: Collection[str] = (), base: str = "", chosen: str = "") -> None:
        """Show these points; the plot follows within a quarter of a second."""
        self._points = plotted(points, front, base, chosen)
        self._draw_soon()

    def _draw(self) -> None:
        legend, canvas, nothing = self.query_one(".legend", Static), self.query_one(LossCanvas), self.query(".nothing")
        parts = [Content.assemble((SIGNS[kind], f".pareto-plot--{kind}"), f" {_NAMES[kind]}") for kind in self._points]
        legend.update(Content("  ").join([*parts, Content("score by layers")]) if parts else "")
        wide, high = self.size.width, self.size.height - legend.size.height
        small = wide < _SMALLEST[0] or high < _SMALLEST[1]
        canvas.display = bool(self._points) and not small
        nothing.first(Static).display = not canvas.display
        if not canvas.display:
            nothing.first(Static).update("No room for a plot here" if self._points else "No chains yet")
            return
        canvas.clear()
        canvas.fit_ticks(wide, high, logarithmic=False)
        groups = [
            (np.array([float(point.layers) for point in some]), np.array([point.value for point in some]))
            for some in self._points.values()
        ]
        canvas.fit_limits(groups, wide, high)
        for kind, (x, y) in zip(self._points, groups, strict=True):
            canvas.scatter(x, y, marker=SIGNS[kind], marker_style=self._style(kind))

    def _style(self, kind: Kind) -> str:
        """As Rich writes it."""
        style = self.get_component_styles(f"pareto-plot--{kind}").color
        own = style if style.ansi is not None else self.background_colors[1].blend(style, style.a, alpha=1.0)
        return f"bold {own.rich_color.name}" if kind in ("base", "chosen") else own.rich_color.name
