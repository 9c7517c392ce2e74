"""The command line says everything a request can hold, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from dnd_tui import __version__
from dnd_tui.cli import main
from dnd_tui.options import DIFFERING, OPTIONS, build, names
from engine import requests
from engine.jobs.declared import JOBS
from engine.jobs.results import Result
from engine.requests import CompareRequest, EvaluateRequest, ExportRequest, GenerateRequest, ModelsRequest, TrainRequest


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that reach the engine."""
    seen: list[Any] = []

    def run(request: Any, reporter: Any) -> Result:
        seen.append(request)
        return Result({}, ())

    monkeypatch.setattr("engine.jobs.run", run)
    return seen


def leave(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_every_request_has_a_command_and_every_field_a_help_text() -> None:
    # Of use only to whoever has the answer on a screen, or another job after it in the same process.
    for_the_app = {requests.LoadRequest, requests.PreviewRequest}
    commands = {kind: job.command for kind, job in JOBS.items() if job.command}
    assert set(commands) == set(get_args(requests.Request)) - for_the_app
    assert {name for kind in commands for name in names(kind)} == set(OPTIONS)
    assert all(job.help for job in JOBS.values() if job.command)
    fields = {command: set(names(kind)) for kind, command in commands.items() if not JOBS[kind].switch}
    assert all(set(options) <= fields[command] for command, options in DIFFERING.items())


def test_defaults_are_those_of_the_request(asked: list[Any]) -> None:
    assert leave("--headless", "generate", "p.jsonl", "--out", "a") == 0
    prompts = requests.PromptChoice(source=Path("p.jsonl"))
    assert asked == [GenerateRequest(models=requests.ModelChoice(), prompts=prompts, out=Path("a"))]


def test_every_option_reaches_the_request(asked: list[Any]) -> None:
    line = (
        "--headless compare rows.csv --adapter a --adapter b --rows 7 --row 3 --row 17 --text hello --max-new-tokens 9 "
        "--temperature 0.7 --sampling-seed 8 --metric label --examples 8 --column question "
        "--count 5 --seed 3 --base b.gguf --generator g --device cuda:1 --dtype bfloat16 --trust-remote-code"
    )
    assert leave(*line.split()) == 0
    models = requests.ModelChoice(
        base="b.gguf", generator=Path("g"), device="cuda:1", dtype="bfloat16", trust_remote_code=True
    )
    prompts = requests.PromptChoice(source=Path("rows.csv"), column="question", count=5, seed=3)
    expected = CompareRequest(
        models=models,
        prompts=prompts,
        adapters=(Path("a"), Path("b")),
        rows=7,
        numbers=(3, 17),
        texts=("hello",),
        max_new_tokens=9,
        temperature=0.7,
        sampling_seed=8,
        metric="label",
        examples=8,
    )
    assert asked == [expected]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import a.gguf --out b --replace", {"source": Path("a.gguf"), "out": Path("b"), "replace": True}),
        ("export a --out b --float-type float16 --replace", {"adapter": Path("a"), "float_type": "float16"}),
        (
            "generate a.csv b --each --out o --rank 4 --label y --seed 3",
            {"sources": (Path("a.csv"), Path("b")), "out": Path("o"), "label": "y", "seed": 3, "replace": False},
        ),
        ("combine a b --weight 1 --weight -1 --out o", {"adapters": (Path("a"), Path("b")), "weights": (1.0, -1.0)}),
        ("combine a --rank 4 --out o", {"adapters": (Path("a"),), "weights": (), "rank": 4}),
        ("evaluate --tasks t --out o --library l --split seen --rows 5 --batch 2", {"library": Path("l"), "batch": 2}),
        (
            "evaluate --tasks t --out o --arm oracle --arm prompts --task a --task b* --seeds 1 --oracle-steps 9",
            {"arms": ("oracle", "prompts"), "only": ("a", "b*"), "seeds": 1, "oracle_steps": 9},
        ),
        ("evaluate --tasks t --out o", {"arms": (), "only": (), "seeds": 3}),
        ("leave-one-out --table a --table b --out o", {"tables": (Path("a"), Path("b")), "out": Path("o")}),
        ("train --tasks t --library l --out o --recipe r.json --seed 4", {"recipe": Path("r.json"), "seed": 4}),
        ("collect --tasks t --out o", {"recipe": None, "seed": 0}),
        ("models --fetch one --fetch two", {"fetch": ("one", "two")}),
        ("compare p --adapter a", {"adapters": (Path("a"),), "numbers": (), "texts": ()}),
        ("compare --text hello --adapter a", {"prompts": None, "texts": ("hello",)}),
        ("models", {"fetch": ()}),
        ("plan collect --tasks t", {"kind": "collect", "tasks": Path("t"), "library": None, "out": None}),
        ("plan train --tasks t --library l --out o --seed 2", {"kind": "train", "library": Path("l"), "seed": 2}),
        ("measure p.csv --column q", {"source": Path("p.csv"), "column": "q", "steps": 4, "batch": 8}),
        ("measure p --steps 9 --batch 2", {"steps": 9, "batch": 2}),
        ("depth p --out o --predictor --moves skip", {"predictor": True, "moves": "skip", "chains": 200}),
        ("depth-oracle p --out o --length-weight 0.5", {"rows": 16, "chains": 200, "length_weight": 0.5}),
        ("depth-table --tasks t --out o --task a --task b* --chains 9", {"only": ("a", "b*"), "chains": 9, "rows": 32}),
        ("choose-chain s p --column q", {"search": Path("s"), "source": Path("p"), "column": "q", "adapter": None}),
        ("info", {"target": None}),
        ("info some/path --column text", {"target": Path("some/path"), "column": "text"}),
    ],
)
def test_fields_of_each_command(asked: list[Any], line: str, expected: dict[str, Any]) -> None:
    assert leave(*line.split()) == 0
    assert {name: getattr(asked[0], name) for name in expected} == expected


