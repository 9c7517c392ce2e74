"""Errors of the engine name settings; the command line, the app and a notebook call each by their own name for it."""

from __future__ import annotations

import ast
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import engine
from dnd_tui.field_names import DIFFERING, NAMES, app_names, in_app
from dnd_tui.headless import run
from engine.errors import ANOTHER_OUT, EngineError, named, setting
from engine.host import Failed
from engine.jobs.command_line import leaves
from engine.requests import (
    CombineRequest,
    ContextChoice,
    DepthRequest,
    GenerateRequest,
    LeaveOneOutRequest,
    ModelChoice,
    PromptChoice,
    Request,
    SheetRequest,
    TeachRequest,
)

ROOT = Path(__file__).resolve().parents[2]
ENGINE = sorted(ROOT.glob("engine/**/*.py"))
# Command lines of other programs, and of commands named in full.
OTHERS = ("engine/adapter/consumers.py", "engine/base/packages.py")
WHOLE = (
    "llama-gguf-split --merge",
    "Convert the adapter again with --outtype f32",
    "`dnd-tui lab evaluate --arm library --arm generated`",
    "depth --predictor showed a gain",
)


def nodes(file: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(file.read_text()))


def docstrings(file: Path) -> set[int]:
    alone = (node.value for node in nodes(file) if isinstance(node, ast.Expr))
    return {value.lineno for value in alone if isinstance(value, ast.Constant)}


@pytest.mark.parametrize("file", ENGINE, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_text_of_the_engine_names_an_option_of_the_command_line(file: Path) -> None:
    if str(file.relative_to(ROOT)) in OTHERS:
        return
    texts = [
        node.value
        for node in nodes(file)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.lineno not in docstrings(file)
    ]
    assert not [text for text in texts if re.search(r"--[a-z]", text) and not any(known in text for known in WHOLE)]


def test_every_setting_that_a_text_names_is_a_field_of_a_request() -> None:
    found = {
        node.args[0].value
        for file in ENGINE
        for node in nodes(file)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setting"
        if isinstance(node.args[0], ast.Constant)
    }
    fields = {name for request in get_args(Request) for name, _, _ in leaves(request)}
    assert found <= fields and {"out", "max_new_tokens"} <= found and set(NAMES) <= fields


def test_an_error_names_settings_plainly_and_keeps_them_for_front_ends() -> None:
    error = EngineError("is too much", where=setting("max_new_tokens"), hint=f"Lower it, or {ANOTHER_OUT.lower()}")
    assert (error.problem, error.where, error.hint) == (
        "is too much",
        "max new tokens",
        "Lower it, or choose another out",
    )
    there = pickle.loads(pickle.dumps(error))
    for each in (error, there):
        assert str(each) == "max new tokens: is too much. Lower it, or choose another out"
        assert each.text(str.upper) == "MAX_NEW_TOKENS: is too much. Lower it, or choose another OUT"
        assert EngineError(each.text(setting)).text(str.upper) == each.text(str.upper)


@pytest.fixture
def environment() -> Iterator[None]:
    """What a headless run sets for its process goes with the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def refused(folder: Path) -> dict[str, tuple[Any, str]]:
    """Requests that cannot be done, and what the command line prints."""
    models = ModelChoice(device="cpu")
    prompts = folder / "prompts.jsonl"
    prompts.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    choice = PromptChoice(source=prompts)
    new, sheet = folder / "new", folder / "sheet.jsonl"
    sheet.write_text("{}\n")
    return {
        "answer-sheet": (
            SheetRequest(source=prompts, out=sheet),
            f"{sheet}: already exists. Choose another --out or allow --replace",
        ),
        "teach": (
            TeachRequest(source=prompts, out=new, teacher="x", tries=-1),
            "no request can be made so. Check --tries, --at-once and --timeout",
        ),
        "generate": (
            GenerateRequest(models=models, prompts=choice, out=new, solve=ContextChoice(rank=99)),
            "--rank: rank 99 is out of range. Choose 1 to 64",
        ),
        "generate from examples": (
            GenerateRequest(models=models, prompts=choice, out=new, solve=ContextChoice(made_from="examples")),
            f"{prompts}: there are no answers in it, so there are no examples. Add answers, for example as a column "
            "`response`, or name their column with --label",
        ),
        "combine": (
            CombineRequest(models=models, adapters=(folder, folder), weights=(1.0,), out=new),
            "--weight: 1 weights do not go with 2 adapters. Give one --weight for each adapter, in their order, or "
            "none at all",
        ),
        "leave-one-out": (
            LeaveOneOutRequest(tables=(), out=new),
            "no table is named. Name the folder of each set's evaluate with --table",
        ),
    }


@pytest.mark.parametrize(
    "name", ["answer-sheet", "teach", "generate", "generate from examples", "combine", "leave-one-out"]
)
def test_the_command_line_names_options(
    name: str, tmp_path: Path, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    request, text = refused(tmp_path)[name]
    assert run(request) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {text}"


def test_a_notebook_reads_plain_names(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^format: there is no format 'onnx'\. There is: peft"):
        engine.export(tmp_path, tmp_path / "out", format="onnx")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(EngineError, match=r"already exists\. Choose another out or allow replace$"):
        engine.export(tmp_path / "adapter", tmp_path / "out")


def test_the_app_names_its_fields_and_the_option_where_it_has_none() -> None:
    error = EngineError("is odd", where=setting("column"), hint=f"{ANOTHER_OUT}, or another {setting('at_once')}")
    hint = "Choose another folder, or another --at-once (command line)"
    assert in_app(error) == Failed("is odd", '"Prompt column"', hint)
    assert Failed(*error.parts(setting)).named(app_names(DepthRequest)) == Failed("is odd", '"Column"', hint)
    assert named(setting("count"), app_names(TeachRequest)) == '"Prompts"'


def test_labels_that_the_app_names_stand_in_its_forms() -> None:
    shown = {
        node.value
        for file in ROOT.glob("dnd_tui/screens/**/*.py")
        for node in nodes(file)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    labels = {name.strip('"') for names in (NAMES, *DIFFERING.values()) for name in names.values() if '"' in name}
    assert len(labels) > 10 and labels <= shown
