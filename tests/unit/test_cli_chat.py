"""A chat on the terminal: which lines are messages, what is written, and that it goes on."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from judge_parts import random_adapter

from dnd_tui.chat import chat, messages, naming_base
from engine.requests import ChatRequest, ModelChoice
from tests.tiny import tiny_config
from tests.unit.adapter_parts import write_peft_folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    write_peft_folder(folder, random_adapter(tiny_config("llama")), "tiny")
    return folder


@pytest.fixture
def request_(tiny_llama_folder: Path, adapter: Path) -> ChatRequest:
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    return ChatRequest(models=models, adapters=(adapter,), max_new_tokens=4, decoder="transformers")


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["hello", "", "  you "], ["hello", "you"]),
        (["hello", "exit", "you"], ["hello"]),
        (["!multi", "one", "", "two", "!end", "three"], ["one\n\ntwo", "three"]),
        (["!multi", "one", "quit"], ["one\nquit"]),
        (["!multi", "!end", "quit"], []),
    ],
)
def test_messages(lines: list[str], found: list[str]) -> None:
    assert list(messages(iter(lines))) == found


def test_a_single_name_that_is_no_adapter_is_the_base(adapter: Path, tmp_path: Path) -> None:
    def named(*names: Path, base: str = "default") -> tuple[tuple[Path, ...], str]:
        request = naming_base(ChatRequest(models=ModelChoice(base=base), adapters=names))
        return request.adapters, request.models.base

    assert named(Path("Qwen/Qwen2.5-0.5B")) == ((), "Qwen/Qwen2.5-0.5B")
    assert named(adapter) == ((adapter,), "default")
    assert named(adapter, tmp_path) == ((adapter, tmp_path), "default")
    assert named(tmp_path, base="another") == ((tmp_path,), "another")
    assert named() == ((), "default")


def test_every_message_is_answered_after_those_before_it(
    request_: ChatRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "hello", "hello", "exit", "hello")
    assert chat(ChatRequest(**(vars(request_) | {"with_base": True})), as_json=True) == 0
    told = capsys.readouterr()
    rows: list[dict[str, Any]] = [json.loads(line) for line in told.out.splitlines()]
    assert [row["row"] for row in rows] == [1, 2]
    assert all(row["answers"].keys() == {"base", "adapted"} for row in rows)
    # One that begins anew says again what the first answer was.
    typed(monkeypatch, "hello")
    assert chat(request_, as_json=True) == 0
    [alone] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert alone["answers"]["adapted"] == rows[0]["answers"]["adapted"] != rows[1]["answers"]["adapted"]


def test_one_answers_without_its_name_and_several_with_theirs(
    request_: ChatRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "hello")
    assert chat(request_) == 0
    alone = capsys.readouterr().out
    typed(monkeypatch, "hello")
    assert chat(ChatRequest(**(vars(request_) | {"with_base": True}))) == 0
    both = capsys.readouterr().out
    assert both.startswith("base:\n") and both.endswith(f"adapted:\n{alone}") and "adapted" not in alone


def test_what_cannot_be_ends_it_with_one_line(
    request_: ChatRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "hello")
    assert chat(ChatRequest(**(vars(request_) | {"adapters": (tmp_path / "a", tmp_path / "b")}))) == 1
    told = capsys.readouterr()
    assert not told.out and told.err.startswith("error: ") and told.err.count("\n") == 1
    typed(monkeypatch, "x" * 100_000, "hello")
    assert chat(request_) == 1
    told = capsys.readouterr()
    assert not told.out and "the base reads" in told.err.splitlines()[-1]
