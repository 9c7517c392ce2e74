"""Training that is watched: the best state stays, it ends by itself, and a killed run goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import Cancelled, EngineError
from engine.solver.fit import fresh_adapter
from engine.solver.refine import ALL_STEPS, ASKED, NO_GAIN, OUT_OF_TIME, PATIENCE, Check, RefineSettings, refine
from engine.training.packing import TokenRow
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.test_solver_fit import KINDS, made_rows

SETTINGS = RefineSettings(steps=20, seconds=1e9, rate=1e-2)


@pytest.fixture
def base() -> Any:
    return in_memory_base(tiny_model("llama"), tiny_tokenizer())


def start(base: Any) -> LoraAdapter:
    return fresh_adapter(derive_layout(base.model.config, LoraSpec(4, 4, KINDS)), 0)


def same(one: LoraAdapter, other: LoraAdapter) -> bool:
    return all(torch.equal(one.a[path], other.a[path]) and torch.equal(one.b[path], other.b[path]) for path in one.a)


def test_rows_that_it_learns_from_teach_it_the_watched_ones(base: Any) -> None:
    checks: list[Check] = []
    rows = made_rows(40)
    refined = refine(
        base, start(base), rows[:30], rows[30:], RefineSettings(steps=40, rate=1e-2), on_check=checks.append
    )
    assert refined.start and refined.best and refined.best.nats < refined.start.nats
    assert refined.best in checks and refined.best.worth == max(check.worth for check in checks)


def test_without_a_gain_the_start_is_what_stays_and_it_ends_by_itself(base: Any) -> None:
    rows = made_rows(8)
    # What is watched has other answers than what is learned.
    against = [TokenRow(row.prompt, (5, 5)) for row in rows]
    first = start(base)
    refined = refine(base, first, [TokenRow(row.prompt, (9, 9)) for row in rows], against, RefineSettings(rate=1e-1))
    assert refined.ended == NO_GAIN and refined.steps == 8 * PATIENCE and refined.best == refined.start
    update = {path: refined.adapter.b[path] @ refined.adapter.a[path] for path in first.a}
    assert all(not value.any() for value in update.values())


def test_it_ends_after_its_steps_or_its_time(base: Any) -> None:
    rows = made_rows()
    assert refine(base, start(base), rows, [], RefineSettings(steps=3)).ended == ALL_STEPS
    short = refine(base, start(base), rows, rows, RefineSettings(seconds=0))
    assert short.ended == OUT_OF_TIME and short.steps == 1


@pytest.mark.parametrize("way", [Cancelled, KeyboardInterrupt])
def test_whoever_stops_it_gets_the_best_so_far(base: Any, way: type[BaseException]) -> None:
    rows = made_rows()

    def stop(step: int, loss: float) -> None:
        if step == 11:
            raise way

    stopped = refine(base, start(base), rows, rows, SETTINGS, on_step=stop)
    assert stopped.ended == ASKED and stopped.best and stopped.best.step == 8
    assert same(stopped.adapter, refine(base, start(base), rows, rows, RefineSettings(steps=8, rate=1e-2)).adapter)


def test_a_killed_run_goes_on_to_the_same_adapter(base: Any, tmp_path: Path) -> None:
    class Killed(Exception):
        """What no handler of ours knows."""

    def kill(step: int, loss: float) -> None:
        if step == 13:
            raise Killed

    rows, state = made_rows(), tmp_path / "state.safetensors"
    whole = refine(base, start(base), rows, rows[:5], SETTINGS)
    with pytest.raises(Killed):
        refine(base, start(base), rows, rows[:5], SETTINGS, state=state, identity="one", on_step=kill)
    steps: list[int] = []
    again = refine(
        base,
        start(base),
        rows,
        rows[:5],
        SETTINGS,
        state=state,
        identity="one",
        on_step=lambda step, _: steps.append(step),
    )
    assert steps[0] <= 14 and steps[-1] == 20
    assert same(whole.adapter, again.adapter) and (whole.start, whole.best) == (again.start, again.best)
    with pytest.raises(EngineError, match="another"):
        refine(base, start(base), rows, rows[:5], SETTINGS, state=state, identity="other")


def test_a_start_that_knows_the_watched_rows_is_not_kept_for_what_they_show(base: Any) -> None:
    rows = made_rows(12)
    steps = RefineSettings(steps=8, seconds=1e9, rate=1e-2)
    known = refine(base, start(base), rows, rows, RefineSettings(steps=60, seconds=1e9, rate=1e-2)).adapter
    # What is learned from other rows is worse on these.
    others = [TokenRow(row.prompt, made_rows(13)[-1].answer) for row in rows[:4]]
    judged, flattered = (
        refine(base, known, others, rows, RefineSettings(**{**vars(steps), "start_knows": knows}))
        for knows in (False, True)
    )
    assert judged.best and judged.best.step == 0
    assert flattered.best and flattered.start and flattered.best.step > 0
    assert flattered.best.worth < flattered.start.worth and not same(flattered.adapter, judged.adapter)
