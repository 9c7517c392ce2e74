"""What every screen of the app shares: the bar of screens above, the keys below, help, and the app's services."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from dnd_tui.widgets.bars import KeyBar, NavigationBar

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


class AppScreen(Screen[None]):
    """A screen of the app.

    MODE: its name for `DndApp.go`.
    HELP: Markdown for the help dialog.
    """

    MODE: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        # It is styled as it is mounted. Without this, Textual styles the screen that was open before twice more.
        self._css_update_count = self.app._css_update_count

    def compose(self) -> ComposeResult:
        """Bar, body, keys."""
        self._classify()
        yield NavigationBar(self.MODE)
        yield from self.body()
        yield KeyBar(compact=True)

    def body(self) -> Iterable[Widget]:
        """What is between bar and keys."""
        raise NotImplementedError

    @on(events.Mount)
    def _freeze(self) -> None:
        """A screen stays as long as the app, so the garbage collector need not look at it: that took 0.3 s at times."""
        if not self.app.is_headless:  # in tests one process makes many apps
            self.call_after_refresh(gc.freeze)

    @on(events.ScreenResume)
    def _keep_styles(self, event: events.ScreenResume) -> None:
        """Where the colours were changed meanwhile, `switch_mode` refreshes the styles; else they are as they were."""
        event.refresh_styles = False
        self.query_one(NavigationBar).fit()  # its keys may be others by now

    def _classify(self) -> None:
        """The classes of the terminal's size, before anything is styled: else all would be styled twice."""
        width, height = self.app.size
        for cells, breakpoints in ((width, self.app.HORIZONTAL_BREAKPOINTS), (height, self.app.VERTICAL_BREAKPOINTS)):
            reached = [(least, name) for least, name in breakpoints or () if cells >= least]
            self.add_class(max(reached)[1], update=False)

    @property
    def dnd(self) -> DndApp:
        """The app, with its services: engine, settings, library, go, tell, ask, copy."""
        return cast("DndApp", self.app)
