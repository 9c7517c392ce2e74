"""The table of chains over tasks: what its figures are, and how it looks."""

from __future__ import annotations

import pytest

from engine.depth.chain import identity
from engine.depth.scores import RowScores
from engine.depth.table import ARMS, Cell, DepthTable, TaskCells, as_markdown
from engine.depth.view import Speed

LAYERS = 8
RIGHT = {"base": 10, "skip": 12, "loop": 9, "both": 24, "adapter": 30, "adapter_chain": 2}


def scores(right: int) -> RowScores:
    return RowScores((True,) * right + (False,) * (40 - right), (1.0,) * 40)


def task(name: str = "words", arms: tuple[str, ...] = tuple(ARMS), *, speed: bool = True) -> TaskCells:
    cells = {
        arm: Cell(identity(LAYERS - place), scores(RIGHT[arm]), None if arm in ("base", "adapter") else 5)
        for place, arm in enumerate(arms)
    }
    speeds = {arm: Speed(100 * (1 + place), 10.0 + place) for place, arm in enumerate(arms)} if speed else {}
    return TaskCells(name, "unseen", 32, cells, speeds)


def table_of(settings: dict[str, int], *tasks: TaskCells) -> DepthTable:
    return DepthTable(settings, {one.name: one for one in tasks})


def test_every_arm_is_compared_with_the_base() -> None:
    data = table_of({"chains": 9}, task()).to_json()
    arms = data["tasks"][0]["arms"]
    assert list(arms) == list(ARMS)
    assert [arms[arm]["right"] for arm in ARMS] == list(RIGHT.values())
    assert arms["both"]["against_base"]["gained"] == 14 and arms["both"]["against_base"]["verdict"] == "reliable gain"
    assert arms["skip"]["against_base"]["verdict"] == "no reliable gain"
    assert arms["adapter_chain"]["against_base"]["verdict"] == "reliable loss"
    assert arms["adapter_chain"]["against_adapter"]["lost"] == 28
    assert arms["adapter"]["against_adapter"] is None
    assert arms["skip"]["speed_ratio"] == {"prefill": 2.0, "decode": 1.1}
    assert arms["skip"]["search_right"] == 5 and arms["base"]["search_right"] is None


def test_means_are_over_tasks_that_are_whole() -> None:
    table = table_of({}, task(), task("more"), task("begun", ("base", "skip")))
    mean = table.arm("skip")
    assert mean["tasks"] == 2 and mean["accuracy"] == pytest.approx(0.3) and mean["layers"] == 7
    assert mean["decode_ratio"] == pytest.approx(1.1) and mean["prefill_ratio"] == pytest.approx(2)
    assert (table.arm("adapter")["reliable_gains"], table.arm("adapter_chain")["reliable_losses"]) == (2, 2)


def test_speed_ratios_are_meant_geometrically() -> None:
    fast, slow = task(speed=False), task("slow", speed=False)
    speeds = [{"base": Speed(1, 1), "skip": Speed(factor, factor)} for factor in (4.0, 0.25)]
    table = table_of(
        {}, *(TaskCells(one.name, "", 9, one.cells, found) for one, found in zip((fast, slow), speeds, strict=True))
    )
    assert table.arm("skip")["decode_ratio"] == pytest.approx(1)


def test_the_markdown_has_a_line_for_every_finished_arm() -> None:
    table = table_of({"chains": 9}, task(), task("begun", ("base", "skip"), speed=False))
    table.left_out["tiny"] = "2 rows"
    text = as_markdown(table)
    assert "| Best of both | 60.0% | 5.0 | 4.00 | 1.30 | 1 | 0 |" in text
    assert "| words | 25.0% | 30.0% | 22.5% | 60.0% | 75.0% | 5.0% |" in text
    assert "| begun | 25.0% | 30.0% | - | - | - | - |" in text
    assert (
        "| words | unseen | Best skips | `0-6` | 7 | 5 of 32 | 12 of 40 | 30.0%, 18.1% to 45.4% | 2, 0, 0.5 | "
        "200 (2.00) | 11.0 (1.10) |" in text
    )
    assert "| begun | unseen | Base | `0-7` | 8 | - | 10 of 40 | 25.0%, 14.2% to 40.2% | - | - | - |" in text
    assert "- words: 0 gained, 28 lost, p = " in text
    assert "- tiny: not measured, 2 rows" in text and "Made with: chains 9." in text


def test_a_table_without_anything_is_one_too() -> None:
    table = DepthTable({})
    assert table.arm("base")["accuracy"] is None
    assert "| Base | - | - | - | - |  |  |" in as_markdown(table)
