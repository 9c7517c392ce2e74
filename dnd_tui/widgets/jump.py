"""Jumping: a letter on everything that can have the focus; the letter, or a click on it, moves the focus there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Static

# Those under the fingers first; all of them are one key on every keyboard.
LETTERS = "asdfghjklqwertyuiopzxcvbnm1234567890"


class JumpLetter(Static):
    """The letter of one widget, on its upper left corner."""

    def __init__(self, letter: str, target: Widget) -> None:
        super().__init__(f" {letter} ", markup=False)
        self.target = target

    def on_click(self) -> None:
        """Go there."""
        self.screen.dismiss(self.target)


class JumpDialog(ModalScreen[Widget | None]):
    """The letters over the screen below; the result is the chosen widget."""

    DEFAULT_CSS = """
    JumpDialog {
        background: $background 50%;
        JumpLetter {
            position: absolute; width: 3; height: 1;
            background: $accent; color: $background; text-style: bold;
        }
        JumpLetter:hover { text-style: bold reverse; }
        #jump-hint { dock: bottom; width: 1fr; height: 1; background: $panel; color: $foreground; padding: 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+o", "close", "Close", id="jump.close", tooltip="Leave the focus where it is"),
    ]

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._targets = targets(screen)

    def compose(self) -> ComposeResult:
        """One letter a target."""
        for letter, target in self._targets.items():
            sign = JumpLetter(letter, target)
            sign.styles.offset = target.region.offset
            yield sign
        yield Static("Press a letter or click on it; Esc leaves the focus where it is", id="jump-hint", markup=False)

    def on_key(self, event: events.Key) -> None:
        """A letter moves the focus."""
        target = self._targets.get(event.character or "")
        if target:
            event.stop()
            self.dismiss(target)

    def on_click(self, event: events.Click) -> None:
        """Beside the letters: close."""
        if event.widget is self:
            self.dismiss(None)

    def on_resize(self, event: events.Resize) -> None:
        """The screen below moves, and the letters would stand at the wrong places."""
        if self.is_mounted and event.size != self._at_first:
            self.dismiss(None)

    def on_mount(self) -> None:
        """Remember for what size the letters are placed."""
        self._at_first = self.app.size

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


def targets(screen: Screen[Any]) -> Mapping[str, Widget]:
    """What can have the focus and is in view, by letter, in the order of the Tab key."""
    inside = [widget for widget in screen.focus_chain if screen.find_widget(widget).visible_region]
    return dict(zip(LETTERS, inside, strict=False))
