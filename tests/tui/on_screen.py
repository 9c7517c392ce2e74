"""What stands on the screen of an app under test, and the mouse on it: found by its text, as a person does."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot


def lines(app: App[None]) -> list[str]:
    """The screen, line by line."""
    return ["".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()]


def shows(app: App[None], text: str) -> bool:
    """Whether `text` stands on one line of the screen."""
    return any(text in line for line in lines(app))


def place_of(app: App[None], text: str, beside: str = "") -> tuple[int, int]:
    """Column and line of the last `text` between the bar on top and the keys below, on a line that holds `beside`."""
    shown = lines(app)
    for line in reversed(range(1, len(shown) - 1)):
        if text in shown[line] and beside in shown[line]:
            before = shown[line][: shown[line].index(text)]
            return cell_len(before) + len(text) // 2, line
    raise AssertionError(f"{text!r} is not on the screen:\n" + "\n".join(shown))


async def click_on(pilot: Pilot[None], text: str, beside: str = "") -> None:
    """Click on a text, found as `place_of` finds it, once it stands still: a screen just opened moves its parts."""
    place, before = place_of(pilot.app, text, beside), None
    while place != before:
        await pilot.pause(0.1)
        place, before = place_of(pilot.app, text, beside), place
    await pilot.click(offset=place)
