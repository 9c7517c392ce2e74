"""Chains by length and score, and one chain as a strip."""

from __future__ import annotations

import pytest

from dnd_tui.screens.depth.chain_view import LayerStrip
from dnd_tui.screens.depth.search import SIGNS, ParetoPlot, Point, plotted
from engine.depth.chain import parse_chain
from tests.tui.conftest import until
from tests.tui.widget_host import WidgetHost

POINTS = [
    Point("0-5", 6, 0.5, 32),
    Point("0-4", 5, 0.45, 32),
    Point("0-3", 4, 0.3, 32),
    Point("0-5,5", 7, 0.6, 32),
    Point("1-5", 5, 0.1, 8),
    Point("0-1", 2, 0.0, 2),
]


def test_every_point_has_one_kind_and_what_matters_is_drawn_last() -> None:
    kinds = plotted(POINTS, front=["0-3", "0-5,5"], base="0-5", chosen="0-5,5")
    assert {kind: [point.chain for point in some] for kind, some in kinds.items()} == {
        "few": ["1-5", "0-1"],
        "whole": ["0-4"],
        "front": ["0-3"],
        "base": ["0-5"],
        "chosen": ["0-5,5"],
    }
    assert list(plotted(POINTS, [], "0-5", "0-5")) == ["few", "whole", "chosen"]
    assert plotted([], [], "", "") == {}


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_signs_axes_and_legend_at_every_size(size: tuple[int, int]) -> None:
    plot = ParetoPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=size) as pilot:
        assert "No chains yet" in app.shown()
        plot.show(POINTS, front=["0-3"], base="0-5", chosen="0-5,5")
        await until(pilot, lambda: "score by layers" in app.shown(), "the legend")
        await until(pilot, lambda: app.shown().count(SIGNS["base"]) == 2, "the base in legend and plot")
        text = app.shown()
        assert text.count(SIGNS["chosen"]) == 2 and "on few rows" in text and "to choose from" in text
        assert "4" in text.split() and {"0.0", "0.5", "0.50"} & set(text.split())


async def test_one_chain_alone_and_no_room() -> None:
    plot = ParetoPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(60, 20)) as pilot:
        plot.show(POINTS[:1], base="0-5", chosen="")
        await until(pilot, lambda: app.shown().count(SIGNS["base"]) == 2, "the point")
        await pilot.resize_terminal(20, 20)
        await until(pilot, lambda: "No room for a plot here" in app.shown(), "why there is none")


async def test_a_strip_fits_its_width() -> None:
    strip = LayerStrip()
    app = WidgetHost(strip)
    async with app.run_test(size=(100, 12)) as pilot:
        assert app.lines()[0] == "No chain yet"
        strip.show(parse_chain("0-12,10-12,15-29", 30), 30)
        await until(pilot, lambda: "25 kept" in app.shown(), "the strip")
        assert app.lines()[1].startswith("■■ ■■") and "2× 2× 2× ·· ··" in app.lines()[1] and strip.size.height == 4
        await pilot.resize_terminal(40, 12)
        await until(pilot, lambda: "222··" in app.lines()[1], "narrow cells")
        await pilot.resize_terminal(20, 12)
        await until(pilot, lambda: strip.size.height == 6, "two lines")
        strip.clear()
        await until(pilot, lambda: "No chain yet" in app.shown(), "nothing")
