"""The rows of a prompt source: those an adapter is made from, or all rows, which come page by page as one scrolls.

       no.  prompt, each begins: Translate to French:       label
    ●    3  … Where is the station?                         Où est la gare ?
         4  … I am hungry.                                  J'ai faim.
    ────────────────────────────────────────────────────────────────────────
    Row 3, used
    The whole prompt of the chosen row

Prompts of a task often begin with the same instruction; a table that shows it in every row shows nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.text import one_line, printable
from dnd_tui.widgets.lines import Cell, TableLine
from engine.text import shared_start

SAMPLED = "●"
# So many rows before the end of those that are here, more are asked for.
_AHEAD = 20
# A line of a terminal holds less.
_LINE = 600
# A shorter common beginning is no instruction.
_LEAST_COMMON = 24


@dataclass(frozen=True)
class Row:
    """A row as the engine gives it: what `characters` counts beyond the length of `prompt` was left out."""

    number: int
    prompt: str
    characters: int
    label: str = ""
    images: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Row:
        """From the data of a preview."""
        label = " | ".join(data.get("references", ()))
        return cls(data["number"], data["prompt"], data["characters"], label, ", ".join(data.get("images", ())))


class RowOption(Option):
    """A line of the table that knows its row."""

    def __init__(self, row: Row, line: TableLine) -> None:
        super().__init__(line)
        self.row = row


class RowList(OptionList):
    """Posts a message when its end comes near, in whatever way one scrolls."""

    class NearEnd(Message):
        """Few rows are left below those in view."""

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Look ahead."""
        super().watch_scroll_y(old_value, new_value)
        self.look_ahead()

    def on_resize(self, event: events.Resize) -> None:
        """A taller list needs more rows."""
        self.look_ahead()

    def look_ahead(self) -> None:
        """Post it, if the end is near."""
        if self.scroll_offset.y + self.size.height + _AHEAD > self.option_count:
            self.post_message(self.NearEnd())


