"""The import job: what it writes and tells, whose base it takes, what it refuses before anything is written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from engine.adapter.attach import attach
from engine.adapter.gguf import write_gguf_adapter
from engine.adapter.peft_folder import read_peft_folder
from engine.errors import EngineError
from engine.events import Note, Reporter
from engine.jobs import run
from engine.requests import ExportRequest, ImportRequest, InfoRequest, ModelChoice
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_config
from tests.unit.adapter_parts import random_adapter, write_peft_folder

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

WEIGHTS = "adapter_model.safetensors"


def rewrite_config(folder: Path, **changes: Any) -> None:
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A PEFT folder of an rsLoRA."""
    made = random_adapter(derive_layout(tiny_config("llama"), LoraSpec(3, 5, ("q_proj", "up_proj"))), size=0.05)
    write_peft_folder(tmp_path / "theirs", made, "them/tiny-llama")
    rewrite_config(tmp_path / "theirs", use_rslora=True)
    return tmp_path / "theirs"


def imported(base: str | Path, source: Path, out: Path, sink: Any = None, **choices: Any) -> dict[str, Any]:
    models = ModelChoice(base=str(base), device="cpu")
    reporter = Reporter(sink) if sink else Reporter()
    return run(ImportRequest(models=models, source=source, out=out, **choices), reporter).to_json()


def test_what_is_told_and_written(tmp_path: Path, tiny_llama_folder: Path, theirs: Path) -> None:
    digest = hashlib.sha256((theirs / WEIGHTS).read_bytes()).hexdigest()
    before = {file.name: file.read_bytes() for file in theirs.iterdir()}
    heard: list[Any] = []
    out = tmp_path / "ours"
    told = imported(tiny_llama_folder, theirs, out, heard.append)
    assert (told["adapter"], told["format"], told["base"]) == (str(out), "peft", tiny_llama_folder.name)
    assert (told["rank"], told["alpha"], told["modules"], told["named_base"]) == (3, 3, 4, "them/tiny-llama")
    assert told["bytes"] == sum(file.stat().st_size for file in out.iterdir())
    assert told["logit_difference"] <= 1e-5
    changes = [
        "Its scale is that of rsLoRA, alpha / sqrt(rank).",
        "The scale of 4 modules went into lora_B, times 2.88675; alpha / rank = 3 / 3.",
    ]
    assert told["changes"] == changes
    adapter, config = read_peft_folder(out)
    assert config["base_model_name_or_path"] == tiny_llama_folder.name
    path = "model.layers.1.mlp.up_proj"
    update = adapter.layout.lora.scaling * (adapter.b[path] @ adapter.a[path])
    assert told["norms"][path] == pytest.approx(float(update.norm()), rel=1e-4)
    assert [event.text for event in heard if isinstance(event, Note)] == [
        f"The adapter names them/tiny-llama as its base; it is checked on {tiny_llama_folder.name}, and the import "
        "names that"
    ]
    stored = json.loads((out / "provenance.json").read_text())
    assert (stored["source"], stored["digest"], stored["format"]) == ("theirs", digest, "peft")
    assert stored["changes"] == changes
    assert stored["command"] == f"dnd-tui import theirs --out ours --base {tiny_llama_folder}"
    assert before == {file.name: file.read_bytes() for file in theirs.iterdir()}


def test_card_info_and_a_further_export_say_that_it_was_imported(
    tmp_path: Path, tiny_llama_folder: Path, theirs: Path
) -> None:
    out = tmp_path / "ours"
    imported(tiny_llama_folder, theirs, out)
    stored = json.loads((out / "provenance.json").read_text())
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    info = run(InfoRequest(models=models, target=out), Reporter())
    assert info.to_json()["provenance"] == stored
    assert ("imported from", "theirs") in info.summary()
    for form in ("peft", "merged", "gguf", "mlx"):
        run(ExportRequest(models=models, adapter=out, out=tmp_path / form, format=form), Reporter())
    for folder in (out, tmp_path / "peft", tmp_path / "gguf"):
        card = (folder / "README.md").read_text()
        assert "Imported, not generated here" in card and stored["digest"] in card and stored["command"] in card
        assert f"- {stored['changes'][1]}" in card and "Generator" not in card
    wrong = ({"changes": "none"}, {"changes": [1]}, {"format": "zip"}, {"timings": {"read": "fast"}}, {"digest": 1})
    for change in wrong:
        (out / "provenance.json").write_text(json.dumps(stored | change))
        with pytest.raises(EngineError, match=r"provenance\.json"):
            run(InfoRequest(models=models, target=out), Reporter())


