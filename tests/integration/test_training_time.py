"""Timing real LoRA training steps: what is told, that the model stays as it was, and that it can be stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageAdvanced, StageStarted
from engine.generator.about import ABOUT
from engine.jobs import run
from engine.jobs.measure import LONGEST_ROW, time_training, training_rows
from engine.requests import ModelChoice, TrainingTimeRequest
from engine.training.packing import TokenRow
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import generator_about, in_memory_base, tiny_config, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer

LORA = LoraSpec(2, 4)


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """As much of a generator as says what its adapters are like."""
    folder = tmp_path / "generator"
    folder.mkdir()
    layout = derive_layout(tiny_config("llama"), LORA).to_json()
    (folder / ABOUT).write_text(generator_about(layout=layout))
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asking(source: Path, base: Path, generator: Path | None = None, **fields: Any) -> TrainingTimeRequest:
    models = ModelChoice(base=str(base), generator=generator, device="cpu")
    return TrainingTimeRequest(models=models, source=source, **fields)


def test_an_epoch_is_told_from_a_few_measured_steps(tmp_path: Path, tiny_llama_folder: Path, generator: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"say {n}", "response": str(n)} for n in range(21)]
    rows[3]["response"] = None
    events: list[Event] = []
    source = write_rows(tmp_path / "rows.jsonl", rows)
    found = run(asking(source, tiny_llama_folder, generator, steps=3, batch=6), Reporter(events.append)).to_json()
    assert (found["rows"], found["labels"], found["batch"], found["measured_steps"]) == (20, "response", 6, 3)
    assert found["epoch_steps"] == 4 and found["epoch_seconds"] == pytest.approx(4 * found["seconds_a_step"])
    assert found["seconds_a_step"] > 0 and found["tokens_a_step"] > 6
    assert found["rank"] == 2 and found["parameters"] == derive_layout(tiny_config("llama"), LORA).parameters
    # One step more than is measured: the first one is slower and does not count.
    assert StageStarted("train", 4) in events
    steps = [event for event in events if isinstance(event, StageAdvanced) and event.stage == "train"]
    assert [event.step for event in steps] == [1, 2, 3, 4]
    assert all({"loss", "tokens_per_second"} <= set(event.figures) for event in steps)


def test_fewer_rows_than_a_batch(tmp_path: Path, tiny_llama_folder: Path, generator: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{"prompt": "a", "answer": "b"}] * 3)
    found = run(asking(source, tiny_llama_folder, generator, steps=1), Reporter()).to_json()
    assert (found["rows"], found["batch"], found["epoch_steps"]) == (3, 3, 1)


@pytest.mark.parametrize("rows", [[{"prompt": "a"}], [{"prompt": "a", "answer": None}, {"prompt": "b", "answer": ""}]])
def test_without_labels_it_says_so(tmp_path: Path, tiny_llama_folder: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(EngineError, match="no labels") as caught:
        run(asking(write_rows(tmp_path / "rows.jsonl", rows), tiny_llama_folder), Reporter())
    assert caught.value.hint and "answers" in caught.value.hint


def test_training_learns_and_the_model_stays_as_it_was() -> None:
    base = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    rows = training_rows(base, [("say a", "a"), ("say b", "b")])
    losses: list[float] = []

    def sink(event: Event) -> None:
        if isinstance(event, StageAdvanced):
            losses.append(event.figures["loss"])

    measured = time_training(
        base, derive_layout(base.ref.config, LORA), rows, steps=7, batch=2, reporter=Reporter(sink)
    )
    assert measured.steps == 7 and measured.tokens_a_step == sum(map(len, [max(rows, key=len)] * 2))
    assert losses[-1] < losses[0]
    assert_untouched(base.model, before)


def test_a_stop_is_heard_between_steps_and_leaves_the_model_clean() -> None:
    base = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    seen: list[Event] = []
    stopping = Reporter(seen.append, lambda: any(isinstance(e, StageAdvanced) and e.step == 2 for e in seen))
    with pytest.raises(Cancelled):
        time_training(
            base, derive_layout(base.ref.config, LORA), training_rows(base, [("a", "b")]), steps=9, batch=1,
            reporter=stopping,
        )  # fmt: skip
    assert_untouched(base.model, before)


def assert_untouched(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert not model.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_long_rows_keep_their_answer_and_the_end_of_their_prompt() -> None:
    base = in_memory_base(tiny_model("llama", max_position_embeddings=4096), tiny_tokenizer())
    (row,) = training_rows(base, [("x" * 2_000_000 + "end", "yes")])
    short: TokenRow
    (short,) = training_rows(base, [("end", "yes")])
    assert len(row) == LONGEST_ROW
    assert row.answer == short.answer and row.prompt[-5:] == short.prompt[-5:]
    (endless,) = training_rows(base, [("x", "y" * 5000)])
    assert len(endless) == LONGEST_ROW and len(endless.prompt) == 1
