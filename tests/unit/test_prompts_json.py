"""JSON files as programs write them: lists under names, columns, questions below passages, chats without a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.prompts import describe, read_prompts

ONE, TWO = {"prompt": "one", "response": "1"}, {"prompt": "two", "response": "2"}
BOTH = [("one", ("1",)), ("two", ("2",))]
USER, ASSISTANT = {"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}


def rows(path: Path, data: Any, indent: int | None = None) -> list[tuple[str, tuple[str, ...]]]:
    path.write_text(json.dumps(data, indent=indent))
    return [(row.prompt, row.references) for row in read_prompts(path)]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "data",
    [
        [ONE, TWO],
        {"version": 1, "data": [ONE, TWO]},
        {"about": "x", "my rows": [ONE, TWO]},
        {"train": [ONE, TWO], "test": [ONE]},
        {"data": {"train": [ONE, TWO], "test": [ONE]}},
        {"rows": [{"row_idx": 0, "row": ONE}, {"row_idx": 1, "row": TWO}]},
        {"prompt": ["one", "two"], "response": ["1", "2"]},
        {"prompt": {"0": "one", "1": "two"}, "response": {"0": "1", "1": "2"}},
        {"0": ONE, "1": TWO},
        {"columns": ["prompt", "response"], "index": [0, 1], "data": [["one", "1"], ["two", "2"]]},
        {"schema": {"fields": []}, "data": [ONE, TWO]},
    ],
)
def test_the_same_rows_however_they_are_held(tmp_path: Path, data: Any, indent: int | None) -> None:
    assert rows(tmp_path / "p.json", data, indent) == BOTH


@pytest.mark.parametrize(
    "data", [[USER, ASSISTANT], [[USER, ASSISTANT]], [{"messages": [USER, ASSISTANT]}], {"messages": [USER, ASSISTANT]}]
)
def test_chats_without_a_name(tmp_path: Path, data: Any) -> None:
    assert rows(tmp_path / "p.json", data) == BOTH[:1]
    assert rows(tmp_path / "p.jsonl", data[0] if isinstance(data, list) and data[0] is not USER else data) == BOTH[:1]


@pytest.mark.parametrize(
    "data",
    [
        {"my rows": {"of mine": [ONE, TWO]}},
        {"conversations": [{"messages": [USER, ASSISTANT]}, {"prompt": "x", "messages": [USER, ASSISTANT]}][:1]},
    ],
)
def test_rows_below_names_that_nobody_knows(tmp_path: Path, data: Any) -> None:
    assert rows(tmp_path / "p.json", data)[:1] == BOTH[:1]


@pytest.mark.parametrize("values", [{"0": "one", "1": "two"}, ["one", "two"]])
def test_columns_that_nobody_knows_are_columns(tmp_path: Path, values: Any) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"ticket": values, "note": values}))
    assert [row.prompt for row in read_prompts(path, column="ticket")] == ["one", "two"]


def test_what_stands_beside_the_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"about": "x", "none": [], "data": {"train": [ONE], "test": [TWO]}}))
    assert "beside the rows, not read: about, data.test" in describe(read_prompts(path)).reading
    path.write_text(json.dumps([ONE, TWO]))
    assert "beside" not in describe(read_prompts(path)).reading


def test_paragraphs_without_questions_are_passages(tmp_path: Path) -> None:
    row = {"question": "one", "paragraphs": [{"title": "T", "paragraph_text": "Facts"}], "answer": "1"}
    assert rows(tmp_path / "p.jsonl", row) == [("T\nFacts\n\none", ("1",))]


def test_questions_below_their_passages(tmp_path: Path) -> None:
    asked = [{"question": "one", "answers": [{"text": "1"}, {"text": "I"}]}, {"question": "two", "answers": []}]
    passages = [{"context": "Facts", "qas": asked}]
    read = [("Facts\n\none", ("1", "I")), ("Facts\n\ntwo", ())]
    assert rows(tmp_path / "p.json", {"version": "2", "data": [{"title": "t", "paragraphs": passages}]}) == read
    assert rows(tmp_path / "p.jsonl", passages[0]) == read


def test_what_belongs_to_every_prompt_may_stand_once(tmp_path: Path) -> None:
    data = {"name": "x", "task_prefix": "Be brief.", "examples": [{"input": "one", "target": "1"}]}
    assert rows(tmp_path / "p.json", data) == [("Be brief.\n\none", ("1",))]
    data = {"instruction": "Say it", "instances": [{"input": "one", "output": "1"}]}
    assert rows(tmp_path / "p.json", data) == [("Say it\n\none", ("1",))]


def test_lines_under_the_name_of_text(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.txt"
    path.write_text(json.dumps(ONE) + "\n" + json.dumps(TWO) + "\n")
    prompts = read_prompts(path)
    assert ([(row.prompt, row.references) for row in prompts], prompts.format) == (BOTH, "jsonl")


@pytest.mark.parametrize("text", ["[\n %s,\n %s\n]", '{"data":\n [%s, %s]}'])
def test_json_under_the_name_of_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "p.txt"
    path.write_text(text % (json.dumps(ONE), json.dumps(TWO)))
    assert [(row.prompt, row.references) for row in read_prompts(path)] == BOTH
    assert len(list(read_prompts(path, text_files="lines"))) > 1
    path.write_text('["one", "two"]\n[INST] three\n')
    assert read_prompts(path).format == "txt"


def test_a_chat_in_which_no_user_speaks_is_told_with_its_roles(tmp_path: Path) -> None:
    turns = [{"speaker": "Ann", "text": "one"}, {"speaker": "Ben", "text": "1"}]
    with pytest.raises(EngineError, match="the roles are Ann, Ben"):
        rows(tmp_path / "p.jsonl", {"messages": turns})
