"""The bar on top: every screen by name and key, and the job that is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from dnd_tui.text import duration

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# Mode, name, key that works wherever no text is typed.
PLACES = (
    ("drop", "Drop", "1"),
    ("generate", "Generate", "2"),
    ("compare", "Compare", "3"),
    ("export", "Export", "4"),
    ("library", "Library", "5"),
    ("forge", "Forge", "6"),
    ("settings", "Settings", "7"),
    ("log", "Log", "8"),
)
_FULL_WIDTH = 100
_NARROW = 70


class NavigationItem(Static):
    """One screen's name; a click goes there."""

    def __init__(self, mode: str, name: str, key: str, *, here: bool) -> None:
        super().__init__(classes="-here" if here else "")
        self.mode, self.label, self.key, self.here = mode, name, key, here
        self.tooltip = f"{name} (key {key})"

    def fit(self, width: int) -> None:
        """Show as much as a terminal of `width` cells has room for; the screen that is open keeps its name."""
        name = self.label if width >= _FULL_WIDTH or self.here else self.label[:4] if width >= _NARROW else ""
        mark = "▸" if self.here else ""
        self.update(Content.assemble((f"{mark}{self.key}", "bold"), f" {name}" if name else ""))

    async def on_click(self) -> None:
        """Go there."""
        await cast("DndApp", self.app).go(self.mode)


class JobSign(Static):
    """The job under way on the device and its time; a click stops it."""

    def __init__(self) -> None:
        super().__init__()
        self._timer: Timer | None = None

    def on_mount(self) -> None:
        """Follow the engine; the time is drawn only while a job runs."""
        self._timer = self.set_interval(0.2, self.refresh_job, pause=True)
        self.refresh_job()

    def refresh_job(self) -> None:
        """Draw anew."""
        if self._timer is None:
            return  # not mounted yet: mounting draws it
        app = cast("DndApp", self.app)
        job = app.engine.running or next(iter(app.engine.jobs), None)
        self.display = job is not None
        if job is None:
            self._timer.pause()
            return
        self._timer.resume()
        verb = job.title.split(maxsplit=1)[0]
        state = "stopping" if job.stopping else duration(job.seconds) if job.began else "waiting"
        self.update(Content.assemble(("● ", "bold"), f"{verb} {state} ", ("■ stop", "underline")))
        self.tooltip = f"{job.title}; click to stop"

    def on_click(self) -> None:
        """Stop the job."""
        cast("DndApp", self.app).action_stop_job()


class NavigationBar(Horizontal):
    """Names of all screens, the open one marked by a sign besides its colour."""

    DEFAULT_CSS = """
    NavigationBar {
        height: 1; background: $panel; color: $foreground;
        NavigationItem { width: auto; padding: 0 1; color: $text-muted; }
        NavigationItem:hover { background: $boost; color: $text; }
        NavigationItem.-here { background: $primary; color: $background; text-style: bold; }
        .spacer { width: 1fr; }
        JobSign { width: auto; padding: 0 1; background: $warning-muted; color: $text-warning; }
    }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def compose(self) -> ComposeResult:
        """The names, the job."""
        for mode, name, key in PLACES:
            yield NavigationItem(mode, name, key, here=mode == self._mode)
        yield Static(classes="spacer")
        yield JobSign()

    def on_resize(self, event: events.Resize) -> None:
        """Names as long as there is room for."""
        for item in self.query(NavigationItem):
            item.fit(event.size.width)
