"""Prompts taken by their numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageAdvanced
from engine.prompts import read_prompts
from engine.prompts.sample import numbered_prompts


def written(folder: Path, prompts: list[str], more: str = "") -> Path:
    file = folder / "p.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt, "response": "x"}) + "\n" for prompt in prompts) + more)
    return file


def test_each_once_in_file_order_with_its_labels(tmp_path: Path) -> None:
    prompts = read_prompts(written(tmp_path, [f"prompt {number}" for number in range(1, 10)]))
    found = numbered_prompts(prompts, (7, 2, 7), Reporter())
    assert [row[:3] for row in found] == [(2, "prompt 2", ("x",)), (7, "prompt 7", ("x",))]
    assert found == [row for row in prompts if row.number in (2, 7)]


def test_rows_without_a_prompt_count(tmp_path: Path) -> None:
    prompts = read_prompts(written(tmp_path, ["one", " ", "three"]))
    assert [row.prompt for row in numbered_prompts(prompts, (3,), Reporter())] == ["three"]
    with pytest.raises(EngineError, match="row 2 has no prompt"):
        numbered_prompts(prompts, (1, 2), Reporter())


@pytest.mark.parametrize("number", [0, 4, 10**9])
def test_a_number_that_is_not_there(tmp_path: Path, number: int) -> None:
    prompts = read_prompts(written(tmp_path, ["one", "two", "three"]))
    with pytest.raises(EngineError, match=f"there is no row {number}"):
        numbered_prompts(prompts, (1, number), Reporter())


def test_reading_ends_at_the_last_one(tmp_path: Path) -> None:
    prompts = read_prompts(written(tmp_path, [f"prompt {number}" for number in range(99)], "broken\n"))
    assert len(numbered_prompts(prompts, (1, 90), Reporter())) == 2
    with pytest.raises(EngineError, match="line 100"):
        numbered_prompts(prompts, (100,), Reporter())


def test_a_wish_to_stop_is_heard_while_reading(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("prompt\n" * 20_000)
    seen: list[Event] = []
    reporter = Reporter(seen.append, lambda: any(isinstance(event, StageAdvanced) for event in seen))
    with pytest.raises(Cancelled):
        numbered_prompts(read_prompts(file), (20_000,), reporter)
    assert isinstance(seen[-1], StageAdvanced) and seen[-1].step < 20_000
