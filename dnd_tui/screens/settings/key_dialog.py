"""Asking for the new key of a binding: whatever is pressed next."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from dnd_tui.bindings import KnownBinding, shown_keys, taken_by
from dnd_tui.key_names import checked_keys


class KeyDialog(ModalScreen[str | None]):
    """The result is the key, or None if it stays as it is.

    Args:
        chosen: the keys that the settings give, by id.
    """

    DEFAULT_CSS = """
    KeyDialog {
        align: center middle; background: $background 60%;
        Vertical {
            width: 64; max-width: 95%; height: auto; padding: 1 2; border: round $primary; background: $surface;
        }
        #refused { color: $text-error; margin-top: 1; }
        .muted { margin-top: 1; }
    }
    """

    TAKES_EVERY_KEY = True

    def __init__(self, binding: KnownBinding, chosen: Mapping[str, str]) -> None:
        super().__init__()
        self._binding = binding
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """What is asked, why a key is not taken, the way out."""
        with Vertical() as frame:
            frame.border_title = "New key"
            yield Static(f"{self._binding.description} ({self._binding.where})", markup=False)
            yield Static("", id="refused", markup=False)
            yield Static("Press the new key. Esc leaves it as it is.", classes="muted", markup=False)

    def on_click(self, event: events.Click) -> None:
        """A click beside the frame leaves the key as it is."""
        if event.widget is self:
            self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        """Take the key, unless it is no key or another binding has it."""
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.dismiss(None)
            return
        try:
            key = checked_keys(event.key)
        except ValueError as error:
            self._refuse(str(error))
            return
        other = taken_by(self._binding, key, self._chosen)
        if other:
            self._refuse(f"{shown_keys(key)} is taken: {other.description} ({other.where}, {other.id})")
        else:
            self.dismiss(key)

    def _refuse(self, why: str) -> None:
        self.query_one("#refused", Static).update(f"✗ {why}")
