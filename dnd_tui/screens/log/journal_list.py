"""The journal, live: one line an entry; Enter opens the details of an entry, a filter keeps those that hold a text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from dnd_tui.journal import Entry
from dnd_tui.text import printable

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# Entries come faster than they are read away now and then; the list is drawn anew only when it is this much too long.
_TOO_MANY = 500


class JournalList(OptionList):
    """Entries, the newest at the end. As long as the cursor is on the last one, it follows."""

    DEFAULT_CSS = """
    JournalList { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy entry", id="journal.copy", tooltip="Copy the chosen entry with its details"),
    ]

    class Grew(Message):
        """The journal has one entry more."""

        def __init__(self, entry: Entry) -> None:
            super().__init__()
            self.entry = entry

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, compact=True)
        self._words: list[str] = []
        self._shown: list[Entry] = []
        self._open: set[int] = set()

    def on_mount(self) -> None:
        """All that happened so far, then every further entry, from whatever thread it comes."""
        self.filter("")
        self._dnd.journal.listen(self._heard)

    def filter(self, text: str) -> None:
        """Show the entries that hold every word of `text`."""
        self._words = text.casefold().split()
        self._open.clear()
        self._shown = [entry for entry in self._dnd.journal.entries if self._fits(entry)]
        self.set_options(Option(_drawn(entry, False)) for entry in self._shown)
        self._to_the_end()

    def _heard(self, entry: Entry) -> None:
        self.post_message(self.Grew(entry))

    @on(Grew)
    def _grown(self, message: Grew) -> None:
        message.stop()
        follows = self.highlighted in (None, self.option_count - 1)
        if not self._fits(message.entry) or any(entry is message.entry for entry in self._shown):
            return
        if len(self._shown) >= (self._dnd.journal.entries.maxlen or 0) + _TOO_MANY:
            self.filter(" ".join(self._words))
            return
        self._shown.append(message.entry)
        self.add_option(Option(_drawn(message.entry, False)))
        if follows:
            self._to_the_end()

    @on(OptionList.OptionSelected)
    def _toggle(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._open ^= {event.option_index}
        entry = self._shown[event.option_index]
        self.replace_option_prompt_at_index(event.option_index, _drawn(entry, event.option_index in self._open))

    def action_copy(self) -> None:
        """Copy the chosen entry."""
        if self.highlighted is not None:
            self._dnd.copy_text(self._shown[self.highlighted].line(), "the entry")

    def _fits(self, entry: Entry) -> bool:
        text = f"{entry.text}\n{entry.details}".casefold()
        return all(word in text for word in self._words)

    def _to_the_end(self) -> None:
        self.highlighted = self.option_count - 1 if self.option_count else None

    @property
    def _dnd(self) -> DndApp:
        return cast("DndApp", self.app)


def _drawn(entry: Entry, opened: bool) -> Content:
    """Time, signs, text: `!` is a warning, `+` has details."""
    clock = time.strftime("%H:%M:%S", time.localtime(entry.when))
    more = ("- " if opened else "+ ") if entry.details else "  "
    parts: list[str | tuple[str, str]] = [
        (f"{clock} ", "$foreground-muted"),
        ("! " if entry.warning else "  ", "bold $text-warning"),
        (more, "bold"),
        printable(entry.text),
    ]
    if opened:
        parts.append((f"\n{printable(entry.details).rstrip()}", "$foreground-muted"))
    return Content.assemble(*parts)
