"""Images that rows name: columns, parts of chat turns, and where the files are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dnd_tui.screens.drop.rows import Row
from engine.events import Reporter
from engine.jobs import run
from engine.prompts import read_prompts
from engine.prompts.report import describe
from engine.requests import PreviewRequest, PromptChoice


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [(row.prompt, row.references, row.images) for row in read_prompts(file)]


@pytest.mark.parametrize(
    "named",
    [
        {"image": "a.png"},
        {"images": ["a.png"]},
        {"image_path": "a.png"},
        {"image": {"path": "a.png", "bytes": None}},
        {"Image": "file://a.png"},
        {"images": [{"url": "a.png"}, "a.png"]},
    ],
)
def test_a_column_names_images_beside_the_file(tmp_path: Path, named: dict[str, Any]) -> None:
    (found,) = read(tmp_path, {"prompt": "What is it?", "answer": "a cat", **named})
    assert found == ("What is it?", ("a cat",), (str(tmp_path / "a.png"),))


@pytest.mark.parametrize("name", ["https://example.org/a.png", "data:image/png;base64,AAAA", "/pictures/a.png"])
def test_an_address_and_an_absolute_path_stay_as_they_are(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, {"prompt": "What?", "image": name})[0][2] == (name,)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image", "image": "a.png"},
        {"type": "image", "path": "a.png"},
    ],
)
def test_a_chat_names_them_in_the_turn_that_asks(tmp_path: Path, part: dict[str, Any]) -> None:
    asked = {"role": "user", "content": [part, {"type": "text", "text": "What?"}]}
    before = {"role": "user", "content": [{"type": "image", "image": "old.png"}, {"type": "text", "text": "And?"}]}
    said = {"role": "assistant", "content": "This."}
    found = read(tmp_path, {"messages": [before, said, asked, {"role": "assistant", "content": "That."}]})
    assert found == [("What?", ("That.",), (str(tmp_path / "a.png"),))]


def test_the_mark_of_an_image_is_no_part_of_the_prompt(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]
    found = read(tmp_path, {"image": "a.png", "conversations": turns})
    assert found == [("What is it?", ("A cat.",), (str(tmp_path / "a.png"),))]


def test_without_images_the_mark_is_text(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"prompt": "What does <image>\nmean in SVG?", "answer": "A picture."})
    assert found == ("What does <image>\nmean in SVG?", ("A picture.",), ())


def test_the_preview_has_them_for_the_app(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(json.dumps({"prompt": f"What {n}?", "image": f"{n}.png", "answer": "x"}) + "\n" for n in "ab")
    )
    data = run(PreviewRequest(prompts=PromptChoice(source=file)), Reporter()).to_json()
    shown = [Row.of(row).images for row in data["page"]["rows"]]
    assert shown == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_the_reading_lists_the_columns_of_images_and_what_is_none(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": "a", "image": "a.png", "image_url": None, "picture": 7}, {"prompt": "b", "image": None}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = describe(read_prompts(file)).reading
    assert "images: image;" in reading and "columns not read: picture" in reading
    assert [row.images for row in read_prompts(file)] == [(str(tmp_path / "a.png"),), ()]
