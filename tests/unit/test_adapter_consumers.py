"""Who takes an adapter, who does not and why, and commands that survive any path."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.adapter.consumers import Verdict, advice, consumers
from engine.base import source
from engine.base.catalog import DEFAULT_BASE
from engine.base.source import BaseSource, source_named, source_of
from engine.errors import named
from engine.jobs.results import verdict_lines
from engine.weights.layout import ALL_LINEAR, Layout, LayoutModule, LoraSpec

NAMES = ["transformers + peft", "vLLM", "SGLang", "Ollama", "llama.cpp", "MLX"]
FOLDER = Path("/my adapters/it's $HOME")
LOCAL = Path("/models/a base.gguf")


def layout(rank: int = 8, kinds: tuple[str, ...] = ALL_LINEAR) -> Layout:
    paths = [f"model.layers.0.{'self_attn' if kind in ALL_LINEAR[:4] else 'mlp'}.{kind}" for kind in kinds]
    return Layout(tuple(LayoutModule(path, 32, 32) for path in paths), LoraSpec(rank, 16, kinds))


def verdicts(base: BaseSource, form: str = "peft", **about: Any) -> dict[str, Verdict]:
    found = consumers(FOLDER, layout(**about), base, form=form)
    assert [verdict.consumer for verdict in found] == NAMES
    for verdict in found:
        # A refusal says why and what to do; nothing refused comes with a command.
        assert verdict.reason and (verdict.accepts or (advice(verdict, str) and verdict.command is None))
        assert verdict.accepts == (form in verdict.formats)
    return {verdict.consumer: verdict for verdict in found}


def accepting(found: dict[str, Verdict]) -> list[str]:
    return [name for name, verdict in found.items() if verdict.accepts]


def test_a_llama_adapter_goes_everywhere_that_reads_peft_folders() -> None:
    found = verdicts(BaseSource("owner/model", "llama", LOCAL))
    assert accepting(found) == NAMES[:4]
    assert "no PEFT folders" in found["MLX"].reason and advice(found["MLX"], "as {}".format) == "as mlx"
    assert "reads GGUF adapters" in found["llama.cpp"].reason
    assert advice(found["llama.cpp"], "as {}".format) == "as gguf"
    assert named(dict(verdict_lines(tuple(found.values())))["llama.cpp"]).endswith(". Export it with format gguf")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("merged", {"transformers + peft", "vLLM", "SGLang", "MLX"}),
        ("gguf", {"Ollama", "llama.cpp"}),
        ("gguf-merged", {"Ollama", "llama.cpp"}),
        ("ollama", {"Ollama"}),
        ("mlx", {"MLX"}),
    ],
)
def test_each_form_has_its_readers_and_each_reader_says_its_forms(form: str, expected: set[str]) -> None:
    found = verdicts(BaseSource("owner/model", "llama", LOCAL), form)
    assert set(accepting(found)) == expected
    for name, verdict in found.items():
        assert verdict.formats == verdicts(BaseSource("owner/model", "llama", LOCAL))[name].formats
        if verdict.accepts:
            words = shlex.split(verdict.command or "")
            assert any(word.startswith(str(FOLDER)) for word in words), name


def test_the_commands_of_the_other_forms() -> None:
    base = BaseSource("owner/model", "llama", LOCAL)
    words = {form: shlex.split(verdicts(base, form)[name].command or "") for form, name in (
        ("gguf", "llama.cpp"), ("gguf-merged", "llama.cpp"), ("ollama", "Ollama"), ("mlx", "MLX"), ("merged", "vLLM"),
    )}  # fmt: skip
    assert words["gguf"][:5] == ["llama-server", "-m", str(LOCAL), "--lora", f"{FOLDER}/adapter.gguf"]
    assert words["gguf-merged"][:3] == ["llama-server", "-m", f"{FOLDER}/model.gguf"]
    assert words["ollama"] == ["ollama", "create", "adapted", "-f", f"{FOLDER}/Modelfile"]
    assert words["mlx"][:5] == ["mlx_lm.generate", "--model", "owner/model", "--adapter-path", str(FOLDER)]
    assert words["merged"][:3] == ["vllm", "serve", str(FOLDER)]


def test_what_is_in_a_zip_file_is_taken_out_first() -> None:
    archive = FOLDER.with_suffix(".zip")
    found = consumers(FOLDER, layout(), BaseSource("owner/model", "llama", LOCAL), archive=archive)
    for verdict in found:
        if verdict.accepts:
            assert shlex.split(verdict.command or "")[:5] == [
                "unzip",
                "-q",
                str(archive),
                "-d",
                "/my adapters",
            ]


def test_without_the_bases_file_llama_cpp_is_told_to_make_it() -> None:
    verdict = verdicts(BaseSource("owner/model", "llama"), "gguf")["llama.cpp"]
    assert "base.gguf" in shlex.split(verdict.command or "") and "convert_hf_to_gguf.py" in (verdict.fix or "")


def test_commands_name_the_real_folder_whatever_is_in_its_name() -> None:
    found = verdicts(BaseSource("owner/model", "llama", LOCAL))
    words = {name: shlex.split(found[name].command or "") for name in NAMES[:4]}
    assert words["vLLM"] == [
        *("vllm", "serve", "owner/model", "--enable-lora", "--max-lora-rank", "8"),
        *("--lora-modules", f"adapted={FOLDER}"),
    ]
    assert words["SGLang"][-2:] == ["--lora-paths", f"adapted={FOLDER}"]
    assert words["Ollama"][:4] == ["printf", r"FROM %s\nADAPTER %s\n", str(LOCAL), str(FOLDER)]
    code = ast.walk(ast.parse(words["transformers + peft"][-1]))
    assert {node.value for node in code if isinstance(node, ast.Constant)} == {"owner/model", str(FOLDER)}


@pytest.mark.parametrize(("rank", "largest"), [(1, "1"), (4, "8"), (16, "16"), (300, "320"), (512, "512")])
def test_vllm_is_told_a_rank_that_it_takes(rank: int, largest: str) -> None:
    words = shlex.split(verdicts(BaseSource("owner/model", "llama"), rank=rank)["vLLM"].command or "")
    assert words[words.index("--max-lora-rank") + 1] == largest


def test_a_rank_that_vllm_does_not_take_is_refused_there_alone() -> None:
    found = verdicts(BaseSource("owner/model", "llama", LOCAL), rank=600)
    assert accepting(found) == ["transformers + peft", "SGLang", "Ollama"]
    assert "512" in found["vLLM"].reason and "600" in found["vLLM"].reason


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("mistral", NAMES[:4]),
        ("gemma2", NAMES[:4]),
        ("qwen2", NAMES[:3]),
        ("qwen3", NAMES[:3]),
        ("brand_new", NAMES[:1]),
        (None, NAMES[:1]),
    ],
)
def test_the_architecture_decides_about_servers_and_ollama(architecture: str | None, expected: list[str]) -> None:
    assert accepting(verdicts(BaseSource("owner/model", architecture, LOCAL))) == expected


def test_modules_beyond_the_usual_linear_ones_are_refused_by_servers_and_ollama() -> None:
    found = verdicts(BaseSource("owner/model", "llama", LOCAL), kinds=("q_proj", "lm_head"))
    assert accepting(found) == ["transformers + peft"]
    assert all("lm_head" in found[name].reason for name in ("vLLM", "SGLang", "Ollama"))


def test_a_gguf_base_is_for_peft_and_ollama() -> None:
    found = verdicts(BaseSource(str(LOCAL), "llama", LOCAL))
    assert accepting(found) == ["transformers + peft", "Ollama"]
    assert 'gguf_file="a base.gguf"' in shlex.split(found["transformers + peft"].command or "")[-1]


def test_ollama_without_the_base_here_is_told_what_it_needs() -> None:
    verdict = verdicts(BaseSource("owner/model", "llama"))["Ollama"]
    assert verdict.accepts and verdict.command is None and "owner/model" in (verdict.fix or "")


def ref(**fields: Any) -> Any:
    about = {"id": "tiny", "folder": "/f", "gguf_file": None, "hub_id": None} | fields
    return SimpleNamespace(config=SimpleNamespace(model_type="qwen2"), **about)


def test_the_source_of_a_base_that_was_found() -> None:
    assert source_of(ref()) == BaseSource("/f", "qwen2", Path("/f"))
    assert source_of(ref(gguf_file="m.gguf")) == BaseSource("/f/m.gguf", "qwen2", Path("/f/m.gguf"))
    assert source_of(ref(id="o/m", hub_id="o/m")) == BaseSource("o/m", "qwen2", Path("/f"))


def test_the_default_base_is_given_by_its_hub_id_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "find_model_files", lambda model: tmp_path)
    expected = BaseSource(DEFAULT_BASE.hub_id, "llama", tmp_path / DEFAULT_BASE.weights.path, DEFAULT_BASE)
    assert source_of(ref(id=DEFAULT_BASE.hub_id)) == expected == source_named(DEFAULT_BASE.hub_id, "default")
    monkeypatch.setattr(source, "find_model_files", lambda model: None)
    assert source_named(DEFAULT_BASE.hub_id, "default").local is None


def test_the_source_of_a_base_that_an_adapter_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    assert source_named(str(folder), "default") == BaseSource(str(folder), "qwen3", folder)
    # Our adapters carry the name of a base folder, not its place.
    assert source_named("tiny", str(folder)) == BaseSource(str(folder), "qwen3", folder)
    assert source_named("other", str(folder)) == BaseSource("other", None)
    file = tmp_path / "weights.gguf"
    file.write_bytes(b"GGUF")
    assert source_named("weights", str(file)) == BaseSource(str(file), None, file)
    (folder / "config.json").write_text("broken")
    assert source_named("tiny", str(folder)).architecture is None
