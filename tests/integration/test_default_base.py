"""The real default base: it loads, speaks, and is the same wherever it is converted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.base import convert
from engine.base.catalog import DEFAULT_BASE, DEFAULT_ENCODER
from engine.base.chat import answer_ids, prompt_ids, stop_ids
from engine.base.fetch import CACHE_VARIABLE, model_files, resolve_encoder
from engine.base.load import LoadedBase, resolve_base
from engine.errors import Cancelled
from engine.events import Event, Reporter, StageAdvanced
from engine.jobs.inspect import list_models
from engine.weights.layout import derive_layout

# A released generator names its base by this; it must not depend on the machine or on library versions.
FINGERPRINT = "02067ad39b953948cd49c21482a73ddf2f55b21ba117af8bbb93d8d9bd7c8111"


def test_it_is_what_was_published(default_base: LoadedBase) -> None:
    assert default_base.ref.id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert default_base.ref.fingerprint == FINGERPRINT
    assert derive_layout(default_base.ref.config).parameters == 2_442_240
    assert sum(parameter.numel() for parameter in default_base.model.parameters()) == 134_515_008


def test_it_answers_and_stops(default_base: LoadedBase) -> None:
    tokenizer, model = default_base.tokenizer, default_base.model
    prompt = prompt_ids(tokenizer, "What is the capital of France?")
    stops = stop_ids(tokenizer, model)
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        whole = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, eos_token_id=stops
        )[0].tolist()
    answer = whole[len(prompt) :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] in stops


def test_a_good_answer_is_likelier_than_a_scrambled_one(default_base: LoadedBase) -> None:
    """Wrongly dequantised or permuted weights would not know the difference."""
    tokenizer, model = default_base.tokenizer, default_base.model
    prompt = prompt_ids(tokenizer, "Name the days of the working week.")

    def loss(text: str) -> float:
        answer = answer_ids(tokenizer, text)
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        return torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).item()

    good = loss("Monday, Tuesday, Wednesday, Thursday, Friday")
    assert good < 3  # nats a token; guessing among the whole vocabulary is 10.8
    assert loss("Thursday, Monday, Friday, Tuesday, Wednesday") > good


def test_its_tokenizer_splits_every_digit(default_base: LoadedBase) -> None:
    """As the published tokenizer does, also after two spaces, where the plain byte-level rule splits otherwise."""
    assert default_base.tokenizer.tokenize("a  42") == ["a", "ĠĠ", "4", "2"]


def test_it_and_the_encoder_are_listed_as_ready(default_base: LoadedBase) -> None:
    resolve_encoder()
    assert all(entry.ready for entry in list_models() if entry.name in (DEFAULT_BASE.name, DEFAULT_ENCODER.name))
    assert resolve_base("default").folder == default_base.ref.folder


def test_its_conversion_is_counted_and_can_be_stopped(
    default_base: LoadedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = model_files(DEFAULT_BASE)
    monkeypatch.setattr(convert, "model_files", lambda model, reporter: gguf)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    seen: list[StageAdvanced] = []

    def sink(event: Event) -> None:
        if isinstance(event, StageAdvanced):
            seen.append(event)

    with pytest.raises(Cancelled):
        convert.base_folder(DEFAULT_BASE, Reporter(sink, lambda: bool(seen) and seen[-1].step == 10))
    # Heard before the first tensor too: the fields of the file's head come first.
    assert [event.step for event in seen if event.step] == list(range(1, 11)) and seen[0].step == 0
    assert seen[-1].total == 272
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.suffix != ".lock"] == []
