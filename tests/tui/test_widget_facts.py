"""Lines of label and value."""

from __future__ import annotations

from dnd_tui.widgets.lines import Facts
from tests.tui.widget_host import WidgetHost

LINES = [("base model", "SmolLM2"), ("prompts", "32 of 1,204"), ("note", "")]


async def test_values_are_taken_literally_and_wrap() -> None:
    path = "/home/someone/" + "a-long-folder-name/" * 6 + "[b]prompts[/b].jsonl"
    app = WidgetHost(Facts([("file", path), ("evil", "\x1b[31m")]))
    async with app.run_test(size=(60, 20)):
        lines = app.lines()
        assert path in "".join(line[6:] if line[:4].strip() in ("", "file") else "|" for line in lines)
        assert "\\x1b[31m" in app.shown()
        assert max(map(len, lines)) <= 60


async def test_an_empty_value_is_a_dash() -> None:
    app = WidgetHost(Facts(LINES))
    async with app.run_test(size=(60, 20)):
        assert app.lines()[2].split() == ["note", "-"]


async def test_new_values_and_new_labels() -> None:
    facts = Facts(LINES)
    app = WidgetHost(facts)
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("tab", "down")
        facts.set([*LINES[:1], ("prompts", "8 of 8"), *LINES[2:]])
        await pilot.pause()
        assert app.lines()[1].split() == ["prompts", "8", "of", "8"]
        await pilot.press("c")
        assert app.copied == [("8 of 8", "prompts")]
        facts.set([("device", "cpu")])
        await pilot.pause()
        assert app.shown() == "device cpu"


async def test_keys_choose_and_copy() -> None:
    app = WidgetHost(Facts(LINES))
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("tab", "c", "down", "down", "down", "up", "c")
        assert app.copied == [("SmolLM2", "base model"), ("32 of 1,204", "prompts")]


async def test_a_click_chooses() -> None:
    app = WidgetHost(Facts(LINES))
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.click(Facts, offset=(20, 1))
        await pilot.press("c")
        assert app.copied == [("32 of 1,204", "prompts")]


async def test_the_mouse_selects_a_value_without_its_label() -> None:
    app = WidgetHost(Facts(LINES))
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.mouse_down(Facts, offset=(12, 1))
        await pilot.hover(Facts, offset=(19, 1))
        await pilot.mouse_up(Facts, offset=(19, 1))
        assert app.screen.get_selected_text() == "32 of 1,"


async def test_nothing_to_show() -> None:
    app = WidgetHost(Facts())
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("tab", "down", "c")
        assert app.shown() == "" and app.copied == []
