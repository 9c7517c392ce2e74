"""Every form of a chain is reloaded to the same logits, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from engine.adapter.formats import CHAIN_FORMATS
from engine.depth.chain import Chain, identity
from engine.depth.export import MERGEKIT_FILE, _merged_view, export_chain
from engine.depth.record import CHAIN_FILE, chain_of, read_chain
from engine.depth.view import chain_view
from engine.errors import EngineError
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.adapter_parts import random_adapter

IDS = list(range(5, 25))
SHORT, LONG = (0, 1, 3), (0, 1, 2, 1, 2, 3, 3)
MIXED = {
    "use_sliding_window": True,
    "sliding_window": 6,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}


def base_of(family: str, **changes: Any) -> Any:
    base = in_memory_base(tiny_model(family, num_hidden_layers=4, **changes), tiny_tokenizer())
    vars(base.ref).update(gguf_file=None, hub_id="somebody/tiny", folder="tiny")
    return base


def exported(base: Any, chain: Chain, folder: Path, form: str, adapter: Any = None) -> Any:
    size, found = export_chain(base, chain_of(base.ref, chain, None), adapter, folder, form, IDS)
    assert found.logits is not None and found.logits <= 1e-5
    assert size == sum(file.stat().st_size for file in folder.iterdir()) > 0
    assert json.loads((folder / CHAIN_FILE).read_text())["layers"] == list(chain)
    return found


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([IDS])).logits


@pytest.mark.parametrize("chain", [SHORT, LONG])
@pytest.mark.parametrize(
    ("family", "changes"),
    [("llama", {}), ("llama", {"tie_word_embeddings": False}), ("qwen2", {}), ("qwen3", MIXED), ("gemma2", {})],
)
def test_a_dense_folder_is_a_model_of_its_own(family: str, changes: Any, chain: Chain, tmp_path: Path) -> None:
    base = base_of(family, **changes)
    before = logits(base.model)
    exported(base, chain, tmp_path / "out", "dense")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits(loaded), logits(chain_view(base.model, chain)), atol=1e-5, rtol=0)
    assert loaded.config.num_hidden_layers == len(loaded.model.layers) == len(chain)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert ("lm_head.weight" in stored) == (not base.model.config.tie_word_embeddings)
    assert torch.equal(logits(base.model), before)


def test_a_dense_folder_has_the_adapter_in_its_weights(tmp_path: Path) -> None:
    base = base_of("qwen2")  # with biases
    adapter = random_adapter(derive_layout(base.model.config), size=0.2)
    found = exported(base, LONG, tmp_path / "out", "dense", adapter)
    assert 0 < found.rounding < 1e-4
    plain = logits(chain_view(base.model, LONG))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert not torch.allclose(logits(loaded), plain, atol=1e-2)
    assert not hasattr(base.model, "peft_config")


def passthrough(model: Any, recipe: dict[str, Any]) -> Any:
    """What a passthrough merge makes of a recipe: the slices' layers one after the other, the rest from the base."""
    assert recipe["merge_method"] == "passthrough"
    ranges = [source["layer_range"] for each in recipe["slices"] for source in each["sources"]]
    layers = [layer for first, end in ranges for layer in range(first, end)]
    config = type(model.config)(**(model.config.to_dict() | {"num_hidden_layers": len(layers)}))
    merged = AutoModelForCausalLM.from_config(config).eval()
    state = {name: tensor for name, tensor in model.state_dict().items() if ".layers." not in name}
    for place, layer in enumerate(layers):
        for name, tensor in model.model.layers[layer].state_dict().items():
            state[f"model.layers.{place}.{name}"] = tensor
    merged.load_state_dict(state)
    return merged


