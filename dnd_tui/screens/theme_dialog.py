"""Choosing a theme over whatever is open, which shows how it looks."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList

from dnd_tui.widgets.theme_list import ThemeList


class ThemeDialog(ModalScreen[None]):
    """The list of themes at the right edge; escape leaves the theme as it was."""

    DEFAULT_CSS = """
    ThemeDialog {
        align: right middle; background: transparent;
        Vertical {
            width: 52; max-width: 100%; height: 100%; border: round $primary; background: $surface; padding: 0 1;
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="themes.close", tooltip="Leave the theme as it was"),
    ]

    def compose(self) -> ComposeResult:
        """One list."""
        with Vertical() as frame:
            frame.border_title = "Theme"
            frame.border_subtitle = "Enter keeps it, Esc leaves it"
            yield ThemeList(compact=True)

    @on(OptionList.OptionSelected)
    def _kept(self) -> None:
        self.dismiss()

    def action_close(self) -> None:
        """Back, in the theme of before."""
        self.query_one(ThemeList).restore()
        self.dismiss()
