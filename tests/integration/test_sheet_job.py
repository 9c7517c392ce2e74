"""Prompts for a person to answer: diverse, unanswered, and once filled in what an adapter is made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs import run
from engine.prompts import read_prompts
from engine.requests import SheetRequest
from engine.solver.plan import EXAMPLES, plan_context

PLACES = ("Where is the station?", "Where is the bank?", "Sing a song of summer", "List nine primes", "Do cats purr?")


def written(folder: Path, rows: list[dict[str, str]]) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_filled_in_sheet_is_answered_examples(tmp_path: Path) -> None:
    source = written(tmp_path, [{"prompt": text, "id": str(n)} for n, text in enumerate(PLACES)])
    result = run(SheetRequest(source=source, out=tmp_path / "sheet.jsonl", count=3), Reporter()).to_json()
    lines = [json.loads(line) for line in (tmp_path / "sheet.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == result["prompts"] and len(lines) == 3
    assert {line["response"] for line in lines} == {""}
    assert len({"Where is the station?", "Where is the bank?"} & set(result["prompts"])) < 2, "they differ"
    sheet = written(tmp_path, [line | {"response": "because"} for line in lines[:2]] + lines[2:])
    plan = plan_context(list(read_prompts(sheet)))
    assert plan.kind == EXAMPLES and len(plan.rows) == 2


def test_answered_rows_are_not_asked_again(tmp_path: Path) -> None:
    rows = [{"prompt": text, "response": "yes" if n else ""} for n, text in enumerate(PLACES)]
    result = run(SheetRequest(source=written(tmp_path, rows), out=tmp_path / "sheet.jsonl"), Reporter())
    assert result.to_json()["prompts"] == [PLACES[0]]


def test_nothing_is_overwritten_and_nothing_is_left_to_ask(tmp_path: Path) -> None:
    source = written(tmp_path, [{"prompt": text, "response": "yes"} for text in PLACES])
    with pytest.raises(EngineError, match="answered already"):
        run(SheetRequest(source=source, out=tmp_path / "sheet.jsonl"), Reporter())
    with pytest.raises(EngineError, match="already exists"):
        run(SheetRequest(source=source, out=source), Reporter())
