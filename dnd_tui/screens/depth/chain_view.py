"""A chain of layers as a strip: a cell for each layer of the base, in the base's order.

    0              5              10             15
    ■■ ■■ ■■ ·· ·· ■■ ■■ ■■ ■■ ■■ 2× 2× 2× ■■ ■■ ■■        skipped: two dots; looped: how often it runs
                                  └──↺──┘                  from where the chain goes back to where
    ■ 11 kept   · 2 skipped   2× 3 looped

Where a strip is wider than the widget it goes on below. Nothing is shown by colour alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from dnd_tui.screens.depth.chains import Lines
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.stages import Ending, StageList
from engine.depth.chain import Chain, parse_chain, runs
from engine.events import Event

KEPT, SKIPPED, BACK = "■", "·", "↺"
_PARTLY = "▪"
_STYLES = {"kept": "$primary", "skipped": "$foreground-disabled", "looped": "bold $accent"}
_WIDEST = 3
_RULER = 5


@dataclass(frozen=True)
class Part:
    """A piece of text of one kind: "kept", "skipped", "looped"; "" is none of them."""

    text: str
    kind: str = ""


Row = tuple[Part, ...]


def visits(chain: Chain, layers: int) -> list[int]:
    """How often each layer of the base runs."""
    counted = Counter(chain)
    return [counted[layer] for layer in range(layers)]


def strip_rows(chain: Chain, layers: int, width: int) -> list[Row]:
    """The strip in `width` terminal cells: numbers, layers and where the chain goes back, as often as it goes on."""
    cell = max(1, min(_WIDEST, width // max(layers, 1)))
    together = max(1, width // cell)
    counts = visits(chain, layers)
    rows: list[Row] = []
    for first in range(0, layers, together):
        shown = range(first, min(first + together, layers))
        rows.append((Part(_ruler(shown, cell)),))
        rows.append(tuple(_cell(counts[layer], cell) for layer in shown))
        back = _way_back(chain, shown, cell)
        if back.strip():
            rows.append((Part(back, "looped"),))
    return rows


def small_strip(chain: Chain, layers: int, most: int = 30) -> str:
    """The strip in a line of at most `most` characters; layers share one where there are more."""
    counts = visits(chain, layers)
    size = max(1, ceil(layers / most))
    groups = [counts[first : first + size] for first in range(0, layers, size)]
    return "".join(_sign(group) for group in groups)


def legend(chain: Chain, layers: int) -> Row:
    """What the signs mean, and how many layers there are of each."""
    counts = visits(chain, layers)
    kept, skipped = counts.count(1), counts.count(0)
    return (
        Part(f"{KEPT} {kept} kept", "kept"),
        Part(f"   {SKIPPED} {skipped} skipped", "skipped"),
        Part(f"   2× {layers - kept - skipped} looped", "looped"),
    )


def _cell(count: int, width: int) -> Part:
    if count > 1:
        often = f"{count}×" if width > 1 else str(count) if count < 10 else "+"
        return Part(often.ljust(width)[: max(width, len(often))], "looped")
    sign = KEPT if count else SKIPPED
    return Part((sign * max(1, width - 1)).ljust(width), "kept" if count else "skipped")


def _sign(counts: list[int]) -> str:
    most = max(counts)
    if most > 1:
        return str(most) if most < 10 else "+"
    return KEPT if min(counts) else _PARTLY if most else SKIPPED


def _ruler(shown: range, cell: int) -> str:
    line = ""
    for layer in shown:
        at = (layer - shown.start) * cell
        if layer % _RULER == 0 and len(line) <= at - (1 if line else 0):
            line = line.ljust(at) + str(layer)
    return line


def _way_back(chain: Chain, shown: range, cell: int) -> str:
    """Brackets below the layers that the chain goes back over."""
    line = [" "] * (len(shown) * cell)
    for (_, end), (begin, _) in pairwise(runs(chain)):
        if begin > end or end not in shown or begin not in shown:
            continue
        left, right = (begin - shown.start) * cell, (end - shown.start) * cell + max(0, cell - 2)
        if begin == end or right <= left:
            line[left] = BACK
            continue
        line[left : right + 1] = ["└", *"─" * (right - left - 1), "┘"]
        if right - left > 1:
            line[(left + right) // 2] = BACK
    return "".join(line)


class LayerStrip(Widget):
    """Shows one chain, or that there is none."""

    DEFAULT_CSS = "LayerStrip { width: 1fr; height: auto; text-wrap: nowrap; text-overflow: clip; }"
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._chain: Chain = ()
        self._layers = 0

    @property
    def chain(self) -> Chain:
        """What is shown."""
        return self._chain

    def show(self, chain: Chain, layers: int) -> None:
        """Show a chain of a base of `layers` layers."""
        if (chain, layers) != (self._chain, self._layers):
            self._chain, self._layers = chain, layers
            self.refresh(layout=True)

    def clear(self) -> None:
        """Show nothing."""
        self.show((), 0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The rows of the strip, and the legend."""
        return len(strip_rows(self._chain, self._layers, width)) + 1 if self._layers else 1

    def render(self) -> Content:
        """The rows."""
        if not self._layers:
            return Content.styled("No chain yet", "$foreground-muted")
        rows = strip_rows(self._chain, self._layers, self.size.width)
        first, *others = [_content(row) for row in (*rows, legend(self._chain, self._layers))]
        return Content("\n").join([first, *others])


def _content(row: Row) -> Content:
    return Content.assemble(*((part.text, _STYLES.get(part.kind, "$foreground-muted")) for part in row))


class ChainView(VerticalScroll, can_focus=False):
    """Strip above; below it the stages while a job runs, and after one that did not end well; else the facts."""

    DEFAULT_CSS = """
    ChainView {
        height: auto; max-height: 100%;
        StageList, Facts { height: auto; margin-top: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        """All of it."""
        yield LayerStrip()
        yield StageList()
        yield Facts(id="facts")

    def on_mount(self) -> None:
        """Nothing to look at yet."""
        self.query_one(StageList).display = self.query_one(Facts).display = False

    def show(self, chain: str, layers: int) -> None:
        """Show a chain, in words, of a base of `layers` layers."""
        self.query_one(LayerStrip).show(parse_chain(chain, layers), layers)

    def clear(self) -> None:
        """Show no chain."""
        self.query_one(LayerStrip).clear()

    def show_lines(self, lines: Lines) -> None:
        """What is known of the chain."""
        facts = self.query_one(Facts)
        facts.set(lines)
        facts.display = bool(lines)
        if lines:
            self.query_one(StageList).display = False

    def begin(self, stages: tuple[str, ...]) -> None:
        """A job with these stages begins."""
        self.query_one(StageList).display = True
        self.query_one(StageList).expect(stages)

    def handle(self, event: Event) -> None:
        """Take in an event of the job."""
        self.query_one(StageList).handle(event)

    def end(self, outcome: Ending, *, stages: bool) -> None:
        """The job ended; `stages`: whether they are still shown."""
        self.query_one(StageList).stop(outcome)
        self.query_one(StageList).display = stages
