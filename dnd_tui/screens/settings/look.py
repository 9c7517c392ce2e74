"""Settings of how the app looks."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dnd_tui.screens.settings.field import SettingField
from dnd_tui.widgets.theme_list import ThemeList


class LookPane(Vertical):
    """Animations, and the list of themes."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#themes"

    DEFAULT_CSS = """
    LookPane {
        ThemeList { max-width: 60; }
    }
    """

    def compose(self) -> ComposeResult:
        """The list takes the room that is left."""
        yield SettingField("animations")
        yield Static("Theme: the arrows try one on, Enter keeps it", classes="muted")
        yield ThemeList(id="themes", compact=True)

    def show(self) -> None:
        """What the settings say now."""
        self.query_one(SettingField).show()
        self.query_one(ThemeList).fill()
