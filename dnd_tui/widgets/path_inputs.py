"""Inputs through which a dropped path passes.

    terminal --Paste--> DropInput, DropTextArea: a text goes in, a drop becomes `Dropped`
                        any other focus: the paste bubbles up to `DropApp`, which posts `Dropped` or `DropMissing`

`Dropped` starts at the widget that has the focus and bubbles: a field, a dialog or a screen may take it before the
app does.

Whether a text is a drop is asked of the disk. An input waits for the answer inside its paste handler: the rest of the
app goes on, and keys typed meanwhile wait in the queue of the input, so that the order holds.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textual import events
from textual.message import Message
from textual.widgets import Input, TextArea

from dnd_tui.drops import find_drop, looks_like_paths
from dnd_tui.widgets.disk import ask_disk
from engine.errors import EngineError


class Dropped(Message):
    """Files or folders were dropped on the app.

    Args:
        paths: absolute and there, in the order in which they were dropped.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        super().__init__()
        self.paths = paths


class DropMissing(Message):
    """What was dropped is not there; sent only if no input took it as text.

    Args:
        error: which path, and why.
    """

    def __init__(self, error: EngineError) -> None:
        super().__init__()
        self.error = error


class DropInput(Input):
    """An `Input` for text, through which a drop passes as `Dropped`."""

    async def on_paste(self, event: events.Paste) -> None:
        """Keep a drop out of the text."""
        await _take_drop(self, event)


class DropTextArea(TextArea):
    """A `TextArea` for text, through which a drop passes as `Dropped`."""

    async def on_paste(self, event: events.Paste) -> None:
        """Keep a drop out of the text. If it is read-only, the paste is the app's."""
        if not self.read_only:
            await _take_drop(self, event)


async def _take_drop(widget: Input | TextArea, event: events.Paste) -> None:
    """Turn a paste into `Dropped`, or let the widget insert it."""
    event.stop()
    if not looks_like_paths(event.text):
        return
    try:
        drop = await ask_disk(partial(find_drop, event.text))
    except TimeoutError:
        return
    if drop:
        event.prevent_default()
        widget.post_message(Dropped(drop.paths))
