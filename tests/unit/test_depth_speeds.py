"""Speed in turns, on a clock that is made up: what other work on the machine does to it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest

from engine.depth import view
from engine.depth.view import Speed, measure_speed


def made_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reading takes 1 s, a token 0.1 s and of "chain" 0.05 s, nine times as long in a third of all steps.

    Returns the models in the order of their turns.
    """
    clock, turns = [0.0], []
    chance = random.Random(0)

    def stream(
        model: str, tokenizer: object, prompts: list[list[int]], *, max_new_tokens: int, stop_ids: list[int],
        on_step: Callable[[], None],
    ) -> Iterator[int]:  # fmt: skip
        turns.append(model)
        on_step()
        slow = chance.sample(range(max_new_tokens), max_new_tokens // 3)
        for step in range(max_new_tokens):
            clock[0] += (1.0 if step == 0 else 0.1 if model == "base" else 0.05) * (9 if step in slow else 1)
            yield step
            on_step()

    monkeypatch.setattr(view, "stream_answers", stream)
    monkeypatch.setattr(view.time, "perf_counter", lambda: clock[0])
    return turns


MODELS = {"base": "base", "chain": "chain"}


def test_work_beside_it_makes_no_difference_while_every_step_has_a_round_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No whole round is without other work here."""
    turns = made_up(monkeypatch)
    heard: list[int] = []
    found = measure_speed(MODELS, None, [1] * 20, lambda: heard.append(1), seconds=math.inf)
    assert found == {
        "base": Speed(pytest.approx(20.0), pytest.approx(10.0)),
        "chain": Speed(pytest.approx(20.0), pytest.approx(20.0)),
    }
    assert turns == ["base", "chain"] * 8 and len(heard) == 13 * len(turns)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 2), (1e9, 8)])
def test_after_some_time_no_more_rounds_begin(monkeypatch: pytest.MonkeyPatch, seconds: float, rounds: int) -> None:
    turns = made_up(monkeypatch)
    measure_speed(MODELS, None, [1] * 20, seconds=seconds)
    assert turns == ["base", "chain"] * rounds
