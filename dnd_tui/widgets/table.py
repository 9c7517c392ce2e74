"""A table that is never wider than its place.

    ▏  Name             Score, base → adapter         Made        From
    ▏✓ topics, trained  rouge_l 0.05 → 0.28, 40 rows  2 Nov 2024  topics.jsonl

Columns that do not fit are left out, the last one first; before that the first one with a heading is cut, to a length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.widgets import DataTable

# A name of that length is worth more than another column.
_LEAST_NAME = 24


class Table(DataTable[Text]):
    """Rows of text below headings.

    Every column gets its width together with its rows. Those that Textual measures are measured a moment later, and
    rows that were painted before that stay as they were: cut, or blank where the table was empty.
    """

    DEFAULT_CSS = "Table { overflow-x: hidden; }"

    def __init__(self, headings: Sequence[str], *, zebra_stripes: bool = False, id: str | None = None) -> None:
        super().__init__(cursor_type="row", zebra_stripes=zebra_stripes, id=id)
        self._headings = tuple(headings)
        self._cells: dict[str, tuple[str, ...]] = {}
        self._widths: tuple[int, ...] = ()

    @property
    def current(self) -> str | None:
        """The key of the row under the cursor."""
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value if self.row_count else None

    def fill(self, rows: Mapping[str, Sequence[str]]) -> None:
        """Show these rows, by key; the cursor stays on its own, if that is still there."""
        self._cells = {key: tuple(cells) for key, cells in rows.items()}
        self._show(self._fitting())

    def mark(self, text: str) -> None:
        """Put `text` into the first cell of the row under the cursor."""
        if (key := self.current) is not None:
            self._cells[key] = (text, *self._cells[key][1:])
            self.update_cell_at(self.cursor_coordinate._replace(column=0), _shown(text))

    def point_at(self, key: str) -> None:
        """Move the cursor to a row, if it is there."""
        if key in self._cells:
            self.move_cursor(row=self.get_row_index(key), animate=False)

    def on_resize(self, event: events.Resize) -> None:
        """Other columns may fit now."""
        if (widths := self._fitting()) != self._widths:
            self._show(widths)

    def _show(self, widths: tuple[int, ...]) -> None:
        here = self.current
        self.clear(columns=True)
        self._widths = widths
        for heading, width in zip(self._headings, widths, strict=False):
            self.add_column(_shown(heading), width=width)
        for key, cells in self._cells.items():
            self.add_row(*map(_shown, cells[: len(widths)]), key=key)
        if here is not None:
            self.point_at(here)

    def _fitting(self) -> tuple[int, ...]:
        lines = [self._headings, *self._cells.values()]
        wanted = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        bar = self.styles.scrollbar_size_vertical if len(lines) > self.size.height else 0
        # Before it has a place there is no limit.
        room = self.size.width - bar if self.size.width else None
        name = next(at for at, heading in enumerate(self._headings) if heading)
        return fitting(wanted, room, 2 * self.cell_padding, name)


def fitting(wanted: Sequence[int], room: int | None, around: int, name: int) -> tuple[int, ...]:
    """Widths of the columns that are shown.

    Args:
        wanted: the widths at which nothing is cut.
        room: terminal cells for all of them; None for no limit.
        around: cells beside each column.
        name: number of the column that is cut before others are left out, and never left out.
    """
    if room is None:
        return tuple(wanted)
    least = [min(width, _LEAST_NAME) if at == name else width for at, width in enumerate(wanted)]
    count = len(wanted)
    while count > name + 1 and sum(least[:count]) + around * count > room:
        count -= 1
    others = sum(wanted[:count]) - wanted[name]
    widths = list(wanted[:count])
    widths[name] = max(min(wanted[name], room - others - around * count), 1)
    return tuple(widths)


def _shown(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
