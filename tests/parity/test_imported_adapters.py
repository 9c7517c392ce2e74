"""An imported adapter answers as the program that made it: peft itself, with every setting that is folded away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from engine.adapter.peft_folder import read_peft_folder
from engine.events import Reporter
from engine.jobs import run
from engine.requests import ImportRequest, ModelChoice

# The same products in float32; only the scale is taken at another place. Logits are below 10, and B is rounded once
# more at most: a relative error of some 1e-7 a module.
TOLERANCE = 1e-5
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "all linear": {"r": 3, "lora_alpha": 5, "target_modules": "all-linear"},
    "rslora": {"r": 8, "lora_alpha": 4, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]},
    "float alpha": {"r": 4, "lora_alpha": 2.7, "target_modules": ["o_proj"]},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "k_proj", "up_proj"],
        "rank_pattern": {"q_proj": 2, "model.layers.1.self_attn.k_proj": 6},
        "alpha_pattern": {"up_proj": 3, r"^model\.layers\.0\.self_attn\.k_proj": 7, r".*\.0\.self_attn\.q_proj": 1},
    },
    # Of several that match, the first counts; peft writes them sorted.
    "patterns that overlap": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "up_proj"],
        "alpha_pattern": {".*q_proj": 2, "layers.0.mlp.up_proj": 12, "q_proj": 5, "up_proj": 3},
    },
    "everything": {
        "r": 4,
        "lora_alpha": 6,
        "use_rslora": True,
        "target_modules": ["q_proj", "k_proj", "gate_proj"],
        "layers_to_transform": [1],
        "rank_pattern": {"k_proj": 5},
        "alpha_pattern": {"gate_proj": 2.5, "k_proj": 9},
    },
}


def logits(base: Path, adapter: Path) -> torch.Tensor:
    """(1, 6, vocabulary), of peft alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    with torch.no_grad():
        return model(torch.tensor([[5, 80, 41, 7, 200, 3]])).logits


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logits_are_those_of_peft(tmp_path: Path, tiny_llama_folder: Path, settings: dict[str, Any]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_llama_folder, dtype=torch.float32)
    torch.manual_seed(3)
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, lora_dropout=0.1, **settings)
    made = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    made.save_pretrained(str(tmp_path / "theirs"))
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    told = run(ImportRequest(models=models, source=tmp_path / "theirs", out=tmp_path / "ours"), Reporter()).to_json()
    expected = logits(tiny_llama_folder, tmp_path / "theirs")
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_llama_folder, dtype=torch.float32)
    with torch.no_grad():
        assert (base(torch.tensor([[5, 80, 41, 7, 200, 3]])).logits - expected).abs().max() > 1000 * TOLERANCE
    assert (logits(tiny_llama_folder, tmp_path / "ours") - expected).abs().max() <= TOLERANCE
    ours, written = read_peft_folder(tmp_path / "ours")
    assert (told["rank"], told["parameters"]) == (ours.layout.lora.rank, ours.layout.parameters)
    assert not (written["use_rslora"] or written["rank_pattern"] or written["alpha_pattern"])
    modules = sum(hasattr(module, "lora_A") for module in made.modules())
    assert len(ours.layout.modules) == told["modules"] == modules
