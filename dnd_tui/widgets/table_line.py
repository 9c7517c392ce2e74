"""One line of a table for an `OptionList` or a `Static`: drawn anew at every width, so that a resize costs nothing.

A `DataTable` keeps the widths of its columns; here one cell takes what the others leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.css.styles import RulesMap
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

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
