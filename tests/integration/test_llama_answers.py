"""Compare by llama.cpp on the real default base: the answers of transformers, and what the record says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.base.load import LoadedBase
from engine.errors import EngineError
from engine.events import AnswersBy, AnswerText, Event, Reporter
from engine.jobs import run
from engine.requests import CompareRequest, ModelChoice

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

TEXTS = (
    "Which topic is this about? The striker scored twice in the last minute.",
    "What is the capital of Peru?",
    "Write a sentence with an é and an emoji in it.",
    "List four fruits.",
)


def compared(adapter: Path, sink: Any = lambda event: None, **changed: Any) -> dict[str, Any]:
    models = ModelChoice(device="cpu", dtype="float32")
    given: dict[str, Any] = {"models": models, "adapters": (adapter,), "texts": TEXTS, "max_new_tokens": 24}
    return run(CompareRequest(**(given | changed)), Reporter(sink)).to_json()


@pytest.fixture(scope="module")
def reference(default_base: LoadedBase, generated_adapter: Path) -> dict[str, Any]:
    return compared(generated_adapter, decoder="transformers")


def answers(result: dict[str, Any]) -> list[dict[str, str]]:
    return [row["answers"] for row in result["rows"]]


def test_greedy_answers_are_those_of_transformers(reference: dict[str, Any], generated_adapter: Path) -> None:
    events: list[Event] = []
    found = compared(generated_adapter, events.append, decoder="llama.cpp")
    assert answers(found) == answers(reference)
    assert any(row["base"] != row["adapted"] for row in answers(found))
    assert {arm: timing["tokens"] for arm, timing in found["timings"].items()} == {
        arm: timing["tokens"] for arm, timing in reference["timings"].items()
    }
    assert found["decoder"] == {"decoder": "llama.cpp", "float_type": "float32", "reason": ""}
    assert reference["decoder"]["decoder"] == "transformers"
    [by] = [event for event in events if isinstance(event, AnswersBy)]
    assert vars(by) == found["decoder"]


def test_base_and_adapter_stream_in_turns(default_base: LoadedBase, generated_adapter: Path) -> None:
    events: list[Event] = []
    compared(generated_adapter, events.append, texts=("Explain what a river is, at length.",))
    arms = [event.arm for event in events if isinstance(event, AnswerText)]
    assert set(arms) == {"base", "adapted"}
    last = {arm: len(arms) - 1 - arms[::-1].index(arm) for arm in set(arms)}
    # Neither waits until the other is done.
    assert arms.index("adapted") < last["base"] and arms.index("base") < last["adapted"]


def test_drawn_answers_stay_with_transformers(default_base: LoadedBase, generated_adapter: Path) -> None:
    given = {"texts": TEXTS[1:2], "temperature": 0.8, "max_new_tokens": 4}
    found = compared(generated_adapter, **given)
    assert found["decoder"]["decoder"] == "transformers" and "temperature" in found["decoder"]["reason"]
    with pytest.raises(EngineError, match="temperature"):
        compared(generated_adapter, decoder="llama.cpp", **given)
