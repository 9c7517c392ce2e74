"""The stages of a job, live."""

from __future__ import annotations

import re

import pytest

from dnd_tui.widgets.stages import StageList
from engine.events import AnswerText, Note, StageAdvanced, StageFinished, StageStarted
from tests.tui.conftest import until
from tests.tui.widget_host import WidgetHost


def row(app: WidgetHost, name: str) -> str:
    """The line of a stage, single spaces, without its bar."""
    line = next(line for line in app.lines() if line[2:].startswith(name))
    return " ".join("".join(" " if mark in "━─╸╍" else mark for mark in line).split())


def bar(app: WidgetHost, name: str) -> str:
    line = next(line for line in app.lines() if line[2:].startswith(name))
    return "".join(mark for mark in line if mark in "━─╸╍")


async def test_expected_stages_wait_and_are_done_one_after_the_other() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(120, 20)) as pilot:
        stages.expect(("load", "encode"))
        await pilot.pause()
        assert (row(app, "load"), row(app, "encode")) == ("· load", "· encode")
        stages.handle(StageStarted("load"))
        await pilot.pause()
        assert row(app, "load").startswith("▶ load")
        stages.handle(StageFinished("load", 2.31, 412_000_000, "float32"))
        stages.handle(StageStarted("encode", 32))
        stages.handle(StageAdvanced("encode", 8, 32, 61.0, {"tokens/s": 1310.0}))
        await pilot.pause()
        assert row(app, "load") == "✓ load 2.3 s 412 MB float32"
        assert row(app, "encode").startswith("▶ encode 8/32 1 min 01 s")
        assert "tokens/s 1310" in app.shown()


async def test_a_stage_that_comes_again_keeps_its_row_and_adds_its_seconds() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(120, 20)) as pilot:
        for seconds in (1.5, 2.0):
            stages.handle(StageStarted("write"))
            stages.handle(StageFinished("write", seconds))
        await pilot.pause()
        assert row(app, "write") == "✓ write 3.5 s"
        assert len([line for line in app.lines() if line]) == 1


async def test_time_left_and_figures_of_the_running_stage() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(160, 20)) as pilot:
        stages.handle(StageStarted("train", 100))
        stages.handle(StageAdvanced("train", 10, 100, 1000.0))
        stages.handle(StageAdvanced("train", 60, 100, 1500.0, {"loss": 1.25}))
        await pilot.pause()
        assert "60/100 25 min 00 s loss 1.25, 6 min 40 s left" in row(app, "train")
        heavy, light = bar(app, "train").count("━"), bar(app, "train").count("─")
        assert heavy == pytest.approx(1.5 * light, abs=2)


async def test_the_time_of_a_running_stage_goes_on_and_stands_still_afterwards() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(120, 20)) as pilot:
        stages.handle(StageStarted("load"))
        await pilot.pause()
        first = row(app, "load"), bar(app, "load")
        await until(pilot, lambda: row(app, "load") != first[0], "the time to go on")
        assert set(bar(app, "load")) == {"━", "─"}  # a piece that wanders: nothing is known of the total
        stages.handle(StageFinished("load", 0.25))
        await pilot.pause()
        assert row(app, "load") == "✓ load 0.2 s"


@pytest.mark.parametrize("outcome", ["stopped", "failed"])
async def test_the_stage_that_was_running_tells_how_the_job_ended(outcome: str) -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(60, 20)) as pilot:
        stages.expect(("load", "train", "write"))
        stages.handle(StageStarted("load"))
        stages.handle(StageFinished("load", 1.0))
        stages.handle(StageStarted("train", 10))
        stages.stop(outcome)  # type: ignore[arg-type]
        await pilot.pause()
        assert row(app, "train").startswith("✗ train 0/10") and outcome in app.shown()
        assert row(app, "load").startswith("✓") and row(app, "write") == "· write"


async def test_figures_that_come_later_get_a_line() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(60, 20)) as pilot:
        stages.handle(StageStarted("train", 10))
        await pilot.pause()
        stages.handle(StageAdvanced("train", 1, 10, 2.0, {"loss": 1.25}))
        await until(pilot, lambda: "loss 1.25" in app.shown(), "the loss")


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40), (300, 80)])
async def test_name_count_and_seconds_have_room_at_every_width(size: tuple[int, int]) -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=size) as pilot:
        stages.handle(StageStarted("fetch base", 98_000_000, "bytes"))
        stages.handle(StageAdvanced("fetch base", 12_000_000, 98_000_000, 3725.0, {"MB/s": 1.5}))
        stages.handle(StageStarted("a stage with a name that is much too long for a row"))
        await pilot.pause()
        assert row(app, "fetch base").startswith("▶ fetch base 12 MB of 98 MB 1 h 02 min")
        assert "MB/s 1.5" in app.shown()
        assert re.search(r" \d+\.\d s$", row(app, "a stage")) and len(bar(app, "a stage")) >= 8


async def test_a_new_list_forgets_the_job_before() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(80, 20)) as pilot:
        stages.handle(StageStarted("load"))
        stages.expect(("encode",))
        await pilot.pause()
        assert app.shown().startswith("· encode") and "load" not in app.shown()


async def test_what_is_expected_instead_keeps_what_has_begun() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(80, 20)) as pilot:
        stages.expect(("read", "solve", "fit"))
        stages.handle(StageStarted("read"))
        stages.handle(StageFinished("read", 1.5))
        stages.expect_instead(("read", "answer", "solve"))
        await pilot.pause()
        assert [line.split()[:2] for line in app.lines()[:3]] == [["✓", "read"], ["·", "answer"], ["·", "solve"]]
        assert "1.5 s" in row(app, "read")


async def test_stages_that_a_job_did_without_are_left_out_at_its_end() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(80, 20)) as pilot:
        stages.expect(("read", "check", "write"))
        stages.handle(StageFinished("read", 1.5))
        stages.stop("done")
        await pilot.pause()
        assert "read" in app.shown() and "check" not in app.shown()


async def test_a_stage_that_begins_below_the_screen_is_scrolled_to() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(80, 10)) as pilot:
        names = tuple(f"stage {number}" for number in range(30))
        stages.expect(names)
        await pilot.pause()
        stages.handle(StageStarted(names[-1]))
        await until(pilot, lambda: "▶ stage 29" in app.shown(), "the running stage")


async def test_what_is_not_about_stages_is_passed_over() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(80, 10)) as pilot:
        stages.handle(Note("hello"))
        stages.handle(AnswerText(1, "base", "hello"))
        await pilot.pause()
        assert app.shown() == ""


async def test_steps_of_a_stage_that_never_began_are_shown() -> None:
    stages = StageList()
    app = WidgetHost(stages)
    async with app.run_test(size=(80, 10)) as pilot:
        stages.handle(StageAdvanced("train", 3, 10, 2.0))
        await pilot.pause()
        assert row(app, "train").startswith("▶ train 3/10 2.0 s")
