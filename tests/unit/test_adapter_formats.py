"""The forms of export: sizes told before are those on disk, and what cannot be written says why and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapter.export import Writer
from engine.adapter.formats import CHAIN_FORMATS, FORMATS, NUMBER_SIZES, Format, chosen_format
from engine.base.source import BaseSource
from engine.errors import EngineError
from engine.weights.layout import Layout, LayoutModule, LoraSpec

FILE = Path("/models/base.gguf")


def layout(*paths: str) -> Layout:
    found = paths or ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj")
    return Layout(tuple(LayoutModule(path, 32, 48) for path in found), LoraSpec(8, 16, found))


def test_unknown_forms_and_number_formats_are_told_with_those_there_are() -> None:
    with pytest.raises(EngineError, match=r"format: there is no format 'onnx'. There is: peft, merged, gguf"):
        chosen_format("onnx", "float32")
    with pytest.raises(EngineError, match=r"GGUF adapters cannot be written as bfloat16. There is: float32, float16"):
        chosen_format("gguf", "bfloat16")
    for form in FORMATS.values():
        for float_type in form.float_types:
            assert chosen_format(form.name, float_type) is form and float_type in NUMBER_SIZES


def test_a_base_of_the_known_architectures_with_a_file_goes_into_every_form() -> None:
    for architecture in ("llama", "mistral", "qwen2", "qwen3"):
        source = BaseSource("owner/model", architecture, FILE)
        assert [form.refusal(layout(), source) for form in FORMATS.values()] == [None] * len(FORMATS)


def refused(architecture: str | None, local: Path | None, *paths: str) -> list[str]:
    source = BaseSource("owner/model", architecture, local)
    found = {name: form.refusal(layout(*paths), source) for name, form in FORMATS.items()}
    for each in found.values():
        assert each is None or (each.reason and each.fix)
    return [name for name, each in found.items() if each]


def test_what_cannot_be_written_is_refused_beforehand() -> None:
    assert refused("gemma2", FILE) == ["gguf", "gguf-merged", "ollama"]
    assert refused("llama", None) == ["gguf-merged"]
    assert refused("llama", Path("/models/folder")) == ["gguf-merged"]
    assert refused("llama", FILE, "lm_head") == ["gguf", "gguf-merged", "ollama", "mlx"]
    # Found out when the base is loaded.
    assert refused(None, FILE) == []


def test_a_size_needs_to_know_how_large_the_base_is_only_where_the_base_is_written() -> None:
    unknown = [name for name, form in FORMATS.items() if form.estimated_bytes("float16", layout(), None, None) is None]
    assert unknown == ["merged", "gguf-merged"]


@pytest.mark.parametrize("form", [*FORMATS.values(), *CHAIN_FORMATS.values()], ids=lambda form: form.writer)
def test_every_format_names_its_writer(form: Format) -> None:
    assert issubclass(form.load_writer(), Writer)
