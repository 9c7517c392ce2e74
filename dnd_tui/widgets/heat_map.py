"""Where an adapter changes its base: the norms of its updates as a map of layers and kinds of modules.

    ▸generated   frame   difference
         0    5    10   15   20   25
       q ░░▒▒▓▓███▓▓▒▒░░ ·············        one scale for every adapter; a dot is still to come
       k ░░▒▒▓▓███▓▓▒▒░░ ·············
    0.1 ░▒▓█ 100  norm, log scale
    layer 12 self_attn.q_proj   generated 0.81   frame 0.6   difference +35 %

Two maps stand side by side where there is room, one at a time where there is not. An adapter without a frame,
a solved one for example, has one map, of its update. Without colours, or with only those of the terminal, characters
are the shades.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.color import Gradient
from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from dnd_tui.text import figure
from dnd_tui.widgets.lines import fitted
from dnd_tui.widgets.module_grid import BETWEEN, VIEWS, Cell, ModuleGrid, Picture, View, value_of

_SHADES = " ░▒▓█"
# Cells of the legend's scale; with fewer than the least, its words are left out.
_LEGEND, _LEAST_LEGEND = 24, 8
# Lines above and below the cells, at most.
_AROUND = 6
# From this width on, what is shown of a cell takes one line.
_ONE_LINE = 100

# From 0 to 1 -> character and style.
_Painter = Callable[[float], tuple[str, Style | str]]


class AdapterMap(Widget, can_focus=True):
    """Layers by kinds of modules: the generated adapter, the frame, and how far they differ."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "adapter-map--low", "adapter-map--middle", "adapter-map--high", "adapter-map--different",
    }  # fmt: skip
    DEFAULT_CSS = """
    AdapterMap {
        width: 1fr; height: auto; text-wrap: nowrap; text-overflow: clip;
        .adapter-map--low { color: $panel; }
        .adapter-map--middle { color: $primary; }
        .adapter-map--different { color: $accent; }
        .adapter-map--high { color: $foreground; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(0, -1)", "Layer before", id="map.left", show=False, tooltip="Look at the layer before"),
        Binding("right", "move(0, 1)", "Next layer", id="map.right", show=False, tooltip="Look at the next layer"),
        Binding("up", "move(-1, 0)", "Module above", id="map.up", show=False, tooltip="Look at the row above"),
        Binding("down", "move(1, 0)", "Module below", id="map.down", show=False, tooltip="Look at the row below"),
        Binding("home", "move(0, -999)", "First layer", id="map.first", show=False, tooltip="Look at the first layer"),
        Binding("end", "move(0, 999)", "Last layer", id="map.last", show=False, tooltip="Look at the last layer"),
        Binding("v", "next_view", "Other view", id="map.view",
                tooltip="Generated adapter, frame, or how far they differ"),
    ]  # fmt: skip

    view: reactive[View] = reactive("generated")
    cursor: reactive[tuple[int, int]] = reactive((0, 0))
    pointed: reactive[tuple[int, int] | None] = reactive(None)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._grid = ModuleGrid()
        self._fitted: tuple[int, Picture] | None = None

    # -- what is shown

    def expect(self, paths: Iterable[str]) -> None:
        """Keep places for modules whose norms come later by `add`."""
        self._grid.expect(paths)
        self._changed()

    def add(self, norms: Mapping[str, tuple[float, float]], layers: int = 0) -> None:
        """Take in norms by module path: (of the generated update, of the frame's update).

        Args:
            layers: how many come one by one; after the first, the others keep their places free as if all were like it.
        """
        first = not self._grid.kinds
        self._grid.add(norms)
        if first and layers:
            self._grid.expect(path.replace(".0.", f".{layer}.", 1) for path in norms for layer in range(layers))
        self._changed()

    def show(self, norms: Mapping[str, tuple[float, float]]) -> None:
        """Show these norms and no others."""
        self._grid = ModuleGrid()
        self.add(norms)

    def clear(self) -> None:
        """Show nothing."""
        self._grid = ModuleGrid()
        self.cursor = (0, 0)
        self._changed()

    @property
    def looked_at(self) -> Cell | None:
        """The cell under the mouse, or else under the cursor."""
        picture = self._picture(self.size.width)
        place = self._place(picture)
        return picture.cells.get(place) if place else None

    # -- keys and mouse

    def action_move(self, rows: int, columns: int) -> None:
        """Move the cursor."""
        picture = self._picture(self.size.width)
        row, column = self.cursor
        self.pointed = None
        self.cursor = (
            min(max(row + rows, 0), max(len(picture.kinds) - 1, 0)),
            min(max(column + columns, 0), max(len(picture.columns) - 1, 0)),
        )

    def action_next_view(self) -> None:
        """Show the next view; maps that stand side by side are one view."""
        picture = self._picture(self.size.width)
        if not picture.framed:
            return
        shown = picture.maps
        self.view = VIEWS[(VIEWS.index(shown[-1]) + 1) % len(VIEWS)]

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Look at the cell under the mouse."""
        offset = event.get_content_offset(self)
        picture = self._picture(self.size.width)
        self.pointed = picture.at(offset) if offset else None

    def on_leave(self) -> None:
        """Back to the cursor."""
        self.pointed = None

    def on_click(self, event: events.Click) -> None:
        """Choose the view whose name is there, or put the cursor on the cell."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        picture = self._picture(self.size.width)
        place = picture.at(offset)
        if place:
            self.cursor = place
        elif offset.y == 0:
            for at, name, view, _ in picture.names():
                if at <= offset.x < at + len(name) + 2:
                    self.view = view

    # -- drawing

    def on_resize(self) -> None:
        """Fit the maps anew."""
        self._changed()

    def watch_view(self) -> None:
        """Fit the maps anew."""
        self._changed()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Names, maps, layer numbers, legend, and the figures of a cell."""
        picture = self._picture(width)
        rows = len(picture.kinds) * picture.cell.height
        return picture.head + rows + 2 + (1 if width >= _ONE_LINE else 2) if rows else 1

    def render(self) -> Content:
        """The whole picture."""
        width = self.size.width
        picture = self._picture(width)
        if not picture.kinds:
            return Content.styled("No adapter yet", "$foreground-muted")
        gap = " " * (picture.label_width + 1)
        place = self._place(picture)
        numbers = gap + picture.layer_numbers(place[1] if place else None)
        painter = self._painter(picture)
        lines = [self._names(picture)]
        if len(picture.maps) > 1:
            titles = [gap + fitted(view, picture.map_width) for view in picture.maps]
            lines.append(Content.styled((" " * BETWEEN).join(titles), "bold"))
        for row in range(len(picture.kinds)):
            lines += self._row(picture, row, painter)
        lines.append(Content(" " * BETWEEN).join([numbers] * len(picture.maps)))
        lines.append(self._legend(picture, painter, width))
        lines += self._words(picture, width)
        return Content("\n").join(lines)

    def _changed(self) -> None:
        self._fitted = None
        self.refresh(layout=True)

    def _picture(self, width: int) -> Picture:
        if self._fitted is None or self._fitted[0] != width:
            height = self.styles.height
            # As high as its content, it takes no more than half the terminal.
            lines = self.app.size.height // 2 if height and height.is_auto else self.size.height - _AROUND
            self._fitted = width, Picture.fitting(self._grid, self.view, width, lines)
        return self._fitted[1]

    def _place(self, picture: Picture) -> tuple[int, int] | None:
        place = self.pointed or (self.cursor if self.has_focus else None)
        inside = place and place[0] < len(picture.kinds) and place[1] < len(picture.columns)
        return place if inside else None

    def _names(self, picture: Picture) -> Content:
        """The views by name; the one that is shown has a sign besides its colour."""
        parts: list[str | tuple[str, str]] = []
        for _, name, _, here in picture.names():
            parts += [(f"{'▸' if here else ' '}{name} ", "$background on $primary bold" if here else ""), " "]
        return Content.assemble(*parts)

    def _painter(self, picture: Picture) -> _Painter:
        if self.app.no_color or self.app.native_ansi_color:
            return lambda share: (_SHADES[min(int(share * len(_SHADES)), len(_SHADES) - 1)], "$primary")
        names = ("low", "different" if "difference" in picture.maps else "middle", "high")
        low, middle, high = (self.get_component_styles(f"adapter-map--{name}").color for name in names)
        gradient = Gradient((0.0, low), (0.65, middle), (1.0, high))
        return lambda share: (" ", Style(background=gradient.get_color(share)))

    def _row(self, picture: Picture, row: int, painter: _Painter) -> list[Content]:
        """The lines of one kind of module, in all maps."""
        width, height = picture.cell
        here = self._place(picture)
        lines: list[list[Content]] = [[] for _ in range(height)]
        for number, view in enumerate(picture.maps):
            label_style = "bold" if here and here[0] == row else "$foreground-muted"
            for line, parts in enumerate(lines):
                label = fitted("" if line else picture.labels[row], picture.label_width + 1)
                parts += [Content(" " * BETWEEN if number else ""), Content.styled(label, label_style)]
            for column, layers in enumerate(picture.columns):
                cell = picture.cells.get((row, column))
                value = value_of(cell, view) if cell else None
                style: Style | str = "$foreground-disabled"
                if value is None:
                    known = self._grid.has(picture.kinds[row], layers)
                    texts = [("·" if known else " ").center(width), *[" " * width] * (height - 1)]
                elif not isfinite(value):
                    style, texts = "$error bold", ["!" * width] * height
                else:
                    mark, style = painter(picture.share(value))
                    texts = [mark * width] * height
                for line, (parts, text) in enumerate(zip(lines, texts, strict=True)):
                    marked = here == (row, column)
                    parts.append(self._marked(picture.cell, line, style) if marked else Content.styled(text, style))
        return [Content("").join(parts) for parts in lines]

    @staticmethod
    def _marked(cell: Size, line: int, style: Style | str) -> Content:
        """The cell under the cursor: a frame, or a sign where there is no room for one."""
        width, height = cell
        left, middle, right = "[ ]" if height == 1 else "┌─┐" if line == 0 else "└─┘"
        background = style.background if isinstance(style, Style) else None
        marked = Style(background=background, foreground=background.get_contrast_text(1.0)) if background else "bold"
        return Content.styled(f"{left}{middle * (width - 2)}{right}" if width > 1 else "◆", marked)

    def _legend(self, picture: Picture, painter: _Painter, width: int) -> Content:
        difference = "difference" in picture.maps
        low, high = (f"{100 * value:.3g} %" if difference else figure(value) for value in picture.scale)
        names = (
            ("  difference from the frame",) if difference else ("  norm of the update, log scale", "  norm, log scale")
        )
        room = width - len(f"{low}  {high}")
        name = next((name for name in names if room - len(name) >= _LEAST_LEGEND), "")
        size = max(min(_LEGEND, room - len(name)), 2)
        bar = Content("").join(Content.styled(*painter(at / (size - 1))) for at in range(size))
        return Content.assemble(f"{low} ", bar, f" {high}", (name, "$foreground-muted"))

    def _words(self, picture: Picture, width: int) -> list[Content]:
        """The cell that is looked at, in figures; else what stands out."""
        place = self._place(picture)
        cell = picture.cells.get(place) if place else None
        if cell:
            shared = f"  (mean of {cell.modules})" if cell.modules > 1 else ""
            difference = "-" if cell.difference is None else f"{100 * cell.difference:+.3g} %"
            second = f"generated {figure(cell.generated)}  frame {figure(cell.base)}  difference {difference}"
            if not picture.framed:
                second = f"norm of the update {figure(cell.generated)}"
            parts = [Content.assemble((cell.where, "bold"), f"  {cell.kind}{shared}"), Content(second)]
        elif place:
            parts = [Content(f"{picture.kinds[place[0]]}: nothing here yet"), Content("")]
        else:
            modules = sum(cell.modules for cell in picture.cells.values())
            parts = [Content.styled(f"{modules} modules", "$foreground-muted"), Content("")]
            if picture.cells:
                top = max(picture.cells.values(), key=lambda cell: cell.generated if isfinite(cell.generated) else 0)
                parts[1] = Content.styled(
                    f"largest: {top.where} {top.kind}, {figure(top.generated)}", "$foreground-muted"
                )
        return [Content("   ").join(parts)] if width >= _ONE_LINE else parts
