"""The app's part in a drop, and what terminals' keys need to be put right.

Notable:
- Some terminals do not paste a drop, they type it: VS Code's, older ones of GNOME. A path typed faster than anyone can
  type counts as a paste; else its letters would be taken as keys of the app.
- Some paste once for each file (Alacritty): several `Dropped` follow one another.
- VS Code 1.110 sends the space bar as `CSI 32 u`, others do so with Shift or Caps Lock. Textual reads it as the key
  "space" without a character, which no input inserts. So the app gives it one.
"""

from __future__ import annotations

from functools import partial

from textual import events
from textual.app import App, ReturnType
from textual.message_pump import MessagePump
from textual.timer import Timer
from textual.widgets import Input, TextArea

from dnd_tui.drops import explain_missing, find_drop, looks_like_paths, showable
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_inputs import DropMissing, Dropped
from engine.errors import EngineError

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
