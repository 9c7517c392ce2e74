"""The end of a log file, read again when the file has grown."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from textual import work

from dnd_tui.bug_report import tail
from dnd_tui.text import printable
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_inputs import DropTextArea

_BYTES = 200_000


class LogTail(DropTextArea):
    """Text that can be scrolled, selected and filtered, not changed."""

    DEFAULT_CSS = """
    LogTail { height: 1fr; border: none; padding: 0; }
    LogTail:focus { border: none; }
    """

    def __init__(self, file: Path, *, id: str | None = None) -> None:
        super().__init__("", read_only=True, id=id, show_line_numbers=False, placeholder="Nothing was logged yet")
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._text = ""
        self._words: list[str] = []

    def filter(self, text: str) -> None:
        """Show the lines that hold every word of `text`."""
        self._words = text.casefold().split()
        self._show()

    @work(exclusive=True, group="tail")
    async def look(self) -> None:
        """Read the file if it is another than before."""
        try:
            stamp = await ask_disk(partial(_stamp, self._file))
            if stamp == self._stamp:
                return
            self._text = printable(await ask_disk(partial(tail, self._file, _BYTES)))
        except TimeoutError:
            return
        self._stamp = stamp
        self._show()

    def _show(self) -> None:
        lines = self._text.splitlines()
        shown = "\n".join(line for line in lines if all(word in line.casefold() for word in self._words))
        if shown == self.text:
            return
        at_end = self.scroll_offset.y >= self.max_scroll_y
        before = self.scroll_offset.y
        self.load_text(shown)
        if at_end:
            self.move_cursor(self.document.end)
            self.scroll_end(animate=False)
        else:
            self.scroll_to(y=before, animate=False)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
