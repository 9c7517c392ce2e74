"""The combine job: what it writes, what peft makes of it, what it tells and what it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs import run
from engine.requests import CombineRequest, ExportRequest, InfoRequest, ModelChoice
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import tiny_config
from tests.unit.adapter_parts import random_adapter, write_peft_folder


@pytest.fixture
def adapters(tmp_path: Path, tiny_llama_folder: Path) -> tuple[Path, Path]:
    for name, rank, alpha, seed in (("first", 2, 4, 1), ("second", 3, 3, 2)):
        made = random_adapter(derive_layout(tiny_config("llama"), LoraSpec(rank, alpha)), seed, size=0.05)
        write_peft_folder(tmp_path / name, made, tiny_llama_folder.name)
    return tmp_path / "first", tmp_path / "second"


def combine(base: Path, adapters: tuple[Path, ...], out: Path, **choices: Any) -> dict[str, Any]:
    models = ModelChoice(base=str(base), device="cpu")
    return run(CombineRequest(models=models, adapters=adapters, out=out, **choices), Reporter()).to_json()


def merged_weights(base: Path, *adapters: Path) -> dict[str, torch.Tensor]:
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for adapter in adapters:
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model.state_dict()


def logits(base: Path, adapter: Path, weight: float = 1.0) -> torch.Tensor:
    """(1, 6, vocabulary), of peft alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    for module in model.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(weight)
    with torch.no_grad():
        return model(torch.tensor([[5, 80, 41, 7, 200, 3]])).logits


def test_the_sum_is_what_peft_makes_by_merging_one_after_the_other(
    tmp_path: Path, tiny_llama_folder: Path, adapters: tuple[Path, Path]
) -> None:
    told = combine(tiny_llama_folder, adapters, tmp_path / "sum", weights=(1.0, 1.0))
    assert told["rank"] == 5 and told["kept_energy"] is None and told["logit_difference"] <= 1e-5
    one_by_one = merged_weights(tiny_llama_folder, *adapters)
    for name, weight in merged_weights(tiny_llama_folder, tmp_path / "sum").items():
        torch.testing.assert_close(weight, one_by_one[name], rtol=0, atol=1e-6)


def test_weights_scale_as_in_peft_and_a_difference_takes_a_part_out_again(
    tmp_path: Path, tiny_llama_folder: Path, adapters: tuple[Path, Path]
) -> None:
    first, second = adapters
    combine(tiny_llama_folder, (first,), tmp_path / "half", weights=(0.5,))
    half = logits(tiny_llama_folder, first, 0.5)
    torch.testing.assert_close(logits(tiny_llama_folder, tmp_path / "half"), half, rtol=0, atol=1e-5)
    combine(tiny_llama_folder, adapters, tmp_path / "sum", weights=(1.0, 1.0))
    combine(tiny_llama_folder, (tmp_path / "sum", second), tmp_path / "back", weights=(1.0, -1.0), rank=2)
    back = logits(tiny_llama_folder, tmp_path / "back")
    torch.testing.assert_close(back, logits(tiny_llama_folder, first), rtol=0, atol=1e-4)


def test_provenance_card_info_and_a_further_export(
    tmp_path: Path, tiny_llama_folder: Path, adapters: tuple[Path, Path]
) -> None:
    out = tmp_path / "small"
    told = combine(tiny_llama_folder, adapters, out, weights=(0.25, -1.0), rank=2)
    kept = told["kept_energy"]
    assert list(kept) == ["all", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert 0 < kept["all"] < 1
    stored = json.loads((out / "provenance.json").read_text())
    digests = [hashlib.sha256((each / "adapter_model.safetensors").read_bytes()).hexdigest() for each in adapters]
    assert [(p["name"], p["digest"], p["weight"]) for p in stored["parts"]] == [
        ("first", digests[0], 0.25),
        ("second", digests[1], -1.0),
    ]
    assert stored["kept_energy"] == kept
    line = f"combine first second --out small --weight 0.25 --weight=-1.0 --rank 2 --base {tiny_llama_folder}"
    assert stored["command"].endswith(line)
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    info = run(InfoRequest(models=models, target=out), Reporter())
    assert info.to_json()["provenance"] == stored
    assert ("sum of", "0.25 x first, -1 x second") in info.summary()
    run(ExportRequest(models=models, adapter=out, out=tmp_path / "again"), Reporter())
    for folder in (out, tmp_path / "again"):
        card = (folder / "README.md").read_text()
        assert all(digest in card for digest in digests) and "| q_proj |" in card and stored["command"] in card
    stored["parts"][0]["weight"] = "much"
    (out / "provenance.json").write_text(json.dumps(stored))
    with pytest.raises(EngineError, match=r"provenance\.json"):
        run(InfoRequest(models=models, target=out), Reporter())


def test_names_stand_in_the_card_instead_of_the_folders(
    tmp_path: Path, tiny_llama_folder: Path, adapters: tuple[Path, Path]
) -> None:
    told = combine(tiny_llama_folder, adapters, tmp_path / "sum", names=("my cats", "dogs"))
    assert [part["name"] for part in told["parts"]] == ["my cats", "dogs"]
    card = (tmp_path / "sum" / "README.md").read_text()
    assert "combine 'my cats' dogs " in card and "first" not in card


def test_what_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_llama_folder: Path, adapters: tuple[Path, Path]
) -> None:
    first, second = adapters
    before = {file.name: file.read_bytes() for file in first.iterdir()}
    with pytest.raises(EngineError, match="already exists"):
        combine(tiny_llama_folder, adapters, first)
    with pytest.raises(EngineError, match="lies inside"):
        combine(tiny_llama_folder, adapters, second / "sum")
    with pytest.raises(EngineError, match="only be copied"):
        combine(tiny_llama_folder, (first,), tmp_path / "copy")
    with pytest.raises(EngineError, match="1 names do not go with 2 adapters"):
        combine(tiny_llama_folder, adapters, tmp_path / "sum", names=("one",))
    with pytest.raises(EngineError, match=r"adapter_config\.json"):
        combine(tiny_llama_folder, (first, tmp_path / "nothing"), tmp_path / "sum")
    assert before == {file.name: file.read_bytes() for file in first.iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_part_may_be_replaced_by_the_sum(
    tmp_path: Path, tiny_llama_folder: Path, adapters: tuple[Path, Path]
) -> None:
    expected = combine(tiny_llama_folder, adapters, tmp_path / "sum")
    replaced = combine(tiny_llama_folder, adapters, adapters[0], replace=True)
    assert replaced["parts"] == expected["parts"]
    name = "adapter_model.safetensors"
    assert (adapters[0] / name).read_bytes() == (tmp_path / "sum" / name).read_bytes()
