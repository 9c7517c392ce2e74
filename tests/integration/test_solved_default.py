"""The real default base: answered examples become an adapter that is worth more than the base, and says so."""

from __future__ import annotations

import json
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
    few = ContextChoice(answered=16, examples=4, held_out=8)
    request = GenerateRequest(
        models=MODELS, prompts=PromptChoice(source=example_prompts()), solve=few, out=tmp_path / "adapter"
    )
    data = run(request, Reporter(events.append)).to_json()
    scores = data["held_out"]["scores"]
    # Eight rows: a topic out of four in one word, after a prompt that the base answers at length.
    assert scores["solved"] >= 0.75 > 0.5 >= scores["base"]
    (choice,) = [event.note for event in events if isinstance(event, StageFinished) and event.stage == "choose"]
    assert "base " in choice and "generator " in choice and data["start"] in ("base", "generator")


def test_an_instruction_is_kept_without_labels(default_base: LoadedBase, tmp_path: Path) -> None:
    rows = [json.loads(line)["prompt"] for line in example_prompts().read_text(encoding="utf-8").splitlines()]
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in rows[:24]))
    few = ContextChoice(answered=12, held_out=6)
    request = GenerateRequest(models=MODELS, prompts=PromptChoice(source=source), solve=few, out=tmp_path / "adapter")
    data = run(request, Reporter()).to_json()
    assert data["made_from"] == "instruction" and data["instruction"].startswith("Decide what the sentence is about")
    same = data["held_out"]["scores"]
    assert same["solved"] > same["base"]
