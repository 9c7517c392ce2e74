"""Drops: inputs through which a dropped path passes, and the app's part; what terminals' keys need to be put right.

    terminal --Paste--> DropInput, DropTextArea: a text goes in, a drop becomes `Dropped`
                        any other focus: the paste bubbles up to `DropApp`, which posts `Dropped` or `DropMissing`

`Dropped` starts at the widget that has the focus and bubbles: a field, a dialog or a screen may take it before the
app does.

Whether a text is a drop is asked of the disk. An input waits for the answer inside its paste handler: the rest of the
app goes on, and keys typed meanwhile wait in the queue of the input, so that the order holds.

Notable:
- Some terminals do not paste a drop, they type it: VS Code's, older ones of GNOME. A path typed faster than anyone can
  type counts as a paste; else its letters would be taken as keys of the app.
- Some paste once for each file (Alacritty): several `Dropped` follow one another.
- VS Code 1.110 sends the space bar as `CSI 32 u`, others do so with Shift or Caps Lock. Textual reads it as the key
  "space" without a character, which no input inserts. So the app gives it one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textual import events
from textual.app import App, ReturnType
from textual.keys import REPLACED_KEYS, key_to_character
from textual.message import Message
from textual.message_pump import MessagePump
from textual.timer import Timer
from textual.widgets import Input, TextArea

from dnd_tui.drops import explain_missing, find_drop, looks_like_paths, showable
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

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Whether the key is typed; the bar of keys does not show it then."""
        return super().check_consume_key(key, character or _typed_by(key))


class DropTextArea(TextArea):
    """A `TextArea` for text, through which a drop passes as `Dropped`."""

    async def on_paste(self, event: events.Paste) -> None:
        """Keep a drop out of the text. If it is read-only, the paste is the app's."""
        if not self.read_only:
            await _take_drop(self, event)

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        """Whether the key is typed; the bar of keys does not show it then."""
        return super().check_consume_key(key, character or _typed_by(key))


def _typed_by(key: str) -> str | None:
    """The character of a key, also of those for which Textual has names that it does not look up: "slash", "at"."""
    return key_to_character(REPLACED_KEYS.get(key, key))


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


# Seconds between two keys of a typed drop, at most. Nobody types four keys that fast, and nobody sees such a delay.
BETWEEN_KEYS = 0.04


class DropApp(App[ReturnType]):
    """An app on which files can be dropped, whatever has the focus."""

    _typed: tuple[events.Key, ...] = ()
    _typing_ends: Timer | None = None

    async def on_event(self, event: events.Event) -> None:
        """Look at keys before anything else does."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            if event.key in ("space", "shift+space") and event.character is None:
                event.character = " "
            if self._may_be_drop(event):
                self._hold(event)
                return
            await self._end_typing()
        await super().on_event(event)

    def on_paste(self, event: events.Paste) -> None:
        """A paste that no input took."""
        self._look_for_drop(event.text)

    def _may_be_drop(self, key: events.Key) -> bool:
        """Whether a key begins or goes on with a path that may be typed by the terminal."""
        if key.character is None or not showable(key.character):
            return False
        return bool(self._typed) or (key.character in "/~'\"" and not isinstance(self.focused, Input | TextArea))

    def _hold(self, key: events.Key) -> None:
        self._typed += (key,)
        self._stop_waiting()
        self._typing_ends = self.set_timer(BETWEEN_KEYS, self._end_typing)

    async def _end_typing(self) -> None:
        """What was typed is a drop, or goes on its way as keys."""
        self._stop_waiting()
        keys, self._typed = self._typed, ()
        text = "".join(key.character or "" for key in keys)
        if len(keys) > 3 and looks_like_paths(text):
            self._look_for_drop(text)
        else:
            for key in keys:
                await super().on_event(key)

    def _stop_waiting(self) -> None:
        if self._typing_ends:
            self._typing_ends.stop()
            self._typing_ends = None

    def _look_for_drop(self, text: str) -> None:
        if looks_like_paths(text):
            self.run_worker(self._post_drop(text, self.focused or self.screen), group="drops")

    async def _post_drop(self, text: str, receiver: MessagePump) -> None:
        try:
            drop = await ask_disk(partial(find_drop, text))
            error = None if drop else await ask_disk(partial(explain_missing, text))
        except TimeoutError:
            drop = None
            error = EngineError("the disk with this file does not answer", hint="Is it a network folder that is gone?")
        message = Dropped(drop.paths) if drop else DropMissing(error) if error else None
        if message and not receiver.post_message(message):
            self.screen.post_message(message)  # the receiver went away meanwhile
