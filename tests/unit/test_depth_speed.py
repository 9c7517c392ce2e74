"""Speed in turns, on a clock that is made up: what other work on the machine does to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.depth import speed
from engine.depth.speed import Speed, measure_speed


def test_work_beside_it_makes_no_difference_while_every_step_has_a_round_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In each round another third of the steps takes longer, so that no whole round is without other work."""
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

    monkeypatch.setattr(speed, "stream_answers", stream)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    heard: list[Any] = []
    found = measure_speed({"base": "base", "chain": "chain"}, None, [1] * 20, lambda: heard.append(1))
    assert found == {
        "base": Speed(pytest.approx(20.0), pytest.approx(10.0)),
        "chain": Speed(pytest.approx(20.0), pytest.approx(20.0)),
    }
    assert turns[:4] == ["base", "chain", "base", "chain"] and len(heard) == 13 * len(turns)
