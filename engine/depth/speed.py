"""How fast base and chain read and write, measured in turns, several times, for about ten seconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.judge.answers import stream_answers

_ROUNDS = 8
_DECODED = 12
# No round after the second begins when this much time has gone: who searched for minutes wants the result.
_SECONDS = 10.0


@dataclass(frozen=True)
class Speed:
    """Tokens a second for one prompt: reading it, and writing after the first token."""

    prefill: float
    decode: float


def measure_speed(
    models: Mapping[str, Any], tokenizer: Any, prompt: Sequence[int], on_step: Callable[[], None] = lambda: None
) -> dict[str, Speed]:
    """The speed of each model on the same prompt, in its fastest round.

    The models take turns, and other work on the machine only ever slows a round down: the fastest one says most about
    the model itself.
    """
    reading: dict[str, list[float]] = {name: [] for name in models}
    writing: dict[str, list[float]] = {name: [] for name in models}
    began = time.monotonic()
    for number in range(_ROUNDS):
        if number >= 2 and time.monotonic() - began > _SECONDS:
            break
        for name, model in models.items():
            answer = stream_answers(model, tokenizer, [prompt], max_new_tokens=_DECODED, stop_ids=[], on_step=on_step)
            first, *_, last = answer
            reading[name].append(first.seconds)
            writing[name].append(last.seconds - first.seconds)
    return {name: Speed(len(prompt) / min(reading[name]), (_DECODED - 1) / min(writing[name])) for name in models}
