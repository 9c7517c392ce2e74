"""The search under way: what its events say, and the lines that say where it stands."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dnd_tui.jobs import Job
from dnd_tui.progress import RunningStage
from dnd_tui.screens.depth.chains import FoundChains
from dnd_tui.screens.depth.pareto_plot import Point
from dnd_tui.state.chains import CHAIN_FILE
from dnd_tui.text import duration
from dnd_tui.widgets.disk import ask_disk
from engine.errors import EngineError
from engine.events import ChainScored, Event, StageAdvanced, StageStarted
from engine.files import read_json

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

STAGES = ("import", "load", "read", "search", "judge", "speed")
_DOING = {"search": "searching, chain", "judge": "judging on held-out rows,", "speed": "measuring base and chain"}
_ROUNDS = ("in the tree", "first round of halving", "second round of halving")


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
        share = "" if last.share is None else f", {last.share:.0%} of the layers that a naive search runs"
        left = self._running.left(self._seconds) if running and self._running else None
        rest = f", {duration(left)} left" if left is not None else ""
        looked = f"{len(self._looked_at)} chains, {_ROUNDS[last.round]}{share}{rest}"
        beside = ""
        if self.base and self.base.rows == best.rows:
            beside = f" (the base {self.base.right})"
        found = f"best so far: {best.layers} layers, {best.right} of {best.rows} right{beside}, score {best.value:.3f}"
        return [looked, found]


async def kept_chains(folder: Path) -> FoundChains | None:
    """What a search that was stopped left in its folder; None where it left nothing, or the disk does not answer."""
    try:
        found = FoundChains.of(await ask_disk(partial(read_json, folder / CHAIN_FILE)))
    except (EngineError, TimeoutError, KeyError, TypeError, ValueError):
        return None
    return found if found.stopped else None


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
        self.tell("Choose labelled prompts, and search for a chain of layers")

    def follow(self, job: Job, figures: SearchFigures) -> None:
        """A search waits or runs."""
        if job.stopping:
            headline = "Stopping; the best chain so far is kept"
        elif job.began is None:
            before = cast("DndApp", self.app).engine.running
            headline = f"Waits until this is done: {before.title if before else 'a job'}"
        else:
            headline = f"{figures.place[:1].upper()}{figures.place[1:]}"
        self.tell(headline, *figures.lines(running=True))

    def tell(self, headline: str, figures: str = "", found: str = "") -> None:
        """Bring the lines up to date."""
        for name, text in (("headline", headline), ("figures", figures), ("found", found)):
            line = self.query_one(f"#{name}", Static)
            line.display = bool(text)
            if text != line.content:
                line.update(text)
