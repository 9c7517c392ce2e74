"""GGUF exports in the real llama.cpp: base + adapter against merged, and both against transformers.

Log-probabilities of all tokens, after two prefixes of a prompt, everything in float32 unless said.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.adapter import gguf as gguf_files
from engine.adapter.attach import attach
from engine.adapter.check import CHECK_PROMPT, as_stored
from engine.adapter.export import Choice, write_checked_export
from engine.adapter.gguf import write_gguf_adapter
from engine.adapter.merged import write_gguf_merged
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import prompt_ids
from engine.base.load import LoadedBase
from engine.base.source import BaseSource, source_of
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.llama_cpp import log_probabilities
from tests.tiny import tiny_model
from tests.tiny_gguf import write_tiny_gguf
from tests.unit.adapter_parts import random_adapter

PARITY = 1e-4
IDS = [1, 40, 50, 60, 70, 80, 90, 100]


def in_transformers(model: torch.nn.Module, adapter: LoraAdapter, ids: list[int]) -> np.ndarray:
    with torch.inference_mode(), attach(model, adapter) as attached:
        return attached(input_ids=torch.tensor([ids])).logits[0, -2:].double().log_softmax(-1).numpy()


def largest(first: np.ndarray, second: np.ndarray) -> float:
    return float(abs(first - second).max())


def reordered_wrongly(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Leave the permutation out where it belongs, and do it where it does not."""
    own = gguf_files.permuted_heads

    def other(path: str, config: Any) -> int | None:
        heads = {name: getattr(config, name) for name in ("num_attention_heads", "num_key_value_heads")}
        return None if config.model_type == "llama" else own(path, SimpleNamespace(model_type="llama", **heads))

    monkeypatch.setattr(gguf_files, "permuted_heads", other)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_tiny_base_of_every_architecture(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(family)
    adapter = random_adapter(derive_layout(model.config, LoraSpec(rank=2, alpha=3)), size=0.3)
    file = write_tiny_gguf(tmp_path / "base.gguf", family, model)
    base = SimpleNamespace(model=model, ref=SimpleNamespace(id="tiny"))
    for form in ("gguf", "gguf-merged"):
        write_checked_export(
            tmp_path / form,
            adapter,
            base,
            IDS,
            Choice(form=form),
            base_id="tiny",
            provenance=None,
            base_source=BaseSource("tiny", family, file),
        )
    expected = in_transformers(model, adapter, IDS)
    adapted = log_probabilities(file, IDS, 300, tmp_path / "gguf" / "adapter.gguf")
    merged = log_probabilities(tmp_path / "gguf-merged" / "model.gguf", IDS, 300)
    assert largest(expected, log_probabilities(file, IDS, 300)) > 0.1
    assert largest(adapted, expected) <= PARITY
    assert largest(merged, expected) <= PARITY
    assert largest(adapted, merged) <= PARITY

    reordered_wrongly(monkeypatch, family)
    write_gguf_adapter(tmp_path / "wrong.gguf", adapter, model.config, name="wrong")
    assert largest(log_probabilities(file, IDS, 300, tmp_path / "wrong.gguf"), merged) > 0.1


@pytest.fixture(scope="module")
def float_base(default_base: LoadedBase, generated_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default base's GGUF file in float32: the merge of an adapter that changes nothing."""
    adapter, _ = read_peft_folder(generated_adapter)
    nothing = LoraAdapter(adapter.layout, adapter.a, {path: matrix * 0 for path, matrix in adapter.b.items()})
    file = tmp_path_factory.mktemp("base") / "base.gguf"
    source = source_of(default_base.ref).gguf
    assert source is not None
    write_gguf_merged(file, source, nothing, default_base.ref.config, name="base")
    return file


def test_the_default_base_with_a_generated_adapter(
    default_base: LoadedBase,
    generated_adapter: Path,
    exported: Callable[[str, str], Path],
    float_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    adapter, _ = read_peft_folder(generated_adapter)
    ids, vocabulary = prompt_ids(default_base.tokenizer, CHECK_PROMPT)[-24:], default_base.model.config.vocab_size
    merged = log_probabilities(exported("gguf-merged", "float32") / "model.gguf", ids, vocabulary)
    adapted = log_probabilities(float_base, ids, vocabulary, exported("gguf", "float32") / "adapter.gguf")
    half = log_probabilities(float_base, ids, vocabulary, exported("gguf", "float16") / "adapter.gguf")
    reordered_wrongly(monkeypatch, "llama")
    write_gguf_adapter(tmp_path / "wrong.gguf", adapter, default_base.model.config, name="wrong")
    wrong = log_probabilities(float_base, ids, vocabulary, tmp_path / "wrong.gguf")
    figures = {
        "adapter in float32 against merged": largest(adapted, merged),
        "adapter in float16 against merged": largest(half, merged),
        "merged against transformers": largest(merged, in_transformers(default_base.model, adapter, ids)),
        "float16 in transformers against float32": largest(
            in_transformers(default_base.model, as_stored(adapter, "float16"), ids),
            in_transformers(default_base.model, adapter, ids),
        ),
        "without the permutation": largest(wrong, merged),
    }
    for name, value in figures.items():
        record_property(name, value)
        print(f"{name}: {value:.1e}")
    assert figures["adapter in float32 against merged"] <= PARITY
    # Two programs with sums and exponentials of their own.
    assert figures["merged against transformers"] <= 1e-3
    assert figures["adapter in float16 against merged"] < 0.1
    assert figures["without the permutation"] > 0.1


def test_the_ollama_folder_holds_what_llama_cpp_reads(
    default_base: LoadedBase, exported: Callable[[str, str], Path]
) -> None:
    folder = exported("ollama", "float32")
    lines = (folder / "Modelfile").read_text().splitlines()
    assert lines[:2] == ["FROM ./base.gguf", "ADAPTER ./adapter.gguf"]
    assert (folder / "adapter.gguf").read_bytes() == (exported("gguf", "float32") / "adapter.gguf").read_bytes()
    assert "PARAMETER stop" in "\n".join(lines)
    assert lines[-1].startswith('SYSTEM """You are a helpful AI assistant named SmolLM')
    ids = prompt_ids(default_base.tokenizer, CHECK_PROMPT)[-8:]
    found = log_probabilities(folder / "base.gguf", ids, default_base.model.config.vocab_size, folder / "adapter.gguf")
    assert abs(np.exp(found).sum(-1) - 1).max() < 1e-3
