"""Streamed answers, an arm a column or a tab."""

from __future__ import annotations

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot

from dnd_tui.screens.compare.answer_text import AnswerText
from dnd_tui.screens.compare.answers import AnswerPane, AnswerPanes, StateLine
from dnd_tui.screens.compare.rows import Answer
from tests.tui.conftest import until
from tests.tui.widget_host import WidgetHost

ARMS = ["base", "adapter"]
LONG = " ".join(f"word{number}" for number in range(400))


async def begun(pilot: Pilot[None], panes: AnswerPanes, arms: list[str], prompt: str = "How many legs?") -> None:
    panes.begin(prompt, arms, ("4", "four"))
    await until(pilot, lambda: len(panes.query(AnswerText)) == len(arms), "the panes")
    await pilot.pause()


def ended(score: float | None = None, first: float | None = None, rate: float | None = None, asked: int = 0) -> Answer:
    """An answer of which this is known; at so many tokens a second after the first one."""
    seconds = (first or 0.0) + (1 / rate if rate else 0.0)
    return Answer("", True, score, asked, 2 if rate else 1, first, seconds)


def texts(panes: AnswerPanes) -> list[AnswerText]:
    return list(panes.query(AnswerText))


async def test_prompt_references_and_answers_side_by_side() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.shown() == "No answers yet"
        await begun(pilot, panes, ARMS)
        assert "How many legs? reference: 4 | four" in app.shown().replace("▌ ", "").replace("▐ ", "")
        assert app.shown().count("· not answered yet") == 2
        panes.begin("How many legs?", ARMS, ("4", "four"), waiting=True)
        await until(pilot, lambda: app.shown().count("· waiting") == 2, "what was asked for")
        panes.append("base", "Cats have")
        panes.append("adapter", "Four")
        await until(pilot, lambda: "Cats have" in app.shown() and "Four" in app.shown(), "both answers")
        assert app.shown().count("● streaming") == 2
        line = next(line for line in app.lines() if "Cats have" in line)
        assert line.index("Four") > 38


async def test_a_prompt_that_comes_while_the_panes_are_made_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = AnswerPanes.compose

    def and_another(panes: AnswerPanes) -> ComposeResult:
        yield from compose(panes)
        if panes._panes and panes._prompt == "How many legs?":
            panes.begin("And how many wings?", ARMS, ("2",))

    monkeypatch.setattr(AnswerPanes, "compose", and_another)
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        await until(pilot, lambda: "And how many wings?" in app.shown(), "the later prompt")
        assert "reference: 2" in app.shown() and "How many legs?" not in app.shown()


async def test_what_a_model_writes_is_shown_literally() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(100, 24)) as pilot:
        await begun(pilot, panes, ["[b]base[/b]", "x"], "[red]prompt[/red] \x1b[2J")
        panes.append("[b]base[/b]", "[bold]no[/bold] \x1b[31mred \\[ $x")
        await until(pilot, lambda: "[bold]no[/bold] \\x1b[31mred \\[ $x" in app.shown(), "the answer")
        assert "[red]prompt[/red] \\x1b[2J" in app.shown() and "[b]base[/b]" in app.shown()


async def test_many_pieces_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    append = AnswerText.append
    monkeypatch.setattr(AnswerText, "append", lambda text, piece: (drawn.append(piece), append(text, piece)))
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        for number in range(400):
            panes.append("base", f"{number} ")
        await until(pilot, lambda: "399" in app.shown(), "the last piece")
        assert len(drawn) == 1


