"""The Settings screen: everything that config.toml can hold, changed at once and with its mistakes marked."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterable, Mapping
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Static, TabbedContent, TabPane

from dnd_tui.config import log_folder, save_settings
from dnd_tui.desktop import edit_command
from dnd_tui.screens.base import TabbedScreen
from dnd_tui.screens.settings.field import EnginePane, LookPane, SettingField
from dnd_tui.screens.settings.keys import KeysPane
from dnd_tui.screens.settings.models import ModelsPane
from dnd_tui.screens.theme_dialog import ThemeList
from dnd_tui.services import app_of
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import Facts
from engine.errors import EngineError


class FilePane(VerticalScroll, can_focus=False):
    """Where things are kept, problems, the editor."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#edit"

    DEFAULT_CSS = """
    FilePane {
        #problems { margin: 1 0; }
        #problems.-wrong { color: $text-warning; }
        Horizontal.buttons { height: auto; margin-bottom: 1; }
        Horizontal.buttons Button { margin-right: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "Edit", id="settings.edit", tooltip="Open the settings file in your editor"),
        Binding("r", "reload", "Reload", id="settings.reload", tooltip="Read the settings file again"),
    ]

    class Reloaded(Message):
        """The file was read again: any setting may be another one."""

    def compose(self) -> ComposeResult:
        """Facts, problems, buttons."""
        yield Facts(id="places")
        yield Static(id="problems", markup=False)
        with Horizontal(classes="buttons"):
            yield KeyButton("Edit", "settings.edit", id="edit", variant="primary")
            yield KeyButton("Reload", "settings.reload", id="reload")
        yield SettingField("editor")

    def on_mount(self) -> None:
        """What is known now."""
        self.show()

    def show(self) -> None:
        """Places and problems."""
        app = app_of(self)
        self.query_one("#places", Facts).set(
            [
                ("settings", str(app.settings_file)),
                ("adapters", str(app.library.folder)),
                ("logs", str(log_folder())),
            ]
        )
        problems = self.query_one("#problems", Static)
        problems.set_class(bool(app.problems), "-wrong")
        lines = [f"! {problem}" for problem in app.problems]
        problems.update("\n".join(lines) if lines else "✓ No mistakes in the settings file")
        self.query_one(SettingField).show()

    @on(Button.Pressed, "#reload")
    def action_reload(self) -> None:
        """Read the file again."""
        app_of(self).apply_settings()
        self.post_message(self.Reloaded())
        problems = len(app_of(self).problems)
        self.notify(f"Read again; mistakes: {problems}" if problems else "Read again; no mistakes", timeout=3)

    @on(Button.Pressed, "#edit")
    @work(exclusive=True, group="edit")
    async def action_edit(self) -> None:
        """Leave the screen to the editor, then read the file again."""
        file = app_of(self).settings_file
        try:
            command = edit_command(app_of(self).settings.editor, file)
            if not await asyncio.to_thread(file.exists):
                await asyncio.to_thread(save_settings, file, {})
            with self.app.suspend():
                subprocess.run(command)
        except SuspendNotSupported:
            hint = "Open the file yourself, then reload it"
            app_of(self).show_error(EngineError("no editor can be opened from here", where=str(file), hint=hint))
            return
        except EngineError as error:
            app_of(self).show_error(error)
            return
        self.app.refresh()
        self.action_reload()


_PANES: Mapping[str, type[ModelsPane | EnginePane | LookPane | KeysPane | FilePane]] = {
    "models": ModelsPane,
    "engine": EnginePane,
    "look": LookPane,
    "keys": KeysPane,
    "file": FilePane,
}


class SettingsScreen(TabbedScreen):
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
        &.-tall TabPane { padding: 1 2; }
    }
    """
    CSS = """
    SettingsScreen SettingField Button { height: 1; border: none; }
    """

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

    @on(FilePane.Reloaded)
    def _reloaded(self) -> None:
        self._show()

    def focus_inside(self) -> None:
        """What the group of settings has first."""
        pane = self.query_one(_PANES[self.tabs.active])
        pane.query_one(pane.FIRST).focus()

    def _show(self) -> None:
        for pane in _PANES.values():
            for each in self.query(pane):
                each.show()
