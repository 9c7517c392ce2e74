"""What an adapter is worth, asked at once: held-out rows answered by the base, by the base with its context, adapted.

With references the answers are scored. Without, there is a teacher: the share of prompts on which the adapted model
gives the same answer as the base that reads the context needs no labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from engine.adapter.attach import AttachedModel
from engine.base.chat import prompts_ids, stop_ids
from engine.decode.answers import answer_all
from engine.events import Stage
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

_ADAPTER = "checked"
# Rows answered at a time; with examples in the prompt, each has keys and values of its own for its part of the prompt.
_BATCH = 16


@dataclass(frozen=True)
class AskedArm:
    """A way to ask: the prompt of each row, (prompt, answer) examples before it, and the adapter that answers."""

    prompts: Sequence[str]
    examples: Sequence[tuple[str, str]] = ()
    adapter: LoraAdapter | None = None


@dataclass(frozen=True)
class ArmAnswers:
    """texts: an answer a row. tokens: mean length of what was asked. seconds: to answer the first row alone."""

    texts: Sequence[str]
    tokens: float
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Figures as plain data."""
        return {"tokens_per_query": self.tokens, "seconds_per_query": self.seconds}


def ask_arms(
    base: LoadedBase, arms: Mapping[str, AskedArm], max_new_tokens: int, stage: Stage
) -> dict[str, ArmAnswers]:
    """Greedy answers of every arm, by its name. `stage` counts rows of all arms.

    Rows are answered together, and what they begin with is read once for all. What a query costs is therefore timed
    with one row by itself.
    """
    found = {}
    tokenizer, stops = base.tokenizer, stop_ids(base.tokenizer, base.model)
    for name, arm in arms.items():
        asked = prompts_ids(tokenizer, arm.prompts, arm.examples)
        with AttachedModel(base) as attached:
            if arm.adapter is not None:
                attached.add(_ADAPTER, arm.adapter)
                attached.use(_ADAPTER)
            answer = partial(
                answer_all,
                attached,
                tokenizer,
                max_new_tokens=max_new_tokens,
                stop_ids=stops,
                batch=_BATCH,
                on_step=lambda: stage.advance(0),
            )
            texts = answer(asked)
            began = time.perf_counter()
            answer(asked[:1])
        found[name] = ArmAnswers(texts, sum(map(len, asked)) / max(1, len(asked)), time.perf_counter() - began)
        stage.advance(len(asked))
    return found
