"""Scores of several arms as bars."""

from __future__ import annotations

import pytest

from dnd_tui.screens.compare.scores import ArmScore, ScoreBars
from tests.tui.widget_host import WidgetHost

ARMS = [ArmScore("base", 0.25, 8, 2, 1), ArmScore("[b]mine[/b]", 0.5, 8, 4, 3)]


@pytest.mark.parametrize("width", [60, 80, 120, 300])
async def test_every_figure_is_there_at_every_width(width: int) -> None:
    bars = ScoreBars()
    app = WidgetHost(bars)
    async with app.run_test(size=(width, 20)) as pilot:
        bars.show(ARMS)
        await pilot.pause()
        text = app.shown()
        for part in ("base 0.25", "2 of 8 right 1 pick", "▲ [b]mine[/b] 0.50", "4 of 8 right 3 picks highest"):
            assert part in " ".join(text.replace("▆", "").replace("·", "").split())
        assert "…" not in text
        lengths = [line.count("▆") for line in app.lines() if "▆" in line]
        assert lengths[1] == pytest.approx(2 * lengths[0], abs=1)


async def test_only_a_difference_makes_one_highest() -> None:
    bars = ScoreBars()
    app = WidgetHost(bars)
    async with app.run_test(size=(120, 20)) as pilot:
        bars.show([ArmScore("base", 0.5, 8), ArmScore("mine", 0.5, 8), ArmScore("late", None, 0, answered=3)])
        await pilot.pause()
        assert "highest" not in app.shown() and "▲" not in app.shown()
        assert "8 judged" in app.shown() and "3 answered" in app.shown()


async def test_bars_follow_new_scores() -> None:
    bars = ScoreBars()
    app = WidgetHost(bars)
    async with app.run_test(size=(120, 20)) as pilot:
        assert app.shown() == "No scores yet"
        bars.show(ARMS)
        await pilot.pause()
        bars.show([ArmScore("base", 0.75, 12, 9), ARMS[1]])
        await pilot.pause()
        assert app.lines()[0].startswith("▲ base") and "9 of 12 right" in app.lines()[0]
        assert app.lines()[1].startswith("  [b]mine[/b]")


async def test_a_long_name_is_cut_and_nothing_else() -> None:
    bars = ScoreBars()
    app = WidgetHost(bars)
    async with app.run_test(size=(60, 20)) as pilot:
        bars.show([ARMS[0], ArmScore("an adapter with a very long name indeed", 1.0, 100, 100, 13)])
        await pilot.pause()
        assert "…  1.00  100 of 100 right  13 picks  highest" in app.lines()[2]
