"""Lines that fit any width: of label and value, and of a table.

A `DataTable` keeps the widths of its columns; here one cell takes what the others leave.

    base model    SmolLM2-135M-Instruct
    prompts       32 of 1,204, seed 0

Values wrap. The mouse selects text in them; with the keyboard, the arrows choose a line and `c` copies its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.css.styles import RulesMap
from textual.reactive import reactive
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widget import Widget
from textual.widgets import Static

from dnd_tui.services import app_of
from dnd_tui.text import printable


def fitted(text: str, width: int) -> str:
    """`text` in exactly `width` cells: filled up with spaces, or cut with an ellipsis."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def command_lines(command: str, width: int) -> list[str]:
    """A command in lines of at most `width` cells; of its words only those are broken that fit no line.

    These are paths nearly always, and are broken behind a slash where there is one.
    """
    lines = [""]
    for word in command.split(" "):
        if lines[-1] and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        while cell_len(word) > width:
            head = set_cell_size(word, max(width, 2)).rstrip()
            head = head[: head.rfind("/") + 1] or head
            lines[-1:] = [head, ""]
            word = word[len(head) :]
        lines[-1] = word
    return lines


_GAP = 2


@dataclass(frozen=True)
class Cell:
    """One cell.

    text: one line without control characters.
    width: in terminal cells; None takes what the others leave, an equal share where there are several.
    style: as in Textual's markup.
    right: aligned to the right.
    least: left out where the whole line has fewer terminal cells than this.
    """

    text: str
    width: int | None = None
    style: str = ""
    right: bool = False
    least: int = 0


class TableLine(Visual):
    """Cells side by side."""

    def __init__(self, *cells: Cell) -> None:
        self.cells = cells

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        """One line of `width` cells."""
        return self.content(width).render_strips(width, height, style, options)

    def content(self, width: int) -> Content:
        """The text of the line at a width."""
        shown = [cell for cell in self.cells if width >= cell.least]
        parts = [_fitted(cell, size) for cell, size in zip(shown, _widths(shown, width), strict=True)]
        return Content(" " * _GAP).join(parts)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        """All there is."""
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        """One line."""
        return 1


def _widths(cells: Sequence[Cell], width: int) -> list[int]:
    left = width - _GAP * (len(cells) - 1) - sum(cell.width or 0 for cell in cells)
    sharing = sum(cell.width is None for cell in cells)
    share, rest = divmod(max(left, 0), max(sharing, 1))
    widths = []
    for cell in cells:
        if cell.width is None:
            widths.append(share + rest)  # the first takes what does not divide
            rest = 0
        else:
            widths.append(cell.width)
    return widths


def _fitted(cell: Cell, width: int) -> Content:
    content = Content.styled(cell.text, cell.style)
    if cell.right:
        return content.truncate(width, ellipsis=True).pad_left(max(width - content.cell_length, 0))
    return content.truncate(width, ellipsis=True, pad=True)


_WIDEST_LABEL = 24


class Facts(Widget, can_focus=True):
    """Lines of label and value."""

    DEFAULT_CSS = """
    Facts {
        layout: grid; grid-size: 2; grid-rows: auto; width: 1fr; height: auto;
        .label { width: 1fr; height: auto; padding: 0 2 0 0; color: $text-muted; }
        .value { width: 1fr; height: auto; }
        &:focus .-chosen { background: $block-cursor-blurred-background; color: $foreground; text-style: bold; }
        &:focus .label.-chosen { text-style: bold underline; height: 100%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "Line above", id="facts.up", show=False, tooltip="Choose the line above"),
        Binding("down", "choose(1)", "Line below", id="facts.down", show=False, tooltip="Choose the line below"),
        Binding("c", "copy", "Copy value", id="facts.copy", tooltip="Copy the value of the chosen line"),
    ]

    chosen: reactive[int] = reactive(0)

    def __init__(self, lines: Sequence[tuple[str, str]] = (), *, id: str | None = None, classes: str | None = None):
        super().__init__(id=id, classes=classes)
        self._lines = _shown(lines)

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What is shown."""
        return self._lines

    def set(self, lines: Sequence[tuple[str, str]]) -> None:
        """Show these lines. Where only values changed, the chosen line and a selection elsewhere stay."""
        lines = _shown(lines)
        same_labels = [label for label, _ in lines] == [label for label, _ in self._lines]
        before, self._lines = self._lines, lines
        if not same_labels:
            self.chosen = 0
            self.refresh(recompose=True)
            return
        for widget, (_, old), (_, new) in zip(self.query(".value").results(Static), before, lines, strict=False):
            if old != new:
                widget.update(new)

    def compose(self) -> ComposeResult:
        """Two cells a line."""
        widest = max((cell_len(label) for label, _ in self._lines), default=0)
        self.styles.grid_columns = f"{min(widest, _WIDEST_LABEL) + 2} 1fr"
        for number, (label, value) in enumerate(self._lines):
            chosen = " -chosen" if number == self.chosen else ""
            yield Static(label, markup=False, classes=f"label{chosen}")
            yield Static(value, markup=False, classes=f"value{chosen}")

    def watch_chosen(self) -> None:
        """Mark the chosen line."""
        pairs = zip(self.query(".label"), self.query(".value"), strict=False)
        for number, cells in enumerate(pairs):
            for cell in cells:
                cell.set_class(number == self.chosen, "-chosen")
        self._show_chosen()

    def on_focus(self) -> None:
        """Bring the chosen line into view."""
        self._show_chosen()

    def on_click(self, event: events.Click) -> None:
        """Choose the line under the mouse."""
        pairs = zip(self.query(".label"), self.query(".value"), strict=False)
        for number, cells in enumerate(pairs):
            if any(cell.region.contains_point(event.screen_offset) for cell in cells):
                self.chosen = number

    def action_choose(self, by: int) -> None:
        """Choose another line."""
        self.chosen = min(max(self.chosen + by, 0), max(len(self._lines) - 1, 0))

    def action_copy(self) -> None:
        """Copy the chosen value."""
        if self._lines:
            label, value = self._lines[self.chosen]
            app_of(self).copy_text(value, label)

    def _show_chosen(self) -> None:
        for value in self.query(".value.-chosen"):
            value.scroll_visible(animate=False)


def _shown(lines: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((printable(label), printable(value) or "-") for label, value in lines)
