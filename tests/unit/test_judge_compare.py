"""Base and adapted answers side by side, on a tiny random model."""

from __future__ import annotations

from typing import Any

import pytest
from judge_parts import random_adapter, tiny_base

from engine.adapter.attach import attach
from engine.base.chat import prompt_ids, stop_ids
from engine.errors import Cancelled, EngineError
from engine.events import AnswerText, Event, Reporter
from engine.judge.answers import answer_all
from engine.judge.compare import compare
from engine.prompts import PromptRow

ROWS = [PromptRow(number, f"question {number}", ("a",) if number != 2 else ()) for number in range(10)]


def test_both_arms_are_streamed_and_equal_their_own_answers() -> None:
    base = tiny_base()
    adapter = random_adapter(base.model.config)
    ids = [prompt_ids(base.tokenizer, row.prompt) for row in ROWS]
    events: list[Event] = []

    def answers(model: Any) -> list[str]:
        stops = stop_ids(base.tokenizer, base.model)
        return answer_all(model, base.tokenizer, ids, max_new_tokens=6, stop_ids=stops, batch=4).texts

    plain = answers(base.model)
    with attach(base, adapter) as attached:
        adapted = answers(attached)
        found = compare(base, attached, ROWS, max_new_tokens=6, metric="rouge_l", reporter=Reporter(events.append))

    assert plain != adapted
    assert [row.answers for row in found.rows] == [
        {"base": one, "adapted": other} for one, other in zip(plain, adapted, strict=True)
    ]
    for number, row in enumerate(found.rows):
        for arm in ("base", "adapted"):
            own = [
                event for event in events if isinstance(event, AnswerText) and (event.row, event.arm) == (number, arm)
            ]
            assert "".join(event.text for event in own) == row.answers[arm]
            assert [event.done for event in own] == [False] * (len(own) - 1) + [True]
    assert found.timings["base"].tokens > 0
    assert 0 < found.timings["adapted"].first_token_seconds <= found.timings["adapted"].seconds


def test_rows_with_references_are_scored() -> None:
    base = tiny_base()
    with attach(base, random_adapter(base.model.config)) as attached:
        first = compare(base, attached, ROWS[:3], max_new_tokens=4, metric="exact_match", reporter=Reporter())
        wanted = PromptRow(0, ROWS[0].prompt, ("no", first.rows[0].answers["adapted"]))
        rows = [wanted, ROWS[1], ROWS[2]]
        found = compare(base, attached, rows, max_new_tokens=4, metric="exact_match", reporter=Reporter())
        unlabelled = compare(base, attached, [ROWS[2]], max_new_tokens=4, metric="exact_match", reporter=Reporter())

    assert found.rows[0].scores["adapted"] == 1.0
    assert found.rows[2].scores == {}
    assert found.means["adapted"] == (1.0 + found.rows[1].scores["adapted"]) / 2
    assert unlabelled.means == {}


def test_cancelled_between_tokens() -> None:
    base = tiny_base()
    seen: list[Event] = []
    reporter = Reporter(seen.append, cancelled=lambda: len(seen) > 5)
    with attach(base, random_adapter(base.model.config)) as attached:
        with pytest.raises(Cancelled):
            compare(base, attached, ROWS, max_new_tokens=50, metric="rouge_l", reporter=reporter)
        again = compare(base, attached, ROWS[:1], max_new_tokens=4, metric="rouge_l", reporter=Reporter())
    assert len(seen) == 6
    assert set(again.rows[0].answers) == {"base", "adapted"}


def test_unknown_metric_is_told_before_anything_is_answered() -> None:
    base = tiny_base()
    seen: list[Event] = []
    with (
        attach(base, random_adapter(base.model.config)) as attached,
        pytest.raises(EngineError, match="unknown metric"),
    ):
        compare(base, attached, ROWS, max_new_tokens=4, metric="bleu", reporter=Reporter(seen.append))
    assert not seen
