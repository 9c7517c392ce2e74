"""Panes side by side where there is room, else one at a time under tabs; and parts that are made after the painting."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.css.query import NoMatches
from textual.widget import Widget
from textual.widgets import Tab, Tabs


class Pane(Vertical):
    """One part of a screen: its title is the title of the frame or of the tab.

    Args:
        share: part of the width that it gets beside the others; the first of a column has it for the column.
    """

    DEFAULT_CSS = """
    Pane {
        height: 1fr; border: round $foreground 25%; padding: 0 1; border-title-color: $text-muted;
        &:focus-within { border: round $primary; border-title-color: $primary; }
    }
    """

    def __init__(self, title: str, *children: Widget, id: str, share: int = 1) -> None:
        super().__init__(*children, id=id)
        self.title = title
        self.share = share
        self.border_title = title
        self.styles.width = f"{share}fr"


class MadeLater(Vertical):
    """A hidden part of a screen: what is in it is made by `make`, after the screen was painted for the first time."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._making, self._made = asyncio.Lock(), False

    async def make(self) -> None:
        """Make what is in it, unless it is there."""
        async with self._making:
            if not self._made:
                self._made = True
                await self.recompose()

    def compose(self) -> ComposeResult:
        """Nothing at first."""
        if self._made:
            yield from self.parts()

    def parts(self) -> ComposeResult:
        """What is in it."""
        raise NotImplementedError


class Panes(Vertical):
    """Some panes; below `narrow` cells of width they are tabs.

    Tabs do not move widgets: only what is displayed changes, so that nothing loses its state.

    Args:
        columns: a pane each, or several that stand one above the other.
    """

    DEFAULT_CSS = """
    Panes {
        height: 1fr;
        Tabs { display: none; }
        &.-tabs Tabs { display: block; height: 2; }
        &.-tabs Pane { border: none; padding: 0; }
        Horizontal.panes { height: 1fr; }
        .column { height: 1fr; }
    }
    """

    def __init__(self, *columns: Pane | tuple[Pane, ...], narrow: int = 80, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._panes = [pane for column in columns for pane in (column if isinstance(column, tuple) else (column,))]
        self._narrow = narrow
        self._spread: str | None = None

    def compose(self) -> ComposeResult:
        """Tabs above, panes below."""
        yield Tabs(*(Tab(pane.title, id=f"tab-{pane.id}") for pane in self._panes))
        with Horizontal(classes="panes"):
            for column in self._columns:
                if isinstance(column, tuple):
                    together = Vertical(*column, classes="column")
                    together.styles.width = f"{column[0].share}fr"
                    for pane in column:
                        pane.styles.width = "1fr"
                    yield together
                else:
                    yield column

    def show(self, pane: str) -> None:
        """Bring the pane of this id to the front, if they are tabs."""
        with suppress(NoMatches):  # not composed yet: the first pane is in front
            self.query_one(Tabs).active = f"tab-{pane}"

    def spread(self, pane: str | None) -> None:
        """While they stand side by side, give the pane of this id all the width; None: to each its share."""
        if pane != self._spread:
            self._spread = pane
            self._display()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side or tabs."""
        self.set_class(event.size.width < self._narrow, "-tabs")
        self._display()

    @on(Tabs.TabActivated)
    def _activated(self, event: Tabs.TabActivated) -> None:
        event.stop()
        self._display()

    def _display(self) -> None:
        active = self.query_one(Tabs).active
        for pane in self._panes:
            if self.has_class("-tabs"):
                pane.display = active in ("", f"tab-{pane.id}")
            else:
                pane.display = self._spread in (None, pane.id)
        for column in self.query(".column"):
            column.display = any(pane.display for pane in column.query_children(Pane))
