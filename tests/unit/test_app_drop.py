"""Pure parts of the Drop screen."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.screens.drop.context import fact_lines, row_count
from dnd_tui.screens.drop.rows import common_beginning
from dnd_tui.screens.drop.sources import Source, source_of
from dnd_tui.text import when_words
from dnd_tui.widgets.form_field import WholeNumber
from dnd_tui.widgets.lines import Cell, TableLine
from dnd_tui.widgets.path_completion import BaseSuggester

FACTS = {
    "rows": 1000, "complete": False, "column": "prompt", "label_column": None, "labelled": 0, "skipped": 2,
    "duplicates": 0, "shortest": 3, "median": 5, "longest": 9, "reading": "jsonl; prompt: prompt",
    "source": "/a/b.jsonl", "files": ["/a/b.jsonl"],
}  # fmt: skip


@given(st.lists(st.text(max_size=80)), st.text(max_size=60))
def test_a_common_beginning_is_one_and_leaves_something(prompts: list[str], start: str) -> None:
    prompts = [start + prompt for prompt in prompts]
    common = common_beginning(prompts)
    assert all(prompt.startswith(common) for prompt in prompts)
    assert not common or (len(common) >= 24 and common[-1].isspace() and all(len(p) > len(common) for p in prompts))


def test_one_prompt_alone_is_shown_whole() -> None:
    assert common_beginning(["one prompt that is long enough to be cut"] * 3) == ""
    assert common_beginning([]) == ""


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(20, 200))
def test_a_line_fills_its_width_whatever_the_cells_hold(texts: list[str], width: int) -> None:
    cells = [Cell(text, None if n % 2 == 0 else 3, right=n % 3 == 0) for n, text in enumerate(texts)]
    assert TableLine(*cells).content(width).cell_length == width


def test_a_cell_that_needs_room_is_left_out_without() -> None:
    line = TableLine(Cell("name"), Cell("folder", 10, least=60))
    assert "folder" in line.content(60).plain and "folder" not in line.content(59).plain


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("2025-11-23T14:02:09+00:00", "14:02"),
        ("2025-11-22T23:59:00+00:00", "yesterday"),
        ("2025-11-03T08:00:00+00:00", "Mon 3 Nov"),
        ("2024-11-03T08:00:00+00:00", "3 Nov 2024"),
        ("not a time", "not a time"),
    ],
)
def test_times_as_people_say_them(when: str, words: str) -> None:
    assert when_words(when, datetime.fromisoformat("2025-11-23T20:00:00+00:00")) == words


def test_a_count_is_a_whole_number_or_nothing() -> None:
    texts = ("1", " 32 ", "", "0", "-1", "1.5", "x")
    fits = [text for text in texts if WholeNumber(1, empty=True).validate(text).is_valid]
    assert fits == ["1", " 32 ", ""]


def test_a_seed_may_be_negative_but_not_missing() -> None:
    assert WholeNumber().validate("-3").is_valid and not WholeNumber().validate("").is_valid


def test_what_a_drop_is(tmp_path: Path) -> None:
    for name, file in (("generator", "generator.json"), ("adapter", "adapter_config.json"), ("base", "config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    (tmp_path / "base" / "model.safetensors").touch()
    names = ("generator", "adapter", "base", "x.gguf", "gone.jsonl")
    kinds = [source_of([tmp_path / name]).kind for name in names]
    assert kinds == ["generator", "adapter", "base", "base", "prompts"]


def test_an_adapter_goes_alone(tmp_path: Path) -> None:
    adapter, prompts = tmp_path / "lora", tmp_path / "prompts.jsonl"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    prompts.touch()
    assert source_of([adapter]) == Source(adapter, "adapter")
    assert source_of([prompts, prompts, adapter]) == Source(adapter, "adapter among others", 2)


def test_a_folder_is_offered_for_prompt_files_of_one_folder_only(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    a, b, picture, far = (tmp_path / name for name in ("a.jsonl", "b.txt", "c.png", "sub/d.jsonl"))
    for path in (a, b, picture, far):
        path.touch()
    assert source_of([a, b]) == Source(a, "prompts", 1, tmp_path)
    assert source_of([a]).folder is source_of([a, picture]).folder is source_of([a, far]).folder is None


async def test_a_base_is_completed(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "notes.txt").touch()
    suggester = BaseSuggester(["someone/some-model"])
    assert await suggester.get_suggestion("d") == "default"
    assert await suggester.get_suggestion("SOME") == "someone/some-model"
    assert await suggester.get_suggestion(f"{tmp_path}/m") == f"{tmp_path}/models/"
    assert await suggester.get_suggestion(f"{tmp_path}/n") is None
    assert await suggester.get_suggestion(f"{tmp_path}/gone/x") is None


def context(kind: str, **more: Any) -> dict[str, Any]:
    told = {"kind": kind, "reason": "why", "words": "what", "held_out": 0, "problem": None}
    return told | {"answers": 9, "unanswered": 0, "taught_by": {}} | more


def test_what_an_adapter_is_made_from_is_told_with_the_reason() -> None:
    told = dict(fact_lines(FACTS, context("examples", held_out=7), None, 0, ()))
    assert (told["made from"], told["held out"]) == ("why: from what", "7 rows to check it on")
    assert dict(fact_lines(FACTS, context("examples"), None, 0, ()))["held out"].startswith("none")
    told = dict(fact_lines(FACTS, context("both", problem="no answers"), None, 0, ()))
    assert told["made from"] == "✗ no answers" and "rows used" not in told and "held out" not in told


def test_answers_that_a_model_wrote_are_told() -> None:
    told = dict(fact_lines(FACTS, context("examples", taught_by={"qwen": 7}), None, 0, ()))
    assert told["answers"] == "9 answers, 7 by qwen"
    assert "answers" not in dict(fact_lines(FACTS, context("examples"), None, 0, ()))


def test_rows_are_told_as_far_as_they_are_known() -> None:
    alone = context("generator")
    assert dict(fact_lines(FACTS, alone, None, 0, ()))["rows"] == "more than 1,000" and row_count(FACTS, None) is None
    sample = {"rows": [{}] * 4, "total": 4998, "skipped": 2}
    told = dict(fact_lines(FACTS, alone, sample, 0, ["a remark"]))
    assert (told["rows"], told["rows used"], told["note"]) == ("5,000", "4 of 4,998 prompts", "a remark")
    assert "held out" not in told
    assert told["left out"] == "2 rows without a prompt" and told["duplicates"] == "none in the first 1,000 rows"
