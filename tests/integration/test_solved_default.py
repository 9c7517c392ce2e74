"""The real default base: answered examples become an adapter that is worth more than the base, and says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.events import Event, Reporter, StageFinished
from engine.jobs import run
from engine.released import example_prompts
from engine.requests import ContextChoice, GenerateRequest, ModelChoice, PromptChoice

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

MODELS = ModelChoice(device="cpu")


def test_examples_are_learned_and_both_starts_are_tried(default_base: LoadedBase, tmp_path: Path) -> None:
    events: list[Event] = []
    # The whole of it takes half a minute on two idle cores.
    few = ContextChoice(answered=8, examples=3, held_out=6)
    request = GenerateRequest(
        models=MODELS, prompts=PromptChoice(source=example_prompts()), solve=few, out=tmp_path / "adapter"
    )
    data = run(request, Reporter(events.append)).to_json()
    scores = data["held_out"]["scores"]
    # Six rows: a topic out of four in one word, after a prompt that the base answers at length.
    assert scores["solved"] > scores["base"]
    told = [event.note for event in events if isinstance(event, StageFinished) and event.stage == "context"]
    assert [note.partition(":")[0] for note in told] == ["base", "generator"] and data["start"] in ("base", "generator")
    chosen = replace(few, answered=4, held_out=0, fit_steps=1, start="generator")
    again = run(replace(request, solve=chosen, out=tmp_path / "from-generator"), Reporter()).to_json()
    assert again["start"] == "generator" and again["parameters"] > data["parameters"] * (data["start"] == "base")
