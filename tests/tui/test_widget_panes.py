"""Parts of a screen that are made after the first painting."""

from __future__ import annotations

import asyncio

from textual.app import ComposeResult
from textual.widgets import Static

from dnd_tui.widgets.panes import MadeLater
from tests.tui.widget_host import WidgetHost


class Hidden(MadeLater):
    def parts(self) -> ComposeResult:
        yield Static("here")


async def test_a_part_is_made_once_for_all_who_want_it() -> None:
    part = Hidden()
    app = WidgetHost(part)
    async with app.run_test(size=(20, 4)) as pilot:
        assert not part.children
        await asyncio.gather(part.make(), part.make())
        await pilot.pause()
        assert len(part.children) == 1 and app.shown() == "here"
