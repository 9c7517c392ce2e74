"""On every screen, wherever the focus is: each key that the bar below shows does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from dnd_tui.app import DndApp
from dnd_tui.screens.base import TabbedScreen
from dnd_tui.widgets.bars import KeyBar
from tests.tui.conftest import until
from tests.tui.still_life import still_life  # noqa: F401 - a fixture
from tests.tui.test_snapshots import STATES, settled

WALKED = (
    "drop, preview",
    "generate, solved",
    "compare, answered",
    "export, an adapter chosen",
    "library, two adapters",
    "forge",
    "settings",
    "log",
    "depth, a chain found",
)


@pytest.mark.parametrize("state", WALKED)
async def test_every_key_of_the_bar_does_what_it_says(
    state: str,
    still_life: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = DndApp()
    async with app.run_test(size=(200, 50)) as pilot:
        await STATES[state](pilot, app, still_life)
        await settled(pilot)
        pressed: set[tuple[str, str]] = set()
        screen: Any = app.screen
        for tab in (
            [str(pane.id) for pane in screen.tabs.query("TabPane")] if isinstance(screen, TabbedScreen) else [""]
        ):
            if tab:
                screen.open_tab(tab)
                await settled(pilot)
            for widget in list(screen.focus_chain):
                widget.focus()
                await pilot.pause()
                if app.focused is widget:  # else the screen has changed meanwhile
                    await _check(pilot, app, pressed, monkeypatch)
        assert pressed


async def _check(
    pilot: Pilot[None], app: DndApp, pressed: set[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that are shown, each pressed once by name and what it does."""
    shown = {(binding.key, binding.action): each for each in _active(app) for binding in [each.binding]}
    bar = app.screen.query_one(KeyBar)
    await until(pilot, lambda: _keys(bar) <= set(shown), "the bar")
    for (key, action), each in shown.items():
        where = f"{key} ({each.binding.description}) with the focus on {app.focused}"
        namespace, name, _ = app._parse_action(action, each.node)
        assert namespace is not None, where
        assert hasattr(namespace, f"action_{name}") or hasattr(namespace, f"_action_{name}"), f"{where} does nothing"
        if not each.enabled or (key, action) in pressed:
            continue
        pressed.add((key, action))
        ran: list[str] = []

        async def run(action: Any, *rest: Any, ran: list[str] = ran, **more: Any) -> bool:
            ran.append(action)
            return True

        with monkeypatch.context() as patched:
            patched.setattr(app, "run_action", run)
            await pilot.press(key)
            await until(pilot, lambda ran=ran, action=action: action in ran, f"{action} by {where}")


def _active(app: DndApp) -> list[Any]:
    return [
        each for each in app.screen.active_bindings.values() if each.binding.show or each.binding.id == "app.commands"
    ]


def _keys(bar: KeyBar) -> set[tuple[str, str]]:
    keys: list[Any] = list(bar.query("FooterKey"))
    return {(key.key, key.action) for key in keys}
