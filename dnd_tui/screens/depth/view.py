"""The chain that is looked at: its strip, the stages of a job about it, what is known of it."""

from __future__ import annotations

from typing import Literal

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from dnd_tui.screens.depth.chains import Lines
from dnd_tui.screens.depth.layer_strip import LayerStrip
from dnd_tui.widgets.facts import Facts
from dnd_tui.widgets.stages import StageList
from engine.depth.chain import parse_chain
from engine.events import Event


class ChainView(VerticalScroll, can_focus=False):
    """Strip above; below it the stages while a job runs, and after one that did not end well; else the facts."""

    DEFAULT_CSS = """
    ChainView {
        height: auto; max-height: 100%;
        StageList, Facts { height: auto; margin-top: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        """All of it."""
        yield LayerStrip()
        yield StageList()
        yield Facts(id="facts")

    def on_mount(self) -> None:
        """Nothing to look at yet."""
        self.query_one(StageList).display = self.query_one(Facts).display = False

    def show(self, chain: str, layers: int) -> None:
        """Show a chain, in words, of a base of `layers` layers."""
        self.query_one(LayerStrip).show(parse_chain(chain, layers), layers)

    def clear(self) -> None:
        """Show no chain."""
        self.query_one(LayerStrip).clear()

    def tell(self, lines: Lines) -> None:
        """What is known of the chain."""
        facts = self.query_one(Facts)
        facts.set(lines)
        facts.display = bool(lines)
        if lines:
            self.query_one(StageList).display = False

    def begin(self, stages: tuple[str, ...]) -> None:
        """A job with these stages begins."""
        self.query_one(StageList).display = True
        self.query_one(StageList).expect(stages)

    def handle(self, event: Event) -> None:
        """Take in an event of the job."""
        self.query_one(StageList).handle(event)

    def end(self, outcome: Literal["done", "stopped", "failed"], *, stages: bool) -> None:
        """The job ended; `stages` says whether they are still shown."""
        self.query_one(StageList).stop(outcome)
        self.query_one(StageList).display = stages
