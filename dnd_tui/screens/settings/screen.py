"""The Settings screen: everything that config.toml can say, changed at once and with its mistakes marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import TabbedContent, TabPane

from dnd_tui.screens.base import AppScreen
from dnd_tui.screens.settings.engine import EnginePane
from dnd_tui.screens.settings.file import FilePane
from dnd_tui.screens.settings.keys import KeysPane
from dnd_tui.screens.settings.look import LookPane
from dnd_tui.screens.settings.models import ModelsPane
from dnd_tui.widgets.theme_list import ThemeList

_PANES: Mapping[str, type[ModelsPane | EnginePane | LookPane | KeysPane | FilePane]] = {
    "models": ModelsPane,
    "engine": EnginePane,
    "look": LookPane,
    "keys": KeysPane,
    "file": FilePane,
}


class SettingsScreen(AppScreen):
    """Five tabs."""

    MODE = "settings"
    AUTO_FOCUS = ModelsPane.FIRST
    HELP = """
# Settings

Every change is kept at once in the settings file, `config.toml`; comments in it stay. A value that cannot be used is
marked with ✗ and not kept. An empty field is the default.

- **Models**: the base model and the generator that new drops use. What is not here can be fetched ahead of need.
  A base is "default", a model folder, a `.gguf` file, or a name of the hub such as `owner/model`.
- **Engine**: where and with how many prompts adapters are generated.
- **Look**: themes. The one under the cursor is tried on; Enter keeps it.
- **Keys**: every key of the app. Enter, then the new key.
- **File**: the settings file itself, its mistakes, your editor.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+right,right_square_bracket", "next_tab(1)", "Next tab", id="settings.next_tab", show=False,
                tooltip="Show the next group of settings"),
        Binding("ctrl+left,left_square_bracket", "next_tab(-1)", "Tab before", id="settings.tab_before", show=False,
                tooltip="Show the group of settings before"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    SettingsScreen {
        TabbedContent { height: 1fr; }
        TabPane { padding: 0 1; height: 1fr; }
        &.-tall TabPane { padding: 1 2; }
        ContentSwitcher { height: 1fr; }
    }
    """
    CSS = """
    SettingsScreen SettingField Button { height: 1; border: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        # The tab into which the focus goes as soon as it is shown; none when a person walks along the tabs.
        self._entering: str | None = None

    def body(self) -> Iterable[Widget]:
        """The tabs."""
        with TabbedContent(id="tabs"):
            for name, pane in _PANES.items():
                with TabPane(name.capitalize(), id=name):
                    yield pane()

    def on_screen_resume(self) -> None:
        """Other screens, dialogs and command lines may have changed settings."""
        self._show()

    def on_screen_suspend(self) -> None:
        """A theme that is only tried on stays here."""
        for themes in self.query(ThemeList):
            themes.restore()

    def open_tab(self, name: str) -> None:
        """Show one group of settings. The screen may have been made just now: its tabs come first."""
        self.call_after_refresh(self._open_tab, name)

    def _open_tab(self, name: str) -> None:
        tabs = self.query_one("#tabs", TabbedContent)
        if tabs.active == name:
            self._focus_inside()
        else:
            # What is hidden with the focus gives it up later, and would take it from whatever has it then.
            self.set_focus(None)
            self._entering = name
            tabs.active = name

    @on(TabbedContent.TabActivated)
    def _activated(self, event: TabbedContent.TabActivated) -> None:
        if event.pane.id == self._entering:
            self._entering = None
            self._focus_inside()

    @on(FilePane.Reloaded)
    def _reloaded(self) -> None:
        self._show()

    def action_next_tab(self, by: int) -> None:
        """Show the tab beside the open one."""
        names = list(_PANES)
        self.open_tab(names[(names.index(self.query_one(TabbedContent).active) + by) % len(names)])

    def _focus_inside(self) -> None:
        pane = self.query_one(_PANES[self.query_one("#tabs", TabbedContent).active])
        pane.query_one(pane.FIRST).focus()

    def _show(self) -> None:
        for pane in _PANES.values():
            for each in self.query(pane):
                each.show()