@pytest.mark.parametrize("chain", [SHORT, LONG, (3, 1), identity(4)])
def test_a_mergekit_recipe_says_the_chain(chain: Chain, tmp_path: Path) -> None:
    base = base_of("llama")
    exported(base, chain, tmp_path / "out", "mergekit")
    recipe = yaml.safe_load((tmp_path / "out" / MERGEKIT_FILE).read_text())
    assert {source["model"] for each in recipe["slices"] for source in each["sources"]} == {"somebody/tiny"}
    merged = passthrough(base.model, recipe)
    torch.testing.assert_close(logits(merged), logits(chain_view(base.model, chain)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("lora", [LoraSpec(4, 8), LoraSpec(4, 8, ("q_proj", "down_proj")), None])
@pytest.mark.parametrize("chain", [SHORT, LONG])
def test_a_peft_folder_replicates_layers(lora: LoraSpec | None, chain: Chain, tmp_path: Path) -> None:
    base = base_of("llama")
    adapter = random_adapter(derive_layout(base.model.config, lora), size=0.2) if lora else None
    exported(base, chain, tmp_path / "out", "peft", adapter)
    loaded = PeftModel.from_pretrained(tiny_model("llama", num_hidden_layers=4), str(tmp_path / "out")).eval()
    right = chain_view(base.model, chain)
    if adapter:
        attached = tiny_model("llama", num_hidden_layers=4)
        exported(in_memory(attached, base), chain, tmp_path / "dense", "dense", adapter)
        right = AutoModelForCausalLM.from_pretrained(tmp_path / "dense").eval()
    torch.testing.assert_close(logits(loaded), logits(right), atol=1e-4, rtol=0)
    assert len(base.model.model.layers) == base.model.config.num_hidden_layers == 4


def in_memory(model: Any, like: Any) -> Any:
    return SimpleNamespace(**(vars(like) | {"model": model}))


@pytest.mark.parametrize(
    ("family", "changes", "chain", "form", "adapted", "told"),
    [
        ("qwen3", MIXED, SHORT, "peft", False, "own type of layer, and this base mixes types. Choose format dense"),
        ("qwen3", MIXED, SHORT, "mergekit", False, "this base mixes types. Choose format dense"),
        ("qwen2", {}, LONG, "peft", False, "too short for this chain. Choose format dense"),
        ("qwen2", {}, SHORT, "mergekit", False, "of another length than this chain. Choose format dense"),
        ("llama", {}, SHORT, "mergekit", True, "takes layers of a base, not an adapter"),
    ],
)
def test_what_a_form_cannot_say_is_refused(
    family: str, changes: Any, chain: Chain, form: str, adapted: bool, told: str, tmp_path: Path
) -> None:
    base = base_of(family, **changes)
    adapter = random_adapter(derive_layout(base.model.config)) if adapted else None
    with pytest.raises(EngineError) as failed:
        exported(base, chain, tmp_path / "out", form, adapter)
    assert told in str(failed.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", CHAIN_FORMATS)
def test_what_reloads_to_other_logits_is_not_exported(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of("llama")
    writer = CHAIN_FORMATS[form].load_writer()
    honest = writer.reload
    monkeypatch.setattr(writer, "reload", lambda *given: honest(*given) + 1e-3)
    with pytest.raises(EngineError, match="gives other answers"):
        exported(base, SHORT, tmp_path / "out", form)
    assert list(tmp_path.iterdir()) == []


def test_a_merged_view_shares_what_no_adapter_changes() -> None:
    base = base_of("llama")
    merged = _merged_view(base.model, SHORT)
    assert merged.model.layers[2].mlp.up_proj.weight is base.model.model.layers[3].mlp.up_proj.weight


def test_a_record_is_read_back_with_its_figures(tmp_path: Path) -> None:
    base = base_of("llama")
    record = chain_of(base.ref, LONG, None, {"held_out": {"rows": 7}})
    (tmp_path / CHAIN_FILE).write_text(json.dumps(record.to_json()))
    assert read_chain(str(tmp_path), base.ref, None) == read_chain(str(tmp_path / CHAIN_FILE), base.ref, None) == record


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base": {"id": "other/model", "fingerprint": "y", "layers": 4}}, "belongs to other/model with other weights"),
        ({"adapter": "abc"}, "found with another adapter attached. Name that adapter"),
        ({"chain": "0-9"}, "there is no layer 9"),
        ({"chain": ""}, "the chain is empty"),
        ({"layers": [0, 1]}, "is not the file of a chain"),
        ({"format": 2}, "has format 2, this program reads format 1"),
        ({"format": "1"}, "is not the file of a chain"),
        ({"base": None}, "is not the file of a chain"),
        ({"chain": 3}, "is not the file of a chain"),
    ],
)
def test_records_that_do_not_fit_are_told(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    base = base_of("llama")
    data = chain_of(base.ref, SHORT, None).to_json() | change
    (tmp_path / CHAIN_FILE).write_text(json.dumps(data))
    with pytest.raises(EngineError) as failed:
        read_chain(str(tmp_path), base.ref, None)
    assert told in str(failed.value) and CHAIN_FILE in str(failed.value)


def test_no_record_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such file. Name the folder of a search"):
        read_chain(str(tmp_path), base_of("llama").ref, None)
