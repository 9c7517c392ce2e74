"""The stages of a job, live: one row a stage.

    ✓ load base        ━━━━━━━━━━━━━━━━━━━━━━━━             2.3 s  412 MB
    ▶ encode prompts   ━━━━━━━━━━━━━━━╸────────    20/32    0.8 s          tokens/s 1310, 0.5 s left
    · write adapter    ────────────────────────

A stage that comes again keeps its row, and its seconds add up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from dnd_tui.progress import RunningStage
from dnd_tui.text import duration, one_line
from dnd_tui.widgets.lines import fitted
from engine.events import Event, StageAdvanced, StageFinished, StageStarted
from engine.host import Failed, Finished, Outcome
from engine.text import readable_size

Ending = Literal["done", "stopped", "failed"]
State = Literal["waiting", "running"] | Ending

_SIGNS: dict[State, str] = {"waiting": "·", "running": "▶", "done": "✓", "stopped": "✗", "failed": "✗"}
_STYLES: dict[State, str] = {
    "waiting": "$foreground-muted",
    "running": "$primary",
    "done": "$success",
    "stopped": "$warning",
    "failed": "$error",
}
_BROKEN = ("stopped", "failed")
# From this width on, figures and the like have a column; below it they stand under their row.
_ONE_LINE = 130
_DETAILS = 48
_BAR = range(8, 41)
_WIDEST_NAME = 28


def ending(outcome: Outcome) -> Ending:
    """How a job ended, in a word."""
    return "done" if isinstance(outcome, Finished) else "failed" if isinstance(outcome, Failed) else "stopped"


@dataclass
class _Row:
    name: str
    state: State = "waiting"
    progress: RunningStage | None = None
    earlier: float = 0.0
    began: float = 0.0
    memory: int | None = None
    note: str = ""

    def seconds(self, now: float) -> float:
        """Of all its runs together."""
        return self.earlier + (now - self.began if self.state == "running" else 0.0)

    def cells(self, now: float) -> tuple[str, str, str, str]:
        """Name, count, seconds, memory."""
        count = self.progress.count if self.progress else ""
        seconds = "" if self.state == "waiting" else duration(self.seconds(now))
        return self.name, count, seconds, readable_size(self.memory) if self.memory else ""

    def details(self, now: float) -> str:
        """What stands beside it: how it ended, figures, note, time left."""
        parts: list[str] = [self.state] if self.state in _BROKEN else []
        if self.progress:
            parts += self.progress.shown_figures()
        if self.note:
            parts.append(self.note)
        left = self.progress.left(now - self.began) if self.progress and self.state == "running" else None
        if left is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)

    def bar(self, width: int, now: float) -> Content:
        """Heavy where work is done, light where it is not; a piece that wanders while the total is unknown."""
        style = _STYLES[self.state]
        total = self.progress.total if self.progress else None
        if self.state == "done":
            return Content.styled("━" * width, style)
        if self.state == "waiting" or self.progress is None:
            return Content.styled("─" * width, "$foreground-disabled")
        if total:
            halves = min(int(2 * width * self.progress.step / total), 2 * width)
            done = "━" * (halves // 2) + "╸" * (halves % 2)
            return Content.assemble((done, style), ("─" * (width - len(done)), "$foreground-disabled"))
        if self.state != "running":
            return Content.styled("╍" * width, style)
        piece = max(width // 4, 2)
        way = width - piece
        at = int((now - self.began) * 12) % (2 * way)
        at = min(at, 2 * way - at)
        return Content.assemble(
            ("─" * at, "$foreground-disabled"), ("━" * piece, style), ("─" * (way - at), "$foreground-disabled")
        )


@dataclass(frozen=True)
class _Columns:
    """Widths of the whole row and of its columns, 0 for one that is left out."""

    width: int
    name: int
    bar: int
    count: int
    seconds: int
    memory: int
    details: int

    @classmethod
    def fitting(cls, cells: list[tuple[str, str, str, str]], width: int) -> _Columns:
        """For rows with these cells in `width`: the bar gets what is left, memory is left out first, the bar next."""
        name, count, seconds, memory = (max(map(cell_len, column), default=0) for column in zip(*cells, strict=True))
        name = min(name, _WIDEST_NAME, max(width // 3, 10))
        details = _DETAILS if width >= _ONE_LINE else 0

        def room(*columns: int) -> int:
            return width - 2 - sum(column + 2 for column in columns if column)

        if room(name, count, seconds, memory, details) < _BAR.start:
            memory = 0
        bar = min(room(name, count, seconds, memory, details), _BAR.stop - 1)
        return cls(width, name, bar if bar >= _BAR.start else 0, count, seconds, memory, details)

    def lines(self, row: _Row, now: float) -> list[Content]:
        """What is shown of `row`: a line, and what stands beside it, under it where it has no column."""
        title, count, seconds, memory = row.cells(now)
        plain = {"waiting": "$foreground-muted", "running": "bold"}.get(row.state, "")
        parts: list[Content] = [Content.styled(fitted(title, self.name), plain)]
        if self.bar:
            parts.append(row.bar(self.bar, now))
        if self.count:
            parts.append(Content(f"{count:>{self.count}}"))
        if self.seconds:
            parts.append(Content(f"{seconds:>{self.seconds}}"))
        if self.memory:
            parts.append(Content.styled(f"{memory:>{self.memory}}", "$foreground-muted"))
        details = Content.styled(row.details(now), _STYLES[row.state] if row.state in _BROKEN else "$foreground-muted")
        sign = Content.styled(f"{_SIGNS[row.state]} ", f"bold {_STYLES[row.state]}")
        if self.details:
            return [sign + Content("  ").join([*parts, details])]
        line = sign + Content("  ").join(parts)
        if row.state == "done":
            # Of a stage that is done, the figures mean little once there is no column for them.
            note = Content.styled(row.note, "$foreground-muted")
            if note and line.cell_length + 2 + note.cell_length <= self.width:
                return [Content("  ").join([line, note])]
            return [line, "  " + note] if note else [line]
        return [line, "  " + details] if details else [line]


class StageRows(Widget):
    """Draws the rows of the list around it."""

    DEFAULT_CSS = "StageRows { width: 1fr; height: auto; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, rows: dict[str, _Row]) -> None:
        super().__init__()
        self._rows = rows

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """One or two lines a row."""
        return sum(map(len, self.drawn(width)))

    def render(self) -> Content:
        """All rows."""
        return Content("\n").join(line for lines in self.drawn(self.size.width) for line in lines)

    @property
    def outgrown(self) -> bool:
        """Whether the lines are more or fewer than there is room for."""
        return sum(map(len, self.drawn(self.size.width))) != self.size.height

    def drawn(self, width: int) -> list[list[Content]]:
        """The lines of every row."""
        now = time.monotonic()
        rows = list(self._rows.values())
        columns = _Columns.fitting([("", "", "", ""), *(row.cells(now) for row in rows)], width)
        return [columns.lines(row, now) for row in rows]


class StageList(VerticalScroll):
    """The stages of a job; give it the job's events by `handle`."""

    DEFAULT_CSS = """
    StageList { height: auto; max-height: 100%; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: dict[str, _Row] = {}
        self._drawn = StageRows(self._rows)

    def compose(self) -> ComposeResult:
        """The rows."""
        yield self._drawn

    def on_mount(self) -> None:
        """The clock, which runs only while a stage does."""
        # Not oftener: what draws takes a core from the engine, whose threads then wait for one another.
        self._clock = self.set_interval(0.25, self.tick, pause=not self._under_way)

    def expect(self, names: tuple[str, ...]) -> None:
        """Start anew with stages that have not begun yet, in this order."""
        self._rows.clear()
        self._rows.update((name, _Row(name)) for name in names)
        self._changed()

    def expect_instead(self, names: tuple[str, ...]) -> None:
        """Other stages than those that were expected, in this order; what has begun stays as it is."""
        begun = {name: row for name, row in self._rows.items() if row.state != "waiting"}
        others = {name: row for name, row in begun.items() if name not in names}
        self._rows.clear()
        self._rows.update(others | {name: begun.get(name, _Row(name)) for name in names})
        self._changed()

    def handle(self, event: Event) -> None:
        """Take in an event of the job; what is not about stages is passed over."""
        if isinstance(event, StageStarted):
            self._start(event.stage, event.total, event.unit)
        elif isinstance(event, StageAdvanced):
            self._advance(event)
        elif isinstance(event, StageFinished):
            self._finish(event)

    def stop(self, outcome: Ending) -> None:
        """The job ended; a stage that was still running ended with it. One that a job did without is left out."""
        now = time.monotonic()
        if outcome == "done":
            for name in [name for name, row in self._rows.items() if row.state == "waiting"]:
                del self._rows[name]
        for row in self._under_way:
            row.earlier = row.seconds(now)
            row.state = outcome
        self._changed()

    def tick(self) -> None:
        """Draw the time of the running stage, and its figures, which may need another line."""
        self._drawn.refresh(layout=self._drawn.outgrown)

    @property
    def _under_way(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.state == "running"]

    def _start(self, name: str, total: int | None, unit: str) -> _Row:
        row = self._rows.setdefault(name, _Row(name))
        row.state = "running"
        row.progress = RunningStage(total, unit)
        row.began = time.monotonic()
        self._changed()
        self.call_after_refresh(self._show, name)
        return row

    def _advance(self, event: StageAdvanced) -> None:
        row = self._rows.get(event.stage)
        if row is None or row.state != "running" or row.progress is None:
            row = self._start(event.stage, event.total, "steps")
        assert row.progress is not None
        row.progress.advance(event)
        row.began = time.monotonic() - event.seconds

    def _finish(self, event: StageFinished) -> None:
        row = self._rows.setdefault(event.stage, _Row(event.stage))
        row.earlier += event.seconds
        row.state = "done"
        row.memory = event.memory or row.memory
        row.note = one_line(event.note)
        self._changed()

    def _changed(self) -> None:
        if not self.is_mounted:
            return
        if self._under_way:
            self._clock.resume()
        else:
            self._clock.pause()
        self._drawn.refresh(layout=True)

    def _show(self, name: str) -> None:
        """Scroll to a row that began."""
        if name in self._rows:
            lines = self._drawn.drawn(self._drawn.size.width)
            number = list(self._rows).index(name)
            self.scroll_to_region(Region(0, sum(map(len, lines[:number])), 1, len(lines[number])), animate=False)
