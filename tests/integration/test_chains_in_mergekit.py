"""What mergekit itself makes of an exported recipe answers as the chain of layers does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.base.catalog import DEFAULT_BASE
from engine.base.convert import base_folder
from engine.base.load import load_base, resolve_base
from engine.depth.chain import parse_chain
from engine.depth.export import MERGEKIT_FILE
from engine.depth.view import chain_view
from engine.events import Reporter
from engine.jobs import run
from engine.requests import ChainExportRequest, ModelChoice
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer

IDS = torch.tensor([list(range(5, 30))])


def merged(recipe: Path, out: Path) -> torch.nn.Module:
    """The recipe's model, made by mergekit's own command."""
    command = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(recipe), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()


def check(base_folder: Path, words: str, tmp_path: Path) -> None:
    models = ModelChoice(base=str(base_folder), device="cpu")
    run(ChainExportRequest(models=models, chain=words, out=tmp_path / "recipe", format="mergekit"), Reporter())
    model = merged(tmp_path / "recipe" / MERGEKIT_FILE, tmp_path / "merged")
    base = load_base(resolve_base(str(base_folder)), device="cpu").model
    chain = parse_chain(words, base.config.num_hidden_layers)
    assert model.config.num_hidden_layers == len(chain)
    with torch.inference_mode():
        ours, theirs = (each(input_ids=IDS).logits for each in (chain_view(base, chain), model))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("llama", "0-1,3"),
        ("llama", "0-2,1-2,1-3,3"),
        # The other families list their layers' types in the config, and mergekit leaves that list as it is.
        ("qwen2", "0-1,1,3"),
        ("qwen3", "0,2,2-3"),
    ],
)
def test_a_recipe_of_a_tiny_base(family: str, words: str, tmp_path: Path) -> None:
    tiny_model(family, num_hidden_layers=4).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    check(tmp_path / "base", words, tmp_path)


def test_a_recipe_of_the_default_base(tmp_path: Path) -> None:
    """Of a folder as the hub has it; copies that older versions converted do not name their architecture."""
    folder = tmp_path / "base"
    folder.mkdir()
    for file in base_folder(DEFAULT_BASE).iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    check(folder, "0-12,10-12,15-29", tmp_path)