@pytest.mark.parametrize(
    ("score", "told"), [(1.0, "✓ right"), (0.0, "✗ wrong"), (0.62, "■ score 0.62"), (None, "■ done")]
)
async def test_how_an_answer_ended(score: float | None, told: str) -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(120, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.append("adapter", "Four.")
        panes.finish("adapter", ended(score, 0.21, 35.123))
        await pilot.pause()
        assert f"{told} 0.2 s to first, 35.1 tokens/s" in app.shown()
        assert panes.answer("adapter") == "Four." and "Four." in app.shown()


async def test_figures_that_are_not_known_are_left_out() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(120, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.finish("base", ended())
        await pilot.pause()
        assert "■ done" in app.shown() and "token" not in app.shown()


@pytest.mark.parametrize(("width", "told"), [(130, True), (100, False)])
async def test_the_tokens_of_a_query_are_told_where_there_is_room(width: int, told: bool) -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(width, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.finish("base", ended(1.0, 0.21, 35.1, 1234))
        await pilot.pause()
        assert ("35.1 tokens/s, 1234 tokens a query" in app.shown()) is told
        assert "0.2 s to first, 35.1 tokens/s" in app.shown() and "…" not in app.shown()
        line = panes.query(StateLine).first()
        assert line.tooltip == "✓ right  0.2 s to first, 35.1 tokens/s, 1234 tokens a query"


async def test_the_end_is_followed_until_the_person_scrolls_up() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.append("base", LONG)
        await until(pilot, lambda: "word399" in app.shown(), "the end")
        texts(panes)[0].focus()
        await pilot.press("home")
        await until(pilot, lambda: "word0 " in app.shown(), "the beginning")
        panes.append("base", " and more")
        await until(pilot, lambda: panes.answer("base").endswith("more"), "more text")
        await pilot.pause()
        assert "word0 " in app.shown() and "and more" not in app.shown()
        await pilot.press("end")
        await until(pilot, lambda: "and more" in app.shown(), "the end again")
        panes.append("base", "\nlast line\n" * 3)
        await until(pilot, lambda: "last line" in app.shown(), "the end once more")


async def test_the_wheel_scrolls_up_too() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.append("base", LONG)
        await until(pilot, lambda: "word399" in app.shown(), "the end")
        text = texts(panes)[0]
        before = text.scroll_offset.y
        text.scroll_up(animate=False, immediate=True)
        panes.append("base", "\n\n\nmore")
        await until(pilot, lambda: panes.answer("base").endswith("more"), "more text")
        await pilot.pause()
        assert text.scroll_offset.y == before - 1


async def test_a_narrow_terminal_has_tabs_and_a_wide_one_columns() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(60, 20)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.append("base", "from the base")
        panes.append("adapter", "from the adapter")
        panes.finish("adapter", ended(1.0))
        await until(pilot, lambda: "from the base" in app.shown(), "the first tab")
        assert "from the adapter" not in app.shown() and "✓ adapter" in app.shown() and panes.current == "base"
        texts(panes)[0].focus()
        await pilot.press("right")
        await until(pilot, lambda: "from the adapter" in app.shown(), "the second tab")
        assert "from the base" not in app.shown() and panes.current == "adapter"
        await pilot.click("#arm-0")
        await until(pilot, lambda: "from the base" in app.shown(), "the first tab again")
        await pilot.resize_terminal(120, 30)
        await until(pilot, lambda: "from the base" in app.shown() and "from the adapter" in app.shown(), "columns")


async def test_more_columns_than_fit_scroll_to_the_one_with_the_focus() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(100, 24)) as pilot:
        arms = [f"adapter {number}" for number in range(5)]
        await begun(pilot, panes, arms)
        assert "adapter 0" in app.shown() and "adapter 4" not in app.shown()
        texts(panes)[0].focus()
        await pilot.press(*["right"] * 4)
        await until(pilot, lambda: "adapter 4" in app.shown(), "the last column")
        assert panes.current == "adapter 4"


async def test_a_long_text_is_wrapped_anew_in_another_width() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 60)) as pilot:
        await begun(pilot, panes, ["base"])
        panes.append("base", LONG[:600])
        await until(pilot, lambda: "word50" in app.shown(), "the text")
        await pilot.resize_terminal(50, 60)
        await until(pilot, lambda: max(map(len, app.lines())) <= 50 and "word50" in app.shown(), "the narrow text")
        shown = " ".join(app.shown().split())
        assert " ".join(LONG[:600].split()[:50]) in shown


async def test_differing_words_are_marked_once_both_answers_are_complete() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)

    def marked(number: int) -> str:
        strip = texts(panes)[number].render_line(0)
        return "".join(part.text for part in strip if part.style and part.style.underline and part.style.bold)

    async with app.run_test(size=(120, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.append("base", "It has four legs")
        panes.finish("base", ended())
        panes.append("adapter", "It has six legs")
        await until(pilot, lambda: "six" in app.shown(), "both answers")
        assert marked(1) == ""
        panes.finish("adapter", ended())
        assert (marked(0), marked(1)) == ("four", "six")
        panes.toggle_differences()
        assert (marked(0), marked(1)) == ("", "")
        panes.toggle_differences()
        assert (marked(0), marked(1)) == ("four", "six")


async def test_the_picked_arm_is_marked_by_a_word() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.set_picked("adapter")
        await until(pilot, lambda: "◆ picked: adapter" in app.shown(), "the mark")
        panes.set_picked(None)
        await until(pilot, lambda: "picked" not in app.shown(), "no mark")


async def test_another_prompt_for_the_same_arms_begins_anew_in_the_same_panes() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        before = list(panes.query(AnswerPane))
        panes.append("base", LONG)
        panes.finish("base", ended(1.0, 1.0, 1.0))
        panes.set_picked("base")
        await pilot.pause()
        await begun(pilot, panes, ARMS, "Another question?")
        assert list(panes.query(AnswerPane)) == before
        assert "Another question?" in app.shown() and "word" not in app.shown() and "picked" not in app.shown()
        panes.append("base", LONG)
        await until(pilot, lambda: "word399" in app.shown(), "the end of the new answer")


async def test_text_that_comes_before_the_panes_are_there_is_not_lost() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        panes.begin("", ARMS)
        panes.append("base", "one\ntwo\n")
        panes.finish("base", ended())
        panes.append("adapter", "three")
        await until(pilot, lambda: "three" in app.shown(), "the answers")
        assert "one" in app.shown() and "two" in app.shown() and "reference" not in app.shown()


async def test_the_key_copies_and_the_mouse_selects() -> None:
    panes = AnswerPanes()
    app = WidgetHost(panes)
    async with app.run_test(size=(80, 24)) as pilot:
        await begun(pilot, panes, ARMS)
        panes.append("adapter", "first line\n" + "so many words that they need a second row")
        await until(pilot, lambda: "first line" in app.shown(), "the answer")
        text = texts(panes)[1]
        text.focus()
        await pilot.press("c")
        assert app.copied == [(panes.answer("adapter"), "the answer of adapter")]
        await pilot.mouse_down(text, offset=(6, 0))
        await pilot.hover(text, offset=(5, 2))
        await pilot.mouse_up(text, offset=(5, 2))
        selected = app.screen.get_selected_text() or ""
        assert selected.startswith("line\nso many words that they need") and "\n" not in selected[5:]
