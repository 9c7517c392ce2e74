"""How fast base and chain read and write, measured one after the other, several times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from engine.judge.answers import stream_answers

_ROUNDS = 5
_DECODED = 16


@dataclass(frozen=True)
class Speed:
    """Tokens a second for one prompt: reading it, and writing after the first token. Medians of the rounds."""

    prefill: float
    decode: float


def measure_speed(
    models: Mapping[str, Any], tokenizer: Any, prompt: Sequence[int], on_step: Callable[[], None] = lambda: None
) -> dict[str, Speed]:
    """The speed of each model on the same prompt.

    The models take turns, so that other work on the machine slows them alike; a first round is not counted.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for _ in range(_ROUNDS + 1):
        for name, model in models.items():
            pieces = list(
                stream_answers(model, tokenizer, [prompt], max_new_tokens=_DECODED, stop_ids=[], on_step=on_step)
            )
            seconds[name].append((pieces[0].seconds, pieces[-1].seconds - pieces[0].seconds))
    return {
        name: Speed(
            len(prompt) / median(read for read, _ in timed[1:]),
            (_DECODED - 1) / median(written for _, written in timed[1:]),
        )
        for name, timed in seconds.items()
    }
