"""The engine from Python, as `docs/library.py` shows it, on a tiny base."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.adapter.peft_folder import read_peft_folder
from engine.base.load import LoadedBase
from engine.errors import EngineError
from engine.events import StageFinished

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_runs(
    tiny_llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (ROOT / "docs" / "library.py").read_text(encoding="utf-8")
    assert code.count("engine.load()") == 1
    code = code.replace("assets/", f"{ROOT}/assets/").replace("load()", f"load({str(tiny_llama_folder)!r})")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "library.py", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "prompt response" in printed and "topics-adapter examples" in printed and " right; the base alone" in printed
    assert len(list((tmp_path / "topics-gguf").glob("*.gguf"))) == 1
    read_peft_folder(tmp_path / "topics-adapter")


def test_without_answers_or_instruction_solving_is_refused(tiny_llama_folder: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "words.txt"
    prompts.write_text("who\nwhen\nwhere\n")
    models = engine.load(str(tiny_llama_folder))
    with pytest.raises(EngineError, match="neither answers nor an instruction"):
        engine.solve(models, prompts, tmp_path / "out")
    stages: list[str] = []

    def note(event: object) -> None:
        if isinstance(event, StageFinished):
            stages.append(event.stage)

    adapter = engine.solve(models, prompts, tmp_path / "out", context="Answer in one word.", on_event=note)
    assert adapter.made_from == "instruction" and adapter.verdict == "" and "solve" in stages
    (answers,) = engine.compare(models, ["who"], [adapter, adapter.folder], max_new_tokens=2)
    assert answers.prompt == "who" and len(answers.answers) == 3 and answers.scores in (None, {})


def test_the_generator_reads_the_prompts_alone(default_base: LoadedBase, tmp_path: Path) -> None:
    prompts = tmp_path / "words.txt"
    prompts.write_text("who\nwhen\nwhere\n")
    adapter = engine.generate(engine.load(), str(prompts), tmp_path / "out")
    assert (adapter.made_from, adapter.base) == ("generator", default_base.ref.id)


def test_importing_the_engine_is_light() -> None:
    code = "import sys, engine; engine.solve; print({'torch', 'transformers', 'pyarrow'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.strip() == "set()"
