"""A table that fits its place, and shows its rows whenever it is painted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.widgets.table import Table, fitting
from tests.tui.widget_host import WidgetHost

ROWS = {"a": ("✓", "topics", "0.05 to 0.28", "topics.jsonl"), "b": (" ", "mails", "not measured", "mails.csv")}


def table() -> Table:
    made = Table(("", "Name", "Score", "From"))
    made.styles.height = "1fr"
    return made


async def test_rows_that_are_painted_at_once_are_whole() -> None:
    """Painting comes before what Textual measures later: rows stayed blank, and later ones cut, until a resize."""
    app = WidgetHost(table())
    async with app.run_test(size=(60, 8)) as pilot:
        assert isinstance(app.widget, Table)
        for name in ("topics", "topics, trained on all rows"):
            app.widget.fill({"a": ("✓", name, "0.05 to 0.28", "topics.jsonl")})
            app.lines()
            await pilot.pause()
            assert app.lines()[1].split("  ") == [" ✓", name, "0.05 to 0.28", "topics.jsonl"]


async def test_columns_follow_the_width_and_the_cursor_stays() -> None:
    app = WidgetHost(table())
    async with app.run_test(size=(60, 8)) as pilot:
        assert isinstance(app.widget, Table)
        app.widget.fill(ROWS)
        app.widget.point_at("b")
        app.widget.mark("✓")
        await pilot.pause()
        assert app.lines()[0].split() == ["Name", "Score", "From"]
        await pilot.resize_terminal(30, 8)
        await pilot.pause()
        assert app.lines()[0].split() == ["Name", "Score"]
        assert app.lines()[2].split() == ["✓", "mails", "not", "measured"] and app.widget.current == "b"
        await pilot.resize_terminal(60, 8)
        await pilot.pause()
        assert app.lines()[1].endswith("topics.jsonl") and app.widget.current == "b"


@given(st.lists(st.integers(1, 80), min_size=2, max_size=7), st.integers(1, 200))
def test_widths_never_exceed_the_room(wanted: list[int], room: int) -> None:
    widths = fitting(wanted, room, 2, 1)
    assert len(widths) >= 2 and widths[1] >= 1
    if len(widths) > 2 or wanted[0] + 5 <= room:
        assert sum(widths) + 2 * len(widths) <= room or widths[1] == 1
    assert [width for at, width in enumerate(widths) if at != 1] == [
        width for at, width in enumerate(wanted[: len(widths)]) if at != 1
    ]
    if sum(wanted) + 2 * len(wanted) <= room:
        assert widths == tuple(wanted)