def test_a_part_of_the_layers_goes_on_into_every_form(tmp_path: Path, tiny_llama_folder: Path) -> None:
    whole = random_adapter(derive_layout(tiny_config("llama"), LoraSpec(2, 4, ("k_proj", "o_proj"))), size=0.05)
    state = {name: matrix for name, matrix in whole.peft_state().items() if ".layers.1." in name}
    write_peft_folder(tmp_path / "theirs", whole, tiny_llama_folder.name)
    save_file(state, tmp_path / "theirs" / WEIGHTS)
    rewrite_config(tmp_path / "theirs", layers_to_transform=[1])
    told = imported(tiny_llama_folder, tmp_path / "theirs", tmp_path / "ours")
    assert told["modules"] == 2 and "2 modules in 1 layer (k_proj, o_proj)" in told["changes"][0]
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    for form in ("merged", "gguf", "mlx", "ollama"):
        # Each is read back and compared; a difference would be an error.
        run(ExportRequest(models=models, adapter=tmp_path / "ours", out=tmp_path / form, format=form), Reporter())
    for number, exported in enumerate(("gguf/adapter.gguf", "gguf", "ollama")):
        again = tmp_path / f"again {number}"
        imported(tiny_llama_folder, tmp_path / exported, again)
        assert (again / WEIGHTS).read_bytes() == (tmp_path / "ours" / WEIGHTS).read_bytes()


def test_what_is_refused_before_anything_is_written(tmp_path: Path, tiny_llama_folder: Path, theirs: Path) -> None:
    before = {file.name: file.read_bytes() for file in theirs.iterdir()}
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}')
    for source, out, told in (
        (tmp_path / "rows.jsonl", tmp_path / "out", "neither a PEFT folder nor a GGUF adapter"),
        (tmp_path / "nowhere", tmp_path / "out", "no such file or folder"),
        (theirs, tmp_path / "rows.jsonl", "is a file, not a folder"),
        (theirs, theirs / "out", "lies inside"),
        (theirs, theirs, "is what is imported"),
        (theirs, tmp_path, "and would be replaced with it"),
    ):
        with pytest.raises(EngineError, match=told):
            imported(tiny_llama_folder, source, out, replace=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    with pytest.raises(EngineError, match="already exists"):
        imported(tiny_llama_folder, theirs, tmp_path / "full")
    rewrite_config(theirs, use_dora=True)
    with pytest.raises(EngineError, match="use_dora is set"):
        imported(tiny_llama_folder, theirs, tmp_path / "full", replace=True)
    rewrite_config(theirs, use_dora=False)
    assert before == {file.name: file.read_bytes() for file in theirs.iterdir()}
    assert (tmp_path / "full" / "mine.txt").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "rows.jsonl", "theirs"]


def test_an_adapter_of_another_base_is_told_before_that_is_loaded(
    tmp_path: Path, tiny_qwen2_folder: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine import pipeline

    monkeypatch.setattr(pipeline, "load_base", lambda *_, **__: pytest.fail("the base was loaded"))
    with pytest.raises(EngineError, match="names them/tiny-llama as its base") as caught:
        imported("default", theirs, tmp_path / "out")
    assert "base them/tiny-llama" in str(caught.value) and "base SmolLM2-135M-Instruct" in str(caught.value)
    wide = random_adapter(derive_layout(tiny_config("llama", intermediate_size=64), LoraSpec(2, 2, ("up_proj",))))
    write_peft_folder(tmp_path / "wide", wide, "")
    with pytest.raises(EngineError, match="maps 32 to 64 values, the base 32 to 48"):
        imported(tiny_qwen2_folder, tmp_path / "wide", tmp_path / "out")
    write_gguf_adapter(tmp_path / "a.gguf", wide, tiny_config("llama"), name="wide")
    with pytest.raises(EngineError, match="is for bases of type llama, this one is of type qwen2"):
        imported(tiny_qwen2_folder, tmp_path / "a.gguf", tmp_path / "out")


@pytest.mark.parametrize(
    "named",
    [
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "unsloth/smollm2-135m-instruct-unsloth-bnb-4bit",
        "/somewhere/SmolLM2-135M-Instruct/",
        "",
    ],
)
def test_the_default_base_by_other_names(
    tmp_path: Path, theirs: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.jobs import adapters

    def found(*_: Any) -> None:
        raise EngineError("the default base was asked for")

    monkeypatch.setattr(adapters, "find_chosen_base", found)
    rewrite_config(theirs, base_model_name_or_path=named)
    with pytest.raises(EngineError, match="the default base was asked for"):
        imported("default", theirs, tmp_path / "out")


def logits(base: LoadedBase, adapter: LoraAdapter) -> torch.Tensor:
    with attach(base, adapter) as attached, torch.inference_mode():
        return attached(input_ids=torch.tensor([[1, 4093, 198, 28120, 2]])).logits


def test_a_gguf_export_for_the_default_base_comes_back(tmp_path: Path, default_base: LoadedBase) -> None:
    adapter = random_adapter(derive_layout(default_base.ref.config, LoraSpec(8, 12)), size=0.02)
    write_gguf_adapter(tmp_path / "adapter.gguf", adapter, default_base.ref.config, name="mine")
    told = imported("default", tmp_path / "adapter.gguf", tmp_path / "ours")
    assert (told["base"], told["modules"], told["changes"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", 210, [])
    ours, _ = read_peft_folder(tmp_path / "ours")
    assert ours.layout == adapter.layout
    assert torch.equal(logits(default_base, ours), logits(default_base, adapter))
