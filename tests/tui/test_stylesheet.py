"""The styles of the app: parsed once, and yet of the theme that is chosen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from textual.css import stylesheet

from dnd_tui.app import DndApp
from dnd_tui.places import PLACES
from dnd_tui.themes import LIGHT


async def test_styles_are_parsed_about_once(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: Counter[tuple[str, str]] = Counter()
    parse = stylesheet.parse

    def counted(scope: str, css: str, *others: Any, **more: Any) -> Any:
        parsed[scope, css] += 1
        return parse(scope, css, *others, **more)

    monkeypatch.setattr(stylesheet, "parse", counted)
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        for mode in [*PLACES, *PLACES]:
            await app.go(mode)
            await pilot.pause()
    assert len(parsed) > 64  # as many as Textual keeps
    # Not quite once: the style of a class is parsed anew as another one turns out to inherit from it.
    assert parsed.total() < 1.5 * len(parsed)


async def test_another_theme_reaches_the_screens_that_were_open_before(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.go("library")
        await app.go("drop")
        app.change_settings(theme=LIGHT.name)
        await pilot.pause()
        dropped = app.screen.query_one("NavigationBar").styles.background
        await app.go("library")
        await pilot.pause()
        assert app.screen.query_one("NavigationBar").styles.background == dropped
        assert dropped.brightness > 0.5
