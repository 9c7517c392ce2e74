"""A field for one path: typed with completion, chosen in a dialog, or dropped."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Literal, Self

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Button, Input

from dnd_tui.drops import find_drop
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_completion import PathCompletion
from dnd_tui.widgets.path_inputs import DropInput, Dropped

Kind = Literal["file", "folder", "either"]


class PathField(Horizontal):
    """An input with path completion and a button that opens a dialog.

    The field does not judge: a path that is not there, or is of the other kind, is submitted too.

    Args:
        value: the text at the start.
        kind: what the dialog and the completion offer.
        placeholder: shown while the field is empty.
        takes_drops: one path that is dropped while the field has the focus goes into it; else the app gets it.
        compact: one line, without borders.
    """

    DEFAULT_CSS = """
    PathField {
        height: auto;
        & > DropInput { width: 1fr; }
        & > Button { width: auto; margin-left: 1; }
    }
    """

    class Changed(Message):
        """The text changed.

        Args:
            field: the field.
            value: its text.
        """

        def __init__(self, field: PathField, value: str) -> None:
            super().__init__()
            self.field = field
            self.value = value

        @property
        def control(self) -> PathField:
            """The field, for selectors."""
            return self.field

    class Submitted(Message):
        """A path was decided on: by Enter, in the dialog, or by a drop.

        Args:
            field: the field.
            path: with `~` and quotes resolved; it may be relative, and it need not exist.
        """

        def __init__(self, field: PathField, path: Path) -> None:
            super().__init__()
            self.field = field
            self.path = path

        @property
        def control(self) -> PathField:
            """The field, for selectors."""
            return self.field

    def __init__(
        self,
        value: str = "",
        *,
        kind: Kind = "either",
        placeholder: str = "",
        takes_drops: bool = False,
        compact: bool = False,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._kind = kind
        self._takes_drops = takes_drops
        self._input = DropInput(value, placeholder=placeholder, select_on_focus=False, compact=compact)
        self._button = Button("Browse", tooltip="Choose the path from a list", compact=compact)
        self._completion = PathCompletion(self._input, folders_only=kind == "folder")

    @property
    def value(self) -> str:
        """The text."""
        return self._input.value

    @value.setter
    def value(self, value: str) -> None:
        self._input.value = value
        self._input.cursor_position = len(value)
        self._completion.settle()

    @property
    def path(self) -> Path | None:
        """The path that the text names, with `~` resolved; None while the field is empty."""
        text = self.value.strip()
        return Path(os.path.expanduser(text)) if text else None

    def compose(self) -> ComposeResult:
        """The input, its completion, the button."""
        yield self._input
        yield self._button
        yield self._completion

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the input."""
        self._input.focus(scroll_visible)
        return self

    @on(Input.Changed)
    def _post_change(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Changed(self, event.value))

    @on(Input.Submitted)
    async def _submit(self, event: Input.Submitted) -> None:
        """A path may have been typed as a terminal spells it, in quotes for example: VS Code types a drop."""
        event.stop()
        if self.path is None:
            return
        try:
            drop = await ask_disk(partial(find_drop, self.value))
        except TimeoutError:
            drop = None
        if drop and len(drop.paths) == 1:
            self._decide(drop.paths[0])
        elif self.path:
            self.post_message(self.Submitted(self, self.path))

    @on(Dropped)
    def _take_drop(self, event: Dropped) -> None:
        if self._takes_drops and len(event.paths) == 1:
            event.stop()
            self._decide(event.paths[0])

    def _decide(self, path: Path) -> None:
        self.value = str(path)
        self.post_message(self.Submitted(self, path))

    @on(Button.Pressed)
    def _press(self, event: Button.Pressed) -> None:
        event.stop()
        self.browse()

    @work(exclusive=True, group="browse")
    async def browse(self) -> None:
        """Open the dialog at the folder of the text."""
        from dnd_tui.widgets import pickers  # only here: it takes a frame to import

        picker = {"file": pickers.FilePicker, "folder": pickers.FolderPicker, "either": pickers.PathPicker}[self._kind]
        titles = {"file": "Choose a file", "folder": "Choose a folder", "either": "Choose a file or folder"}
        try:
            start = await ask_disk(partial(_nearest_folder, self.path))
        except TimeoutError:
            start = os.path.expanduser("~")
        path = await self.app.push_screen_wait(picker(start, titles[self._kind]))
        if path is not None:
            self._decide(path)


def _nearest_folder(path: Path | None) -> str:
    """The folder of `path` that is there and can be listed, else the working folder, else home. Asks the disk."""
    here = os.path.abspath(path) if path else os.getcwd()
    while not (os.path.isdir(here) and os.access(here, os.R_OK | os.X_OK)):
        here, below = os.path.dirname(here), here
        if here == below:
            break
    return here
