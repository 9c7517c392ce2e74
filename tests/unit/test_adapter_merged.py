"""Merged models: exact weights, tied embeddings, shards, and what a tensor at a time means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from adapter_parts import random_adapter
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from engine.adapter import merged as merging
from engine.adapter.merged import check_digests, write_merged
from engine.errors import EngineError
from engine.files import read_json
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer


def merged(
    folder: Path, family: str, float_type: str, **changes: object
) -> tuple[object, LoraAdapter, Mapping[str, str]]:
    model = tiny_model(family, **changes)
    adapter = random_adapter(derive_layout(model.config, LoraSpec(rank=2, alpha=3)), size=0.2)
    base = SimpleNamespace(model=model, tokenizer=tiny_tokenizer())
    return model, adapter, write_merged(folder, base, adapter, base_id="o/m", float_type=float_type)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
@pytest.mark.parametrize("float_type", ["float32", "float16", "bfloat16"])
def test_every_weight_is_added_in_float32_and_rounded_once(tmp_path: Path, family: str, float_type: str) -> None:
    model, adapter, _ = merged(tmp_path, family, float_type)
    dtype = getattr(torch, float_type)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto", local_files_only=True)
    assert loaded.dtype == dtype and type(loaded) is type(model)
    paths = {module.path for module in adapter.layout.modules}
    for name, weight in model.named_parameters():  # type: ignore[attr-defined]
        path = name.removesuffix(".weight")
        exact = weight.double()
        if path in paths:
            exact = exact + 1.5 * adapter.b[path].double() @ adapter.a[path].double()
        # Half a step of the type, and the last bit of the float32 sum before it.
        limit = torch.finfo(dtype).eps * exact.abs() * 0.51 + 1e-6
        assert ((loaded.get_parameter(name).double() - exact).abs() <= limit).all(), name
    assert AutoTokenizer.from_pretrained(tmp_path)("ab").input_ids == tiny_tokenizer()("ab").input_ids
    assert loaded.generation_config.eos_token_id == 2
    assert "/" not in (loaded.config._name_or_path or "").removeprefix(str(tmp_path)).replace("o/m", "")


def test_the_config_says_the_angles_where_transformers_4_did_too(tmp_path: Path) -> None:
    scaled = {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0}
    for name, parameters in (("plain", {"rope_type": "default", "rope_theta": 1e5}), ("scaled", scaled)):
        folder = tmp_path / name
        folder.mkdir()
        model, _, _ = merged(folder, "llama", "float32", rope_parameters=parameters)
        said = read_json(folder / "config.json")
        assert said["rope_theta"] == parameters["rope_theta"]
        expected = {"rope_type": "linear", "factor": 4.0} if name == "scaled" else None
        assert said.get("rope_scaling") == expected
        # And transformers 5 reads them as they were.
        loaded = AutoConfig.from_pretrained(folder, local_files_only=True)
        assert loaded.rope_parameters == model.config.rope_parameters  # type: ignore[attr-defined]


def test_tied_embeddings_are_written_once_and_stay_tied(tmp_path: Path) -> None:
    merged(tmp_path, "llama", "float32")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "model.embed_tokens.weight" in file.keys() and "lm_head.weight" not in file.keys()  # noqa: SIM118
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_a_head_of_its_own_is_written_as_it_is(tmp_path: Path) -> None:
    model, _, _ = merged(tmp_path, "llama", "float32", tie_word_embeddings=False)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)  # type: ignore[attr-defined]


def test_a_large_model_is_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    merged(tmp_path / "whole", "llama", "float32")
    monkeypatch.setattr(merging, "SHARD_BYTES", 30_000)
    _, _, digests = merged(tmp_path / "parts", "llama", "float32")
    files = sorted(file.name for file in (tmp_path / "parts").glob("*.safetensors"))
    assert len(files) > 2 and files[0] == f"model-00001-of-{len(files):05d}.safetensors" and files == sorted(digests)
    # The embedding alone is larger than a file should be: it has one of its own.
    assert all((tmp_path / "parts" / name).stat().st_size < 45_000 for name in files)
    whole, parts = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name, local_files_only=True) for name in ("whole", "parts")
    )
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, parts.get_parameter(name))


def test_a_file_that_changed_on_its_way_is_found(tmp_path: Path) -> None:
    _, _, digests = merged(tmp_path, "llama", "float32")
    check_digests(tmp_path, digests)
    with open(tmp_path / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(EngineError, match=r"model\.safetensors: is not what was written"):
        check_digests(tmp_path, digests)
