"""Curves of a training run, live."""

from __future__ import annotations

import math

import pytest
from textual.pilot import Pilot

from dnd_tui.widgets.curves import LossCanvas
from dnd_tui.widgets.loss_plot import LossPlot
from tests.tui.conftest import until
from tests.tui.widget_host import WidgetHost


def is_dots(character: str) -> bool:
    return 0x2800 < ord(character) < 0x2900


def fill(plot: LossPlot, points: int, curve: str = "training") -> None:
    for step in range(points):
        plot.add(curve, step, 3 * math.exp(-step / points) + 0.1 * (step % 2))


async def drawn(pilot: Pilot[None], app: WidgetHost, label: str) -> None:
    """Wait until a text, such as the label of a tick, is on the screen."""
    await until(pilot, lambda: label in app.shown(), label)


async def test_it_says_why_there_is_no_plot() -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        await drawn(pilot, app, "No points yet")
        plot.add("training", 1, 2.5)
        await drawn(pilot, app, "One step so far")
        assert "training 2.5" in app.lines()[0]
        plot.add("training", 2, 2.4)
        await until(pilot, lambda: any(map(is_dots, app.shown())), "the plot")
        plot.clear()
        await drawn(pilot, app, "No points yet")


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (300, 80)])
async def test_axes_legend_and_curves_at_every_size(size: tuple[int, int]) -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=size) as pilot:
        fill(plot, 2000)
        fill(plot, 1500, "validation")
        await drawn(pilot, app, "validation 1.2")
        await drawn(pilot, app, "1000")
        text = "".join(app.lines())
        assert "0" in app.lines()[-1].split() and any(label in text for label in ("2.0", " 2 "))
        # Different characters for different curves.
        assert sum(map(is_dots, text)) > 20 and sum(text.count(mark) for mark in "▀▄▌▐▖▗▘▝▚▞") > 20


async def test_points_that_are_not_finite_are_counted() -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        fill(plot, 100)
        for value in (math.nan, math.inf, -math.inf):
            plot.add("training", 100, value)
        await drawn(pilot, app, "3 left out (not finite)")


async def test_the_scale_changes_by_key_and_by_click() -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        for step in range(100):
            plot.add("training", step, 10 ** (step / 25 - 3) if step else 0.0)
        await until(pilot, lambda: plot.query_one(LossCanvas).display, "the plot")
        await pilot.press("tab", "l")
        await drawn(pilot, app, "log scale")
        assert "1 left out (not above 0)" in app.shown()
        assert {"0.01", "0.1", "1"} <= set(app.shown().split())
        await pilot.click(".scale")
        await drawn(pilot, app, "linear scale")
        assert "not above 0" not in app.shown() and {"0.01", "0.1"} & set(app.shown().split()) == set()


async def test_many_points_and_few_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = []
    monkeypatch.setattr(LossCanvas, "fit_ticks", lambda *size, **scale: drawings.append(size))
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        fill(plot, 100_000)
        plot.add("training", 100_001, 99.0)  # one peak among so many is not lost
        await drawn(pilot, app, "100")
        assert len(drawings) <= 2


async def test_a_zoomed_plot_stays_where_it_is_until_all_is_shown_again() -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        fill(plot, 100)
        await drawn(pilot, app, "80")
        await pilot.press("tab", *["plus"] * 8)
        await until(pilot, lambda: "80" not in app.lines()[-1].split(), "zooming in")
        axis = app.lines()[-1]
        plot.add("training", 100, 1.0)
        await drawn(pilot, app, "training 1 ")
        assert app.lines()[-1] == axis
        await pilot.press("r")
        await drawn(pilot, app, "80")
        plot.add("training", 400, 1.0)
        await drawn(pilot, app, "400")


async def test_values_that_are_all_the_same() -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        for step in range(50):
            plot.add("training", step, 2.0)
        await until(pilot, lambda: any(map(is_dots, app.shown())), "the plot")
        assert "2.0" in app.shown()


async def test_without_colours_it_grows_and_shrinks_with_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        fill(plot, 100)
        await drawn(pilot, app, "80")
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: "80" in app.lines()[-1] and len(app.lines()) == 40, "the larger plot")
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: not plot.query_one(LossCanvas).display, "the plot to give way")


async def test_another_theme_gives_other_colours() -> None:
    plot = LossPlot()
    app = WidgetHost(plot)
    async with app.run_test(size=(80, 24)) as pilot:
        fill(plot, 100)
        await drawn(pilot, app, "80")

        def colours() -> set[str]:
            canvas = plot.query_one("#plot")
            strips = [canvas.render_line(y) for y in range(canvas.size.height)]
            return {str(part.style.color) for strip in strips for part in strip if part.style and part.text.strip()}

        before = colours()
        app.theme = "textual-light"
        await until(pilot, lambda: len(colours() - before) > 1, "the new colours")
