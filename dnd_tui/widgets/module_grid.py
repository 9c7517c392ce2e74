"""Norms by module path as a grid of kinds of modules by layers, and how it is laid out in a given width.

    model.layers.12.self_attn.q_proj  ->  layer 12, kind self_attn.q_proj, label q
    lm_head                           ->  the column for what is in no layer, kind lm_head

The first number in a path is the layer. Further numbers (experts) are left out of the kind, so that modules may share
a cell; a cell shows the mean of its modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log
from statistics import fmean
from typing import Literal

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Offset, Size

# The order of the way through a layer; other kinds follow in the order they came.
_KNOWN = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Cell:
    """Modules of one kind in neighbouring layers.

    layers: first and last layer; None for modules in no layer.
    generated, base: mean norm of the generated update and of the frame's.
    """

    kind: str
    layers: tuple[int, int] | None
    modules: int
    generated: float
    base: float

    @property
    def difference(self) -> float | None:
        """(generated - base) / base; None where the frame does nothing."""
        return (self.generated - self.base) / self.base if self.base else None

    @property
    def where(self) -> str:
        """`layer 12`, `layers 12 to 15`, `in no layer`."""
        if self.layers is None:
            return "in no layer"
        first, last = self.layers
        return f"layer {first}" if first == last else f"layers {first} to {last}"


@dataclass
class ModuleGrid:
    """All modules known so far; some are expected and have no norms yet."""

    _norms: dict[tuple[int | None, str], dict[str, tuple[float, float] | None]] = field(default_factory=dict)

    def expect(self, paths: Iterable[str]) -> None:
        """Keep a place for modules whose norms are still to come."""
        for path in paths:
            self._norms.setdefault(_place(path), {}).setdefault(path, None)

    def add(self, norms: Mapping[str, tuple[float, float]]) -> None:
        """Take in norms by module path: (of the generated update, of the frame's update)."""
        for path, pair in norms.items():
            self._norms.setdefault(_place(path), {})[path] = pair

    @property
    def kinds(self) -> list[str]:
        """Rows."""
        kinds = list(dict.fromkeys(kind for _, kind in self._norms))
        return sorted(kinds, key=lambda kind: _KNOWN.index(_short(kind)) if _short(kind) in _KNOWN else len(_KNOWN))

    @property
    def framed(self) -> bool:
        """Whether there is a frame to compare with: that of a solved or imported one does nothing anywhere."""
        pairs = [pair for norms in self._norms.values() for pair in norms.values() if pair is not None]
        return not pairs or any(base != 0 for _, base in pairs)

    def labels(self) -> list[str]:
        """A short name for each row: `q` for `self_attn.q_proj` where no other row would be called so."""
        short = [_short(kind) for kind in self.kinds]
        return [name if short.count(name) == 1 else kind for name, kind in zip(short, self.kinds, strict=True)]

    @property
    def layers(self) -> int:
        """How many columns there are when none is shared."""
        return len({layer for layer, _ in self._norms})

    def columns(self, most: int) -> list[tuple[int | None, ...]]:
        """Layers by column, at most `most` columns: neighbours share one where there are more layers."""
        layers = sorted({layer for layer, _ in self._norms if layer is not None})
        outside: list[tuple[int | None, ...]] = [(None,)] if any(layer is None for layer, _ in self._norms) else []
        share = -(-len(layers) // max(most - len(outside), 1)) or 1
        return [tuple(layers[at : at + share]) for at in range(0, len(layers), share)] + outside

    def has(self, kind: str, layers: tuple[int | None, ...]) -> bool:
        """Whether there is such a module, with or without norms."""
        return any((layer, kind) in self._norms for layer in layers)

    def cell(self, kind: str, layers: tuple[int | None, ...]) -> Cell | None:
        """The modules of a kind in these layers; None without norms."""
        pairs = [pair for layer in layers for pair in self._norms.get((layer, kind), {}).values() if pair is not None]
        if not pairs:
            return None
        first, last = layers[0], layers[-1]
        span = None if first is None or last is None else (first, last)
        generated, base = (fmean(norms) for norms in zip(*pairs, strict=True))
        return Cell(kind, span, len(pairs), generated, base)

    def cells(self, columns: Iterable[tuple[int | None, ...]]) -> dict[tuple[int, int], Cell]:
        """All cells with norms, by row and column."""
        kinds = self.kinds
        found = {
            (row, column): self.cell(kind, layers)
            for column, layers in enumerate(columns)
            for row, kind in enumerate(kinds)
        }
        return {place: cell for place, cell in found.items() if cell is not None}


def _place(path: str) -> tuple[int | None, str]:
    parts = path.split(".")
    number = next((at for at, part in enumerate(parts) if part.isdecimal()), None)
    if number is None:
        return None, path
    kind = ".".join(part for part in parts[number + 1 :] if not part.isdecimal())
    return int(parts[number]), kind or ".".join(parts[:number])


def _short(kind: str) -> str:
    return kind.rpartition(".")[2].removesuffix("_proj")


View = Literal["generated", "frame", "difference"]
VIEWS: tuple[View, ...] = ("generated", "frame", "difference")

BETWEEN = 4
_WIDEST_LABEL = 16
_WIDEST_CELL = 6
# Norms of updates lie between these nearly always; those of one adapter alone differ by a factor of 300.
_NORMS = (0.1, 100.0)


@dataclass(frozen=True)
class Picture:
    """Maps from left to right, each with a column of labels and cells of one size.

    columns: the layers of each column; None stands for modules in no layer.
    together: there is room for both adapters side by side.
    framed: there is a frame; without one there is one view, the update itself.
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
        choices = [("generated and frame", VIEWS[0])] if self.together else [(view, view) for view in VIEWS[:2]]
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

    @property
    def scale(self) -> tuple[float, float]:
        """From the lightest to the darkest: the same for every adapter, so that little looks little.

        Norms on a logarithmic scale; their difference from none to all of the frame's.
        """
        return (0.0, 1.0) if self.maps[0] == "difference" else _NORMS

    def share(self, value: float) -> float:
        """Where a value, not below 0, lies on the scale, from 0 to 1."""
        low, high = self.scale
        if low == 0:
            return min(value / high, 1.0)
        return min(max(log(max(value, low) / low) / log(high / low), 0.0), 1.0)

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
