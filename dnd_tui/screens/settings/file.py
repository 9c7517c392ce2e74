"""The settings file itself: where it is, what is wrong in it, editing it by hand."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Static

from dnd_tui.config import save_settings
from dnd_tui.editor import edit_command
from dnd_tui.folders import log_folder
from dnd_tui.screens.settings.field import SettingField
from dnd_tui.widgets.facts import Facts
from engine.errors import EngineError

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


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
            yield Button("Edit [b]e[/b]", id="edit", variant="primary", tooltip="Open it in your editor (key e)")
            yield Button("Reload [b]r[/b]", id="reload", tooltip="Read it again (key r)")
        yield SettingField("editor")

    def on_mount(self) -> None:
        """What is known now."""
        self.show()

    def show(self) -> None:
        """Places and problems."""
        app = self._dnd
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
        self._dnd.apply_settings()
        self.post_message(self.Reloaded())
        problems = len(self._dnd.problems)
        self.notify(f"Read again; mistakes: {problems}" if problems else "Read again; no mistakes", timeout=3)

    @on(Button.Pressed, "#edit")
    @work(exclusive=True, group="edit")
    async def action_edit(self) -> None:
        """Leave the screen to the editor, then read the file again."""
        file = self._dnd.settings_file
        try:
            command = edit_command(self._dnd.settings.editor, file)
            if not await asyncio.to_thread(file.exists):
                await asyncio.to_thread(save_settings, file, {})
            with self.app.suspend():
                subprocess.run(command)
        except SuspendNotSupported:
            hint = "Open the file yourself, then reload it"
            self._dnd.tell(EngineError("no editor can be opened from here", where=str(file), hint=hint))
            return
        except EngineError as error:
            self._dnd.tell(error)
            return
        self.app.refresh()
        self.action_reload()

    @property
    def _dnd(self) -> DndApp:
        return cast("DndApp", self.app)
