"""What the Export screen shows while no adapter is chosen: where to choose one, and the newest."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line, printable
from engine.errors import EngineError


class NothingChosen(Vertical):
    """A sentence and two buttons."""

    DEFAULT_CSS = """
    NothingChosen {
        height: 1fr; align: center middle;
        Static { width: 100%; padding: 0 2; height: auto; text-align: center; margin-bottom: 1; }
        Horizontal { width: 100%; height: auto; align-horizontal: center; }
        Button { margin: 0 1; max-width: 40; }
    }
    """

    def compose(self) -> ComposeResult:
        """Nothing is known of the library yet."""
        yield Static("Choose an adapter in the Library (key 5)", markup=False)
        with Horizontal():
            yield Button("Newest", id="newest", variant="primary", disabled=True)
            yield Button("Library", id="library")

    def complain(self, error: EngineError) -> None:
        """The library cannot be read."""
        self.query_one("#newest").display = False
        self.query_one(Static).update(f"✗ {printable(str(error))}")

    def offer(self, newest: AdapterRecord | None) -> None:
        """The newest adapter of the library; None while there is none at all."""
        button = self.query_one("#newest", Button)
        button.display = newest is not None
        button.disabled = newest is None
        if newest is None:
            text = "There is no adapter yet. Drop a prompt file to make one (key 1)"
        else:
            named = f"{one_line(newest.name)}, from {one_line(newest.source_words)}"
            text = f"No adapter is chosen. Pick one in the Library (key 5),\nor take the newest (key n): {named}"
        self.query_one(Static).update(text)
