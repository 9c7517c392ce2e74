"""The export job in every form: what is told, what refuses, and what a kill or a full disk leaves behind."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.adapter.formats import FORMATS
from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs import run
from engine.requests import ExportRequest, InfoRequest, ModelChoice
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import tiny_config
from tests.unit.adapter_parts import random_adapter, write_peft_folder

# The tiny base is a folder: it has no GGUF file to merge into.
FORMS = [name for name in FORMATS if name != "gguf-merged"]
FILES = {
    "peft": "adapter_model.safetensors",
    "merged": "model.safetensors",
    "gguf": "adapter.gguf",
    "ollama": "Modelfile",
    "mlx": "adapters.safetensors",
}


@pytest.fixture
def adapter(tmp_path: Path, tiny_llama_folder: Path) -> Path:
    made = random_adapter(derive_layout(tiny_config("llama"), LoraSpec(2, 4)), size=0.02)
    write_peft_folder(tmp_path / "adapter", made, tiny_llama_folder.name)
    return tmp_path / "adapter"


def export(adapter: Path, base: Path, out: Path, form: str, **choices: Any) -> dict[str, Any]:
    models = ModelChoice(base=str(base), device="cpu")
    request = ExportRequest(models=models, adapter=adapter, out=out, format=form, **choices)
    return run(request, Reporter()).to_json()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_under_an_odd_name_and_as_a_zip_file(
    tmp_path: Path, adapter: Path, tiny_llama_folder: Path, form: str
) -> None:
    out = tmp_path / "it's my f\u00f6lder \u96ea" / "new one"
    told = export(adapter, tiny_llama_folder, out, form)
    assert told["adapter"] == str(out) and told["format"] == form
    differences = [told[name] for name in ("logit_difference", "rounding_difference") if told[name] is not None]
    assert differences and max(differences) <= (1e-4 if form == "merged" else 1e-5)
    assert {"README.md", FILES[form]} <= set(names(out)) and names(out.parent) == ["new one"]
    taking = [each for each in told["consumers"] if each["accepts"]]
    assert taking and all(form in each["formats"] for each in taking)
    assert all("new one" in each["command"] for each in taking)

    zipped = export(adapter, tiny_llama_folder, out, form, zip=True)
    assert zipped["adapter"] == f"{out}.zip" and zipped["bytes"] == Path(f"{out}.zip").stat().st_size
    with zipfile.ZipFile(f"{out}.zip") as archive:
        for name in names(out):
            if name != "README.md":  # says how it was made
                assert archive.read(f"new one/{name}") == (out / name).read_bytes(), name


@pytest.mark.parametrize("form", FORMS)
def test_the_size_told_before_is_about_that_on_disk(
    tmp_path: Path, adapter: Path, tiny_llama_folder: Path, form: str
) -> None:
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    info = run(InfoRequest(models=models, target=adapter), Reporter()).to_json()
    for float_type in FORMATS[form].float_types:
        out = tmp_path / float_type
        told = export(adapter, tiny_llama_folder, out, form, float_type=float_type)
        assert told["bytes"] == sum(file.stat().st_size for file in out.iterdir())
        expected = info["formats"][form]["bytes"][float_type]
        # A tiny model has no vocabulary of megabytes.
        assert abs(expected - told["bytes"]) < (3_100_000 if form == "merged" else 5_000)
        if float_type != "float32":
            assert told["rounding_difference"] > 0


def test_info_tells_every_form(adapter: Path, tiny_llama_folder: Path) -> None:
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    formats = run(InfoRequest(models=models, target=adapter), Reporter()).to_json()["formats"]
    assert list(formats) == list(FORMATS)
    assert [name for name, known in formats.items() if known["refused"]] == ["gguf-merged"]
    assert "convert_hf_to_gguf.py" in formats["gguf-merged"]["refused"]
    json.dumps(formats)


def test_what_cannot_be_is_told_in_one_line_and_changes_nothing(
    tmp_path: Path, adapter: Path, tiny_llama_folder: Path, tiny_gemma_folder: Path
) -> None:
    other = tmp_path / "gemma"
    write_peft_folder(other, random_adapter(derive_layout(tiny_config("gemma2"), LoraSpec(2, 4)), size=0.02), "g")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "there.zip").mkdir()
    before = names(tmp_path)
    cases: list[tuple[str, Path, Path, Path, dict[str, Any]]] = [
        ("no merged GGUF model can be written.*convert_hf_to_gguf", adapter, tiny_llama_folder, tmp_path / "o",
         {"form": "gguf-merged"}),
        ("a base of type gemma2 is not one of those", other, tiny_gemma_folder, tmp_path / "o", {"form": "gguf"}),
        ("cannot be written as bfloat16", adapter, tiny_llama_folder, tmp_path / "o",
         {"form": "ollama", "float_type": "bfloat16"}),
        ("is a file, not a folder", adapter, tiny_llama_folder, tmp_path / "file", {"form": "mlx"}),
        ("is a folder, not a file", adapter, tiny_llama_folder, tmp_path / "there", {"form": "mlx", "zip": True}),
        ("lies inside", adapter, tiny_llama_folder, adapter / "o", {"form": "merged"}),
        ("lies inside", adapter, tiny_llama_folder, adapter / "o", {"form": "gguf", "zip": True}),
        ("name too long", adapter, tiny_llama_folder, tmp_path / ("x" * 300), {"form": "gguf"}),
    ]  # fmt: skip
    if Path("/sys/kernel").is_dir():
        cases.append(("cannot be written", adapter, tiny_llama_folder, Path("/sys/kernel/o"), {"form": "gguf"}))
    for problem, source, base, out, choices in cases:
        with pytest.raises(EngineError, match=problem) as raised:
            export(source, base, out, **choices)
        assert "\n" not in str(raised.value)
    assert names(tmp_path) == before and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, adapter: Path, tiny_llama_folder: Path, form: str) -> None:
    """A limit of the size of files is the full disk that a test can have without being root."""
    out = tmp_path / "out"
    shutil.copytree(adapter, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(EngineError, match="the disk is full"):
            export(adapter, tiny_llama_folder, out, form, replace=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert names(tmp_path) == ["adapter", "out"]


@pytest.mark.parametrize("stage", ["write", "check"])
def test_killed_in_the_middle_the_old_export_is_there(
    tmp_path: Path, adapter: Path, tiny_llama_folder: Path, stage: str
) -> None:
    """The real command, killed by kill -9 as soon as it is at this stage; what is left beside it is hidden."""
    out = tmp_path / "out"
    shutil.copytree(adapter, out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    script = (
        "import sys, time; from engine.adapter.writers import MergedModel\n"
        "real = getattr(MergedModel, sys.argv[1])\n"
        "def slow(*given):\n"
        "    found = real(*given); print('here', flush=True); time.sleep(60); return found\n"
        "setattr(MergedModel, real.__name__, slow)\n"
        "from dnd_tui.cli import main; main(sys.argv[2:])\n"
    )
    words = ["export", str(adapter), "--out", str(out), "--format", "merged", "--replace"]
    command = [sys.executable, "-c", script, stage, *words, "--base", str(tiny_llama_folder), "--device", "cpu"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert running.stdout is not None and running.stdout.readline() == "here\n"
    running.kill()
    running.communicate()
    time.sleep(0.05)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    left = [name for name in names(tmp_path) if name not in ("adapter", "out")]
    assert len(left) == 1 and left[0].startswith(".out.") and left[0].endswith(".part")
