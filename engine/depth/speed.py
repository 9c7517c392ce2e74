"""How fast base and chain read and write, measured in turns, several times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from engine.decode import stream_answers

_ROUNDS = 8
_DECODED = 12


@dataclass(frozen=True)
class Speed:
    """Tokens a second for one prompt: reading it, and writing after the first token."""

    prefill: float
    decode: float


def measure_speed(
    models: Mapping[str, Any],
    tokenizer: Any,
    prompt: Sequence[int],
    on_step: Callable[[], None] = lambda: None,
    *,
    seconds: float = 10.0,
) -> dict[str, Speed]:
    """The speed of each model on the same prompt, each of its steps in the round in which that was fastest.

    The models take turns, and other work on the machine only ever slows a step down: the fastest one says most about
    the model itself. A whole round without other work may never come where single steps without it do.

    Args:
        seconds: no round after the second begins when that much time has gone. Who searched for minutes wants the
            result; a table is in no hurry.
    """
    began = time.perf_counter()
    rounds: dict[str, list[list[float]]] = {name: [] for name in models}
    for number in range(_ROUNDS):
        if number >= 2 and time.perf_counter() - began > seconds:
            break
        for name, model in models.items():
            rounds[name].append(_step_seconds(model, tokenizer, prompt, on_step))
    fastest = {name: [min(step) for step in zip(*several, strict=True)] for name, several in rounds.items()}
    return {
        name: Speed(len(prompt) / reading, len(writing) / sum(writing)) for name, (reading, *writing) in fastest.items()
    }


def _step_seconds(model: Any, tokenizer: Any, prompt: Sequence[int], on_step: Callable[[], None]) -> list[float]:
    """Seconds of reading the prompt up to its first token, then of each token after it."""
    times: list[float] = []

    def note() -> None:
        times.append(time.perf_counter())
        on_step()

    for _ in stream_answers(model, tokenizer, [prompt], max_new_tokens=_DECODED, stop_ids=[], on_step=note):
        pass
    return [after - before for before, after in pairwise(times)]
