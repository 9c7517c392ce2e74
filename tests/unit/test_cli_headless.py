"""stdout is data, stderr is narration, the exit code is the outcome."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnd_tui.headless import run
from engine.errors import Cancelled, EngineError, setting
from engine.events import AnswerText, Reporter
from engine.jobs.results import Result
from engine.requests import CollectRequest, CompareRequest, GenerateRequest, ModelChoice, ModelsRequest, PromptChoice

GENERATE = GenerateRequest(models=ModelChoice(), prompts=PromptChoice(source=Path("p")), out=Path("adapter"))
COMPARE = CompareRequest(models=ModelChoice(), prompts=PromptChoice(source=Path("p")))


Job = Callable[[Any, Reporter], Any]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Job], None]]:
    """Puts a function in the place of the engine's job."""
    before = dict(os.environ)
    jobs = types.ModuleType("engine.jobs")
    monkeypatch.setitem(sys.modules, "engine.jobs", jobs)
    yield lambda job: setattr(jobs, "run", job)
    os.environ.clear()
    os.environ.update(before)


def raising(error: BaseException) -> Job:
    def job(request: Any, reporter: Reporter) -> Any:
        raise error

    return job


def working(request: Any, reporter: Reporter) -> Result:
    with reporter.stage("encode", 2) as stage:
        stage.advance(2)
    reporter.note("few prompts", warning=True)
    data = {"out": Path("adapter"), "loss": float("nan"), "name": "é"}
    return Result(data, (("adapter", "here"), ("size", "5 MB")))


def test_text_on_stdout_progress_on_stderr(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(working)
    assert run(GENERATE) == 0
    told = capsys.readouterr()
    assert told.out == "adapter  here\nsize     5 MB\n"
    assert told.err.splitlines()[0].startswith("encode 2/2 ")
    assert told.err.splitlines()[1:] == ["warning: few prompts"]


def test_json_is_one_valid_object(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(working)
    assert run(GENERATE, as_json=True) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line, parse_constant=pytest.fail) == {"out": "adapter", "loss": None, "name": "é"}


def answering(request: Any, reporter: Reporter) -> Result:
    for row, arm, text, done in [
        (0, "base", "Par", False),
        (0, "adapted", "Paris\x1b[2J", True),
        (0, "base", "is is", True),
        (1, "base", "no end", False),
    ]:
        reporter.emit(AnswerText(row, arm, text, done))
    return Result({"score": 1.0}, (("score", "1.0"),))


def test_answers_as_json_lines_then_the_result(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(answering)
    assert run(COMPARE, as_json=True) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"row": 0, "answers": {"base": "Paris is", "adapted": "Paris\x1b[2J"}},
        {"row": 1, "answers": {"base": "no end"}},
        {"score": 1.0},
    ]


def test_answers_for_people_one_after_the_other_and_harmless(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(answering)
    assert run(COMPARE) == 0
    assert capsys.readouterr().out == (
        "[0] base\nParis is\n\n[0] adapted\nParis\\x1b[2J\n\n[1] base\nno end\n\nscore  1.0\n"
    )


def test_engine_error_is_one_line(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(raising(EngineError("no prompts\nhere", where="p.txt", hint="Name a column")))
    assert run(GENERATE) == 1
    assert capsys.readouterr() == ("", "error: p.txt: no prompts here. Name a column\n")


def test_settings_are_called_as_the_command_has_them(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def job(request: Any, reporter: Reporter) -> Result:
        reporter.note(f"longer ones are cut by {setting('max_new_tokens')}")
        if request is GENERATE:
            raise EngineError("is out of range", where=setting("answered"), hint=f"Lower {setting('rank')}")
        return Result({}, (("next", f"export it with {setting('float_type')}"),))

    engine(job)
    assert run(GENERATE) == 1
    assert capsys.readouterr().err == (
        "note: longer ones are cut by --max-new-tokens\nerror: --rows: is out of range. Lower --rank\n"
    )
    assert run(COMPARE) == 0
    assert capsys.readouterr().out == "next  export it with --float-type\n"


def test_unexpected_error_names_its_type_and_the_way_to_more(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(raising(KeyError("layers")))
    assert run(GENERATE) == 1
    assert capsys.readouterr().err == "error: unexpected failure: KeyError: 'layers'. Add --debug for the traceback\n"


def test_debug_adds_the_traceback(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(raising(EngineError("no prompts")))
    assert run(GENERATE, debug=True) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told and told.endswith("error: no prompts\n")


class OutOfMemoryError(RuntimeError):
    """torch's own has this name; torch is not imported here."""


@pytest.mark.parametrize(
    "error", [MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_names_settings_that_the_command_has(
    engine: Any, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    engine(raising(error))
    assert run(COMPARE) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: out of memory. Try ")
    assert "--max-new-tokens" in told and "--count" in told and "--batch" not in told


def test_out_of_memory_of_a_command_without_such_settings(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    engine(raising(MemoryError()))
    assert run(ModelsRequest()) == 1
    assert capsys.readouterr().err == "error: out of memory\n"


@pytest.mark.parametrize("way", [KeyboardInterrupt(), Cancelled()])
def test_stopped_says_what_is_kept(engine: Any, capsys: pytest.CaptureFixture[str], way: BaseException) -> None:
    engine(raising(way))
    assert run(GENERATE) == 130
    collect = CollectRequest(models=ModelChoice(), tasks=Path("t"), out=Path("lib"))
    assert run(collect) == 130
    first, second = capsys.readouterr().err.splitlines()
    assert first == "stopped: adapter is as it was, or complete; it is never half written"
    assert "lib" in second and "goes on" in second


def test_libraries_are_kept_quiet_unless_debugging(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("TOKENIZERS_PARALLELISM", "HF_HUB_DISABLE_TELEMETRY", "TRANSFORMERS_VERBOSITY", "TQDM_DISABLE")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    seen: list[dict[str, str | None]] = []

    def job(request: Any, reporter: Reporter) -> Result:
        seen.append({name: os.environ.get(name) for name in names})
        return Result({}, ())

    engine(job)
    run(GENERATE, debug=True)
    assert seen[-1] == dict.fromkeys(names) | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    run(GENERATE)
    assert seen[-1]["TRANSFORMERS_VERBOSITY"] == "error" and seen[-1]["TQDM_DISABLE"] == "1"
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    run(GENERATE)
    assert seen[-1]["TRANSFORMERS_VERBOSITY"] == "info"
