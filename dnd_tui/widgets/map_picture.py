"""How the map of an adapter is laid out in a given width: which maps, cells of what size, what stands where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Offset, Size

from dnd_tui.widgets.module_grid import Cell, ModuleGrid, scale_of

View = Literal["generated", "base adapter", "difference"]
VIEWS: tuple[View, ...] = ("generated", "base adapter", "difference")

BETWEEN = 4
_WIDEST_LABEL = 16
_WIDEST_CELL = 6


@dataclass(frozen=True)
class Picture:
    """Maps from left to right, each with a column of labels and cells of one size.

    columns: the layers of each column; None stands for modules in no layer.
    together: there is room for both adapters side by side.
    framed: there is a base adapter; without one there is one view, the update itself.
    """

    maps: tuple[View, ...]
    together: bool
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    columns: tuple[tuple[int | None, ...], ...]
    cells: Mapping[tuple[int, int], Cell]
    label_width: int
    cell: Size
    framed: bool

    @classmethod
    def fitting(cls, grid: ModuleGrid, view: View, width: int, lines: int) -> Picture:
        """Maps in the largest cells that fit in `width` and `lines`; layers share cells where the smallest do not."""
        labels = tuple(grid.labels())
        label_width = min(max(map(cell_len, labels), default=0), _WIDEST_LABEL)
        framed = grid.framed
        view = view if framed else VIEWS[0]
        together = framed and 2 * (label_width + 1 + grid.layers) + BETWEEN <= width
        maps: tuple[View, ...] = (view,) if view == "difference" or not together else VIEWS[:2]
        room = (width - BETWEEN * (len(maps) - 1)) // len(maps) - label_width - 1
        columns = tuple(grid.columns(max(room, 1)))
        cell_width = min(max(room // max(len(columns), 1), 1), _WIDEST_CELL)
        cell = Size(cell_width, 2 if cell_width >= 4 and 2 * len(labels) <= lines else 1)
        cells = grid.cells(columns)
        return cls(maps, together, tuple(grid.kinds), labels, columns, cells, label_width, cell, framed)

    @property
    def map_width(self) -> int:
        """Cells of the terminal that the columns of one map take."""
        return len(self.columns) * self.cell.width

    @property
    def head(self) -> int:
        """Lines above the maps: the names of the views, and titles where two maps are shown."""
        return 1 + (len(self.maps) > 1)

    def names(self) -> Iterator[tuple[int, str, View, bool]]:
        """The views to choose from: where the name begins, the name, the view, whether it is shown."""
        if not self.framed:
            yield 0, "update", VIEWS[0], True
            return
        at = 0
        choices = [("generated and base adapter", VIEWS[0])] if self.together else [(view, view) for view in VIEWS[:2]]
        for name, view in [*choices, (VIEWS[2], VIEWS[2])]:
            yield at, name, view, view in self.maps
            at += len(name) + 3

    def at(self, offset: Offset) -> tuple[int, int] | None:
        """Row and column of the cell at this place of the widget."""
        row = (offset.y - self.head) // self.cell.height
        for number in range(len(self.maps)):
            left = number * (self.label_width + 1 + self.map_width + BETWEEN) + self.label_width + 1
            column = (offset.x - left) // self.cell.width
            if 0 <= row < len(self.kinds) and 0 <= column < len(self.columns):
                return row, column
        return None

    @cached_property
    def scale(self) -> tuple[float, float]:
        """From the lightest to the darkest: shared by both adapters, from 0 for their difference."""
        if self.maps[0] == "difference":
            return 0.0, scale_of(value_of(cell, "difference") for cell in self.cells.values())[1]
        shown = VIEWS[:2] if self.framed else VIEWS[:1]
        return scale_of(value_of(cell, view) for cell in self.cells.values() for view in shown)

    def layer_numbers(self, here: int | None) -> Content:
        """The line under a map: numbers of layers at even distances, the column `here` always."""
        names = ["other" if layers[0] is None else str(layers[0]) for layers in self.columns]
        widest = max(map(len, names)) + 1
        step = next((step for step in (1, 2, 5, 10, 20, 50) if step * self.cell.width >= widest), 100)
        shown = [column for column in range(len(names)) if column % step == 0]
        line = Content(" " * self.map_width)
        for column in ([here] if here is not None else []) + shown:
            name = names[column]
            at = min(column * self.cell.width, max(self.map_width - len(name), 0))
            # One that was put there before keeps a space on both sides.
            if not line.plain[max(at - 1, 0) : at + len(name) + 1].strip():
                style = "bold" if column == here else "$foreground-muted"
                line = Content.assemble(line[:at], (name, style), line[at + len(name) :])
        return line[: self.map_width]


def value_of(cell: Cell, view: View) -> float | None:
    """What a view shows of a cell."""
    if view == "difference":
        return None if cell.difference is None else abs(cell.difference)
    return cell.generated if view == "generated" else cell.base