class RowsPane(Vertical):
    """A table of rows, a switch between the batch and all rows, and the chosen row in full."""

    DEFAULT_CSS = """
    RowsPane {
        height: 1fr;
        .switch { height: 1; }
        .switch Button { width: auto; margin-right: 1; background: transparent; }
        .switch Button.-on { color: $primary; }
        .legend { width: 1fr; height: 1; text-align: right; color: $text-muted; text-wrap: nowrap; }
        .head { height: 1; padding-right: 2; color: $text-muted; text-style: bold; text-wrap: nowrap; }
        RowList { height: 1fr; text-wrap: nowrap; background: transparent; scrollbar-gutter: stable; }
        .whole { height: auto; max-height: 35%; border-top: solid $panel-lighten-2; }
        .whole Static { height: auto; }
        .whole.-empty { display: none; }
    }
    """
    all_rows: reactive[bool] = reactive(False, init=False)

    class MoreWanted(Message):
        """The rows after the first `count` are needed."""

        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._batch: list[Row] = []
        self._numbers: frozenset[int] = frozenset()
        self._rows: list[Row] = []
        self._total: int | None = None
        self._complete = True
        self._labelled = False
        self._common = ""
        self._asked = False
        self._list = RowList(compact=True, id="rows")
        self._head = Static(classes="head")
        self._whole = Static(markup=False)

    def compose(self) -> ComposeResult:
        """Switch, table, the chosen row."""
        with Horizontal(classes="switch"):
            yield Button("Rows used", id="show-batch", tooltip="The rows the adapter is made from (key a)")
            yield Button("All rows", id="show-all", tooltip="Every row of the source (key a)")
            yield Static(f"{SAMPLED} used", classes="legend", markup=False)
        yield self._head
        yield self._list
        with VerticalScroll(classes="whole", can_focus=False):
            yield self._whole

    def on_mount(self) -> None:
        """Empty."""
        self._fill()

    def begin(self, rows: Sequence[Row], *, complete: bool) -> None:
        """Another source, or another column: its first rows; `complete`: there are no others."""
        self._rows, self._complete, self._asked = list(rows), complete, False
        self._batch, self._numbers = [], frozenset()
        self._total = len(rows) if complete else None
        self._labelled = any(row.label for row in rows)
        self._common = common_beginning([row.prompt for row in rows if row.prompt])
        self._fill()

    def add(self, rows: Sequence[Row], *, complete: bool) -> None:
        """The rows after those that are here."""
        self._complete, self._asked = complete, False
        self._rows += rows
        if self.all_rows:
            self._list.add_options(map(self._option, rows))
            self._list.look_ahead()

    def show_batch(self, batch: Sequence[Row], total: int) -> None:
        """The rows used, of `total` in all; another choice of the same source."""
        self._total = total
        self._batch, self._numbers = list(batch), frozenset(row.number for row in batch)
        place, offset = self._list.highlighted, self._list.scroll_y
        self._fill()
        if self.all_rows:
            self._list.highlighted = place
            self._list.scroll_to(y=offset, animate=False)

    def watch_all_rows(self) -> None:
        """Show the other rows."""
        self._fill()

    @property
    def shown(self) -> list[Row]:
        """The rows in the table. Until there is a batch, the first rows stand in for it."""
        return self._rows if self.all_rows or not self._batch else self._batch

    @on(Button.Pressed)
    def _pressed(self, message: Button.Pressed) -> None:
        message.stop()
        self.all_rows = message.button.id == "show-all"

    @on(RowList.NearEnd)
    def _near_end(self, message: RowList.NearEnd) -> None:
        message.stop()
        if self.all_rows and not self._complete and not self._asked:
            self._asked = True
            self.post_message(self.MoreWanted(len(self._rows)))

    @on(OptionList.OptionHighlighted)
    def _chosen(self, message: OptionList.OptionHighlighted) -> None:
        message.stop()
        if isinstance(message.option, RowOption):
            self._show_whole(message.option.row)

    def _fill(self) -> None:
        rows = self.shown
        self._show_counts()
        common = f", each begins: {one_line(self._common)}" if self._common else ""
        self._head.update(self._line(" ", "no.", f"prompt{common}", "label"))
        self._list.set_options(map(self._option, rows))
        self._list.highlighted = 0 if rows else None
        self.query_one(".whole").set_class(not rows, "-empty")
        self._list.look_ahead()

    def _show_counts(self) -> None:
        batch = self.query_one("#show-batch", Button)
        every = self.query_one("#show-all", Button)
        count = f" {len(self._batch):,}" if self._batch else ""
        total = f"{len(self._rows):,}+" if self._total is None else f"{self._total:,}"
        for button, words, here in (
            (batch, f"Rows used{count}", not self.all_rows),
            (every, f"All rows {total}", self.all_rows),
        ):
            button.label = Content(f"{'▸' if here else ' '}{words}")
            button.set_class(here, "-on")
            button.refresh(layout=True)

    def _option(self, row: Row) -> RowOption:
        sampled = row.number in self._numbers
        if not row.prompt:
            return RowOption(row, self._line(" ", str(row.number), "no prompt: left out", "", "dim italic"))
        style = "bold" if sampled and self.all_rows else ""
        same = self._common and row.prompt.startswith(self._common)
        rest = row.prompt[len(self._common) :] if same else row.prompt
        prompt = ("… " if same else "") + one_line(rest[:_LINE])
        label = one_line(row.label[:_LINE])
        return RowOption(row, self._line(SAMPLED if sampled else " ", str(row.number), prompt, label, style))

    def _line(self, sign: str, number: str, prompt: str, label: str, style: str = "") -> TableLine:
        digits = max(3, len(str(self._total or len(self._rows))))
        cells = [
            Cell(sign, 1, "$primary"),
            Cell(number, digits, "dim", right=True),
            Cell(prompt, style=style),
        ]
        if self.all_rows and self._labelled:
            cells.append(Cell(label, 16, "$text-success", least=50))
        return TableLine(*cells)

    def _show_whole(self, row: Row) -> None:
        sampled = ", used" if row.number in self._numbers else ""
        label = f", label: {one_line(row.label[:_LINE])}" if row.label and self.all_rows else ""
        images = f", image: {one_line(row.images[:_LINE])}" if row.images else ""
        cut = (
            f"\n… the first {len(row.prompt):,} of {row.characters:,} characters"
            if row.characters > len(row.prompt)
            else ""
        )
        head = Content.styled(f"Row {row.number}{sampled}{label}{images}\n", "dim")
        self._whole.update(Content.assemble(head, printable(row.prompt), cut))


def common_beginning(prompts: Sequence[str]) -> str:
    """The words with which all prompts begin; "" where that is little, or all of a prompt."""
    if len(set(prompts)) < 2:
        return ""
    common = shared_start(prompts)
    # Up to the last space: no word is cut.
    end = max((place + 1 for place, letter in enumerate(common) if letter.isspace()), default=0)
    return common[:end] if end >= _LEAST_COMMON and all(prompt[end:].strip() for prompt in prompts) else ""
