"""Base and adapted answers to the same prompts, side by side as they are decoded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.adapter.attach import BASE_ROW, AttachedModel
from engine.base.chat import prompt_ids, stop_ids
from engine.base.device import out_of_memory_told
from engine.events import AnswerText, Reporter
from engine.judge.answers import AnswerTiming, stream_answers
from engine.judge.metrics import score

if TYPE_CHECKING:
    from engine.base.load import LoadedBase
    from engine.prompts import PromptRow

ARMS = ("base", "adapted")

# Prompts in one batch, each of which takes two rows of it. More would delay the first token and fill the memory.
_PROMPTS_AT_ONCE = 8


@dataclass(frozen=True)
class ComparedRow:
    """One prompt with its answer and, where there are references, its score by arm ("base", "adapted")."""

    number: int
    prompt: str
    references: tuple[str, ...]
    answers: dict[str, str]
    scores: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Answers of both arms.

    metric: the metric of the scores.
    means: mean score by arm over the rows with references; empty when no row has any.
    timings: by arm; the arms share their batches, so the seconds are the same.
    """

    rows: list[ComparedRow]
    metric: str
    means: dict[str, float]
    timings: dict[str, AnswerTiming]


def compare(
    base: LoadedBase,
    attached: AttachedModel,
    rows: Sequence[PromptRow],
    *,
    max_new_tokens: int,
    metric: str,
    reporter: Reporter,
) -> Comparison:
    """Answer `rows` greedily with the base and with the selected adapter of `attached`, both in one batch.

    Emits one `AnswerText` a piece, with the prompt's number as its row.

    Raises:
        EngineError: an unknown metric, the device is out of memory.
        Cancelled: the person asked for it; heard at every token.
    """
    if attached.selected is None:
        raise ValueError("an adapter must be selected to be compared with the base")
    score(metric, "", ())  # an unknown metric should be told before the answers, not after them
    answers: list[dict[str, str]] = []
    clock = _Clock()
    with reporter.stage("answer", total=len(rows), unit="prompts") as stage, out_of_memory_told("--rows"):
        for start in range(0, len(rows), _PROMPTS_AT_ONCE):
            part = rows[start : start + _PROMPTS_AT_ONCE]
            prompts = [prompt_ids(base.tokenizer, row.prompt) for row in part]
            pieces = stream_answers(
                attached,
                base.tokenizer,
                prompts * 2,
                max_new_tokens=max_new_tokens,
                stop_ids=stop_ids(base.tokenizer, base.model),
                adapter_names=[BASE_ROW] * len(part) + [attached.selected] * len(part),
                on_step=lambda: stage.advance(0, **clock.figures()),
            )
            texts = [dict.fromkeys(ARMS, "") for _ in part]
            for piece in pieces:
                arm = ARMS[piece.row // len(part)]
                place = piece.row % len(part)
                texts[place][arm] += piece.text
                clock.count(arm, piece.tokens if piece.done else 0)
                reporter.emit(AnswerText(part[place].number, arm, piece.text, piece.done))
            answers += texts
            stage.advance(len(part), **clock.figures())
    compared = [
        ComparedRow(row.number, row.prompt, row.references, texts, _scores(metric, texts, row.references))
        for row, texts in zip(rows, answers, strict=True)
    ]
    scored = [row.scores for row in compared if row.scores]
    means = {arm: sum(scores[arm] for scores in scored) / len(scored) for arm in ARMS} if scored else {}
    return Comparison(compared, metric, means, clock.timings())


def _scores(metric: str, texts: dict[str, str], references: tuple[str, ...]) -> dict[str, float]:
    return {arm: score(metric, text, references) for arm, text in texts.items()} if references else {}


class _Clock:
    """Time to the first token and tokens, by arm."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._first: dict[str, float] = {}
        self._tokens = dict.fromkeys(ARMS, 0)

    def count(self, arm: str, tokens: int) -> None:
        """A piece came that ends an answer of `tokens` tokens, or one in between (0)."""
        self._first.setdefault(arm, self._seconds())
        self._tokens[arm] += tokens

    def figures(self) -> dict[str, float]:
        """What the progress shows."""
        return {"first_token_seconds": min(self._first.values())} if self._first else {}

    def timings(self) -> dict[str, AnswerTiming]:
        """All of it, at the end."""
        seconds = self._seconds()
        return {arm: AnswerTiming(self._first.get(arm, 0.0), self._tokens[arm], seconds) for arm in ARMS}

    def _seconds(self) -> float:
        return time.perf_counter() - self._began
