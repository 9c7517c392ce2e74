"""What screens of the app share: the bar of screens above, the keys below, help, the app's services; a job, tabs."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import TabbedContent, TabPane

from dnd_tui.jobs import Job
from dnd_tui.services import app_of
from dnd_tui.widgets.bars import KeyBar, KeyButton, NavigationBar

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


class AppScreen(Screen[None]):
    """A screen of the app.

    MODE: its name for `DndApp.go`.
    HELP: Markdown for the help dialog.
    """

    MODE: ClassVar[str]
    DEFAULT_CSS = """
    AppScreen {
        #buttons { height: auto; padding: 0 1; }
        #buttons Button { margin-right: 1; }
        .titles { height: 1; text-style: bold; color: $text-muted; }
    }
    """

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
        self._fit_buttons()

    @on(events.Resize)
    def _fit_buttons(self) -> None:
        """Buttons show their keys where there is room for that; elsewhere the keys stand below."""
        for button in self.query(KeyButton):
            button.fit()
        self.refresh_bindings()

    @on(events.Key)
    def _refuse_key(self, event: events.Key) -> None:
        """A key that means nothing now is answered: nobody shall wait for what it would do. Escape is no wish."""
        active = self.active_bindings.get(event.key)
        if event.key != "escape" and active is not None and active.node is self and not active.enabled:
            self.notify(self.refusal(active.binding.action), severity="warning", timeout=3)
            event.stop()

    def refusal(self, action: str) -> str:
        """Why an action that is shown grey cannot be done now, in words."""
        return "Not now"

    def _classify(self) -> None:
        """The classes of the terminal's size, before anything is styled: else all would be styled twice."""
        width, height = self.app.size
        for cells, breakpoints in ((width, self.app.HORIZONTAL_BREAKPOINTS), (height, self.app.VERTICAL_BREAKPOINTS)):
            reached = [(least, name) for least, name in breakpoints or () if cells >= least]
            self.add_class(max(reached)[1], update=False)

    @property
    def dnd(self) -> DndApp:
        """The app, with its services: engine, settings, library, go, show_error, ask, copy."""
        return app_of(self)


class JobScreen(AppScreen):
    """A screen with a job of its own, one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._job: Job | None = None

    @property
    def running(self) -> bool:
        """Whether the job is under way, or waits for the device."""
        return self._job is not None and self._job.outcome is None

    def refusal(self, action: str) -> str:
        """What runs, where something does."""
        if action == "stop":
            return "Nothing is under way here"
        return f"Not while this is under way: {self._job.title}" if self._job and self.running else "Not now"

    def action_stop(self) -> None:
        """Stop the job."""
        if self._job is not None:
            self.dnd.engine.stop(self._job)


class TabbedScreen(AppScreen):
    """A screen of tabs: one `TabbedContent` with the id "tabs". A subclass chooses what has the focus in a tab."""

    DEFAULT_CSS = """
    TabbedScreen {
        TabbedContent, ContentSwitcher, TabPane { height: 1fr; }
        TabPane { padding: 0 1; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        # The tab into which the focus goes as soon as it is shown; none when a person walks along the tabs.
        self._entering: str | None = None

    @property
    def tabs(self) -> TabbedContent:
        """The tabs."""
        return self.query_one("#tabs", TabbedContent)

    def open_tab(self, name: str) -> None:
        """Show a tab and go into it. The screen may have been made just now: its tabs come first."""
        self.call_after_refresh(self._open_tab, name)

    def _open_tab(self, name: str) -> None:
        if self.tabs.active == name:
            self.focus_inside()
        else:
            # What is hidden with the focus gives it up later, and would take it from whatever has it then.
            self.set_focus(None)
            self._entering = name
            self.tabs.active = name

    @on(TabbedContent.TabActivated)
    def _activated(self, event: TabbedContent.TabActivated) -> None:
        if event.pane.id == self._entering:
            self._entering = None
            self.focus_inside()

    def focus_inside(self) -> None:
        """Focus what the open tab is used by."""
        raise NotImplementedError

    def action_next_tab(self, by: int) -> None:
        """Show the tab beside the open one."""
        names = [str(pane.id) for pane in self.tabs.query(TabPane)]
        self.open_tab(names[(names.index(self.tabs.active) + by) % len(names)])