@pytest.mark.parametrize(
    "line",
    [
        "generate p",
        "generate --out a",
        "generate p --out a --dtype int3",
        "generate p q --out a",
        "generate --each --out a",
        "compare p --rows 0",
        "compare p --row 0",
        "compare p --temperature -0.1",
        "compare p --metric nicest",
        "export a --out b --seed 1",
        "combine --out o",
        "combine a b",
        "combine a --out o --rank 0",
        "combine a --out o --weight much",
        "models --device cpu",
        "evaluate --tasks t --out o --rows many",
        "plan everything --tasks t",
        "measure p --steps 0",
        "nonsense",
        "generate p --out a --no-replace",
    ],
)
def test_wrong_use_is_exit_2_and_reaches_no_engine(asked: list[Any], line: str) -> None:
    assert leave("--headless", *line.split()) == 2
    assert asked == []


LAB = ("evaluate", "leave-one-out", "collect", "train", "plan", "measure", "depth-table", "depth-oracle")


@pytest.mark.parametrize("word", ["--headless", "lab"])
@pytest.mark.parametrize(
    "line", ["evaluate --tasks t --out o", "plan collect --tasks t", "measure p", "leave-one-out --table a --out o"]
)
def test_laboratory_commands_keep_their_old_names_for_a_version(
    asked: list[Any], line: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(*line.split()) == 0
    name = line.split()[0]
    assert f'"dnd-tui {name}" is now "dnd-tui lab {name}"' in capsys.readouterr().err
    assert leave(word, *line.split()) == 0
    assert ("is now" in capsys.readouterr().err) == (word == "--headless")
    assert asked[0] == asked[1]


def test_the_laboratory_is_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("lab") == 2
    assert capsys.readouterr().err == f"error: lab needs a command: {', '.join(LAB)}\n"
    assert leave("--help") == 0
    assert not [word for word in LAB if f"  {word} " in capsys.readouterr().out]


def test_headless_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--headless") == 2
    told = capsys.readouterr()
    assert "needs a command" in told.err and "generate" in told.err and told.out == ""


@pytest.mark.parametrize("arguments", [(), ("prompts.jsonl",), ("--base", "x"), ("open",)])
def test_the_app_needs_a_terminal(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert leave(*arguments) == 2
    told = capsys.readouterr()
    assert "needs a terminal" in told.err and "dnd-tui COMMAND" in told.err and told.out == ""


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("generate", "--help") == 0
    assert "dnd-tui generate [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("generat", "generate"), ("evalute", "lab evaluate"), ("comapre", "compare"), ("serv", "serve")],
)
def test_a_mistyped_command_is_not_taken_for_a_file(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert leave(typed, "p.jsonl") == 2
    assert capsys.readouterr().err.endswith(f"Did you mean dnd-tui {meant}?\n")
    (tmp_path / typed).touch()
    assert leave(typed) == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--version") == 0
    assert capsys.readouterr().out == f"dnd-tui {__version__}\n"


@pytest.mark.parametrize("kind", [EvaluateRequest, ExportRequest, ModelsRequest, TrainRequest])
def test_build_keeps_every_value(kind: type[Any]) -> None:
    several = {"fetch", "arms", "only"}
    values = {name: ["a"] if name in several else object() for name in names(kind)}
    made = build(kind, values)
    for name in names(kind):
        holder = made if hasattr(made, name) else made.models
        assert getattr(holder, name) == (("a",) if name in several else values[name])
