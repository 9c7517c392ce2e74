"""The search under way: what its events report, the lines on where it stands, every chain in a plot.

    · on few rows  • on all rows  o to choose from  ▲ base  ◆ shown        score by layers

Each kind has a sign of its own besides its colour. Where several chains share a place, the one named later is seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from dnd_tui.jobs import Job
from dnd_tui.progress import RunningStage
from dnd_tui.screens.depth.chains import FoundChains
from dnd_tui.services import app_of
from dnd_tui.state.chains import CHAIN_FILE
from dnd_tui.text import duration
from dnd_tui.widgets.curves import DrawnSoon, LossCanvas
from dnd_tui.widgets.disk import ask_disk
from engine.errors import EngineError
from engine.events import ChainScored, Event, StageAdvanced, StageStarted
from engine.files import read_json

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
        """Legend, plot, and what is shown while there is none."""
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


STAGES = ("import", "load", "read", "search", "judge", "speed")
_DOING = {"search": "searching, chain", "judge": "judging on held-out rows,", "speed": "measuring base and chain"}
_ROUNDS = ("first look", "second look", "last look")


class SearchFigures:
    """Every chain looked at, the best so far, how far the search is.

    base: the base's own chain; None before it was scored.
    last: the chain looked at last.
    """

    def __init__(self) -> None:
        self.base: ChainScored | None = None
        self.last: ChainScored | None = None
        self._looked_at: dict[str, ChainScored] = {}
        self._stage = ""
        self._running: RunningStage | None = None
        self._seconds = 0.0

    @property
    def points(self) -> list[Point]:
        """The chains as a plot has them, each with its latest score."""
        return [Point(each.chain, each.layers, each.value, each.rows) for each in self._looked_at.values()]

    @property
    def best(self) -> ChainScored | None:
        """The best chain so far."""
        return self._looked_at.get(self.last.best) if self.last else None

    @property
    def place(self) -> str:
        """What is done now, and how far it is."""
        count = self._running.count if self._running else ""
        return f"{_DOING.get(self._stage, self._stage)} {count}".strip()

    def known(self, chain: str) -> ChainScored | None:
        """What is known of a chain."""
        return self._looked_at.get(chain)

    def handle(self, event: Event) -> None:
        """Take in an event of the search."""
        if isinstance(event, StageStarted):
            self._stage, self._running, self._seconds = event.stage, RunningStage(event.total, event.unit), 0.0
        elif isinstance(event, StageAdvanced) and self._running:
            self._running.advance(event)
            self._seconds = event.seconds
        elif isinstance(event, ChainScored):
            self._looked_at[event.chain] = self.last = event
            if self.base is None or event.chain == self.base.chain:
                self.base = event

    def lines(self, *, running: bool) -> list[str]:
        """What is known so far: the search, the best chain."""
        last, best = self.last, self.best
        if last is None or best is None:
            return []
        share = "" if last.share is None else f", {last.share:.0%} of the work of a full search"
        left = self._running.left(self._seconds) if running and self._running else None
        rest = f", {duration(left)} left" if left is not None else ""
        looked = f"{len(self._looked_at)} chains, {_ROUNDS[last.round]}{share}{rest}"
        beside = ""
        if self.base and self.base.rows == best.rows:
            beside = f" (the base {self.base.right})"
        found = f"best so far: {best.layers} layers, {best.right} of {best.rows} right{beside}, score {best.value:.3f}"
        return [looked, found]


async def kept_chains(folder: Path) -> FoundChains | None:
    """What the last search left in its folder; None where it left nothing, or the disk does not answer."""
    try:
        return FoundChains.of(await ask_disk(partial(read_json, folder / CHAIN_FILE)))
    except (EngineError, TimeoutError, KeyError, TypeError, ValueError):
        return None


class SearchStanding(Vertical):
    """Where the search stands, in up to three lines."""

    DEFAULT_CSS = """
    SearchStanding {
        height: auto; padding: 0 1;
        Static { height: auto; max-height: 2; }
        #headline { text-style: bold; }
        #found { color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        """Three lines; those without text are not there."""
        yield Static(id="headline", markup=False)
        yield Static(id="figures", markup=False)
        yield Static(id="found", markup=False)

    def on_mount(self) -> None:
        """Nothing is searched yet."""
        self.show_lines("Choose labelled prompts, and search for a chain of layers")

    def follow(self, job: Job, figures: SearchFigures) -> None:
        """A search waits or runs."""
        if job.stopping:
            headline = "Stopping; the best chain so far is kept"
        elif job.began is None:
            before = app_of(self).engine.running
            headline = f"Begins after: {before.title}" if before else "Starting"
        else:
            headline = f"{figures.place[:1].upper()}{figures.place[1:]}"
        self.show_lines(headline, *figures.lines(running=True))

    def show_lines(self, headline: str, figures: str = "", found: str = "") -> None:
        """Bring the lines up to date."""
        for name, text in (("headline", headline), ("figures", figures), ("found", found)):
            line = self.query_one(f"#{name}", Static)
            line.display = bool(text)
            if text != line.content:
                line.update(text)
