"""Export and info tell who takes the adapter, with commands for the folder it is really in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from engine.events import Reporter
from engine.jobs import run
from engine.requests import ExportRequest, InfoRequest, ModelChoice
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import tiny_config
from tests.unit.adapter_parts import random_adapter, write_peft_folder


def test_export_and_info_tell_the_same(tmp_path: Path, tiny_llama_folder: Path) -> None:
    adapter = random_adapter(derive_layout(tiny_config("llama"), LoraSpec(2, 4)), size=0.02)
    write_peft_folder(tmp_path / "adapter", adapter, tiny_llama_folder.name)
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    out = tmp_path / "an export"
    exported = run(ExportRequest(models=models, adapter=tmp_path / "adapter", out=out), Reporter()).to_json()
    told: list[dict[str, Any]] = exported["consumers"]
    assert [each["consumer"] for each in told if each["accepts"]] == ["transformers + peft", "vLLM", "SGLang", "Ollama"]
    for each in told[1:3]:
        words = shlex.split(each["command"])
        assert f"adapted={out}" in words and str(tiny_llama_folder) in words
    info = run(InfoRequest(models=models, target=out), Reporter())
    assert info.to_json()["consumers"] == told
    assert ("vLLM", told[1]["command"]) in info.summary()
    # Of a base that is not named, only its name is known.
    unknown = run(InfoRequest(models=ModelChoice(), target=out), Reporter()).to_json()["consumers"]
    assert [each["consumer"] for each in unknown if each["accepts"]] == ["transformers + peft"]
    assert all(each["reason"] for each in unknown)
