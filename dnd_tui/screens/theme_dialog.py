"""Every theme by name; the one under the cursor is tried on at once. A list, and a dialog over whatever is open."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.theme import Theme
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from dnd_tui.services import app_of
from dnd_tui.themes import OURS
from dnd_tui.widgets.dialog import Dialog


class ThemeList(OptionList):
    """The app is drawn in the chosen theme while the list has the focus, in the kept one after that."""

    DEFAULT_CSS = """
    ThemeList { height: 1fr; text-wrap: nowrap; }
    """

    def on_mount(self) -> None:
        """The kept theme is under the cursor."""
        self.fill()
        self.highlighted = self.get_option_index(app_of(self).chosen_theme)

    def fill(self) -> None:
        """Draw the lines anew; the kept theme is marked."""
        at = self.highlighted
        ours = [theme.name for theme in OURS]
        themes = sorted(
            self.app.available_themes.values(), key=lambda theme: (theme.name not in ours, not theme.dark, theme.name)
        )
        self.set_options(
            Option(_line(theme, theme.name == app_of(self).chosen_theme), id=theme.name) for theme in themes
        )
        self.highlighted = at

    def restore(self) -> None:
        """Draw the app in the kept theme again."""
        self.app.theme = app_of(self).chosen_theme

    def on_blur(self) -> None:
        """What was only tried on goes."""
        self.restore()

    @on(OptionList.OptionHighlighted)
    def _try_on(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self.has_focus and event.option_id:
            self.app.theme = event.option_id

    @on(OptionList.OptionSelected)
    def _keep(self, event: OptionList.OptionSelected) -> None:
        app_of(self).change_settings(theme=event.option_id)
        self.fill()


def _line(theme: Theme, kept: bool) -> Content:
    """Mark, name, whether it is dark, a piece of its colours."""
    colours = (theme.primary, theme.secondary, theme.accent, theme.success, theme.warning, theme.error)
    pieces = [("██", colour) for colour in colours if colour and not colour.startswith("ansi")]
    sign = "✓" if kept else " "
    return Content.assemble(f"{sign} {theme.name:<22}{'dark' if theme.dark else 'light':<7}", *pieces)


class ThemeDialog(Dialog[None]):
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
