"""The lower part of the Compare screen: a bar an arm, what the scores say, the buttons."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from dnd_tui.screens.compare.score_bars import ArmScore, ScoreBars


class CompareFoot(Vertical):
    """Scores, verdict, buttons. A button does an action of the screen."""

    DEFAULT_CSS = """
    CompareFoot {
        height: auto;
        #scores { height: auto; padding: 0 1; }
        #verdict { height: auto; padding: 0 1; color: $text-muted; display: none; }
        #buttons { height: auto; padding: 0 1; }
        #buttons Button { margin-right: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        """From the bars down."""
        yield ScoreBars(id="scores")
        yield Static(id="verdict", markup=False)
        with Horizontal(id="buttons"):
            yield Button("Run", id="run", variant="primary", action="screen.run")
            yield Button("Run all", id="all", action="screen.run_all")
            yield Button("Stop", id="stop", variant="error", action="screen.stop")
            yield Button("Pick base", id="pick-base", action="screen.pick('base')")
            yield Button("Pick adapted", id="pick-next", action="screen.pick('next')")
            yield Button("Save", id="save", action="screen.save")
            yield Button("Export", id="export", action="screen.export")

    def show_scores(self, scores: Sequence[ArmScore]) -> None:
        """A bar an arm."""
        self.query_one(ScoreBars).show(scores)

    def show_verdict(self, text: str) -> None:
        """Sentences below the bars; no line without any."""
        line = self.query_one("#verdict", Static)
        line.update(text)
        line.display, line.tooltip = bool(text), text or None

    def settle(self, *, chosen: bool, running: bool, exported: bool) -> None:
        """Which buttons can be pressed.

        Args:
            chosen: it is known what is compared. running: answers are coming. exported: there is something to export.
        """
        for name in ("run", "all", "save", "export"):
            self.query_one(f"#{name}", Button).disabled = not chosen or running
        self.query_one("#export").display = exported
        self.query_one("#stop", Button).disabled = not running
        for name in ("pick-base", "pick-next"):
            self.query_one(f"#{name}", Button).disabled = not chosen
