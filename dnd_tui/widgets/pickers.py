"""Dialogs in which a file or a folder is chosen from lists: textual-fspicker's, in which files can be dropped too."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Button
from textual_fspicker import FileOpen, SelectDirectory
from textual_fspicker.base_dialog import FileSystemPickerScreen
from textual_fspicker.icons import Icons
from textual_fspicker.parts import DirectoryNavigation
from textual_fspicker.parts.directory_navigation import DirectoryEntry
from textual_fspicker.safe_tests import is_dir, is_symlink

from dnd_tui.text import printable
from dnd_tui.widgets.dialog import ClosesOnce
from dnd_tui.widgets.path_inputs import DropInput, Dropped


def _icon(location: str | Path) -> Text:
    return Text("▸" if is_dir(Path(location)) else " ")


def _name(location: Path) -> Text:
    return Text(f"{printable(location.name)}{' (link)' if is_symlink(location) else ''}")


# Signs instead of emoji, on whose width terminals do not agree; and a name may hold what a terminal would obey.
Icons.set_picker(_icon)
DirectoryEntry._name = staticmethod(_name)  # type: ignore[method-assign,assignment]


class _Picker(ClosesOnce[Path | None], FileSystemPickerScreen):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("full_stop", "hidden", "Hidden files", id="picker.hidden", tooltip="Show or hide hidden files"),
        Binding("escape", "dismiss(None)", "Cancel", id="picker.cancel", tooltip="Choose nothing"),
    ]

    @on(Dropped)
    def _take(self, event: Dropped) -> None:
        event.stop()
        self.dismiss(event.paths[0])


class FilePicker(_Picker, FileOpen):
    """A file is chosen."""

    DEFAULT_CSS = "FilePicker InputBar { DropInput { width: 1fr; } Button { min-width: 10; } }"

    def _input_bar(self) -> ComposeResult:
        yield DropInput(suggester=self._suggest_path)


class FolderPicker(_Picker, SelectDirectory):
    """A folder is chosen."""


class PathPicker(FilePicker):
    """A file is chosen, or the folder that is open."""

    def _input_bar(self) -> ComposeResult:
        yield from super()._input_bar()
        yield Button("This folder", id="folder", tooltip="Choose the folder that is open here")

    @on(Button.Pressed, "#folder")
    def _choose_folder(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(self.query_one(DirectoryNavigation).location)
