"""The preview of a prompt file: facts, columns, a page, and the very batch that a generation reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageAdvanced, StageStarted
from engine.generator.about import ABOUT
from engine.jobs import run
from engine.jobs.preview import SHOWN_CHARACTERS
from engine.jobs.prompts import found_context
from engine.prompts import read_prompts, sample_prompts
from engine.requests import ContextChoice, InfoRequest, ModelChoice, PreviewRequest, PromptChoice
from tests.tiny import generator_about


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """As much of a generator as says that it reads four prompts."""
    folder = tmp_path / "generator"
    folder.mkdir()
    (folder / ABOUT).write_text(generator_about(condition={"prompts": 4}))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rows = [{"id": n, "question": f"question {n}", "answer": str(n), "tags": ["a"], "note": None} for n in range(60)]
    rows[7]["question"] = "  "
    return write_rows(tmp_path / "rows.jsonl", rows)


def preview(source: Path, reporter: Reporter | None = None, **fields: Any) -> dict[str, Any]:
    chosen = {name: fields.pop(name) for name in ("column", "label", "count", "seed") if name in fields}
    prompts = PromptChoice(source=source, **chosen)
    return run(PreviewRequest(prompts=prompts, **fields), reporter or Reporter()).to_json()


def test_facts_are_those_that_info_tells(source: Path) -> None:
    facts = preview(source, sample=False)["facts"]
    assert (facts["column"], facts["label_column"], facts["rows"], facts["skipped"]) == ("question", "answer", 60, 1)
    info = run(InfoRequest(models=ModelChoice(), target=source), Reporter()).to_json()
    assert info == {"kind": "prompts"} | facts


def test_columns_that_can_be_named_come_with_an_example(source: Path) -> None:
    columns = preview(source, sample=False)["columns"]
    # Lists are no prompts, and a column without any text gives none.
    assert {column["name"]: column["example"] for column in columns} == {
        "id": "0",
        "question": "question 0",
        "answer": "0",
    }
    for column in columns:
        assert preview(source, sample=False, column=column["name"])["facts"]["column"] == column["name"]


def test_without_a_known_column_the_likeliest_is_shown_and_told_as_a_guess(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{"id": 1, "sentence": "The cat sat", "topic": "cat"}])
    found = preview(source, sample=False)
    assert found["guess"] == "sentence"
    assert [row["prompt"] for row in found["page"]["rows"]] == ["The cat sat"]
    assert {column["name"] for column in found["columns"]} == {"id", "sentence", "topic"}
    assert preview(source, sample=False, column="topic")["guess"] is None


def test_an_empty_known_column_is_no_reason_to_guess(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{"prompt": " ", "answer": "labels are no prompts"}])
    with pytest.raises(EngineError, match="empty"):
        preview(source, sample=False)


def test_plain_text_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("one\ntwo\n")
    assert preview(path, sample=False)["columns"] == []


def test_a_page_from_anywhere(source: Path) -> None:
    page = preview(source, sample=False, start=6, rows=3)["page"]
    assert [(row["number"], row["prompt"], row["references"]) for row in page["rows"]] == [
        (7, "question 6", ["6"]),
        (8, "", ["7"]),
        (9, "question 8", ["8"]),
    ]
    assert page["more"]
    last = preview(source, sample=False, start=58, rows=3)["page"]
    assert [row["number"] for row in last["rows"]] == [59, 60] and not last["more"]
    assert preview(source, sample=False, start=57, rows=3)["page"]["more"] is False
    assert preview(source, sample=False, start=100)["page"]["rows"] == []


def test_nothing_behind_the_page_is_read(tmp_path: Path) -> None:
    rows = [{"prompt": f"prompt {n}"} for n in range(1500)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with open(path, "a") as file:
        file.write("this is no JSON\n")
    events: list[Event] = []
    page = preview(path, Reporter(events.append), sample=False, start=1200, rows=2)["page"]
    assert [row["prompt"] for row in page["rows"]] == ["prompt 1200", "prompt 1201"]
    assert StageStarted("read", None, "rows") in events


TASK = "Say in one word what the sentence is about."


def context(source: Path, *, label: str | None = None, sample: bool = False, **solve: Any) -> dict[str, Any]:
    found = preview(source, label=label, sample=sample, solve=ContextChoice(**solve))["context"]
    assert isinstance(found, dict)
    return found


def test_who_wrote_answers_and_how_many_are_missing_is_told(tmp_path: Path) -> None:
    rows = [{"prompt": f"ask {n}", "response": "x" * (n % 3), "answered_by": "big" * (n % 3 == 1)} for n in range(9)]
    found = context(write_rows(tmp_path / "rows.jsonl", rows))
    assert (found["answers"], found["unanswered"], found["taught_by"]) == (6, 3, {"big": 3})


def test_answers_are_found_and_become_examples(source: Path) -> None:
    found = context(source)
    assert (found["kind"], found["reason"], found["words"]) == ("examples", "59 answers found", "answered examples")
    assert (found["answers"], found["rows"], found["held_out"], found["problem"]) == (59, 32, 27, None)
    assert found["instruction"] == "" and found["query"].startswith("question ")
    # Two examples with their answers, how many more there are, and the row itself without one.
    first, _, more, asked = found["teacher"].split("\n\n")
    number = first.partition("\n")[0].removeprefix("question ")
    assert first.endswith(f"→ {number}") and more == "… 6 more answered rows …" and asked == found["query"]


def test_a_common_beginning_becomes_an_instruction_that_is_not_typed_afterwards(tmp_path: Path) -> None:
    rows = [{"prompt": f"{TASK}\n\nThe {animal} sleeps."} for animal in ("cat", "dog", "hen")]
    found = context(write_rows(tmp_path / "rows.jsonl", rows))
    assert (found["kind"], found["instruction"], found["rows"], found["held_out"]) == ("instruction", TASK, 3, 0)
    assert found["query"].startswith("The ") and found["teacher"] == f"{TASK}\n\n{found['query']}"


def test_a_named_instruction_goes_before_the_examples(source: Path, tmp_path: Path) -> None:
    (tmp_path / "task.txt").write_text(f"{TASK}\n")
    for named in (TASK, str(tmp_path / "task.txt")):
        found = context(source, context=named)
        assert (found["kind"], found["instruction"]) == ("both", TASK)
        assert found["teacher"].startswith(TASK) and found["teacher"].endswith(f"{TASK}\n\n{found['query']}")


def test_neither_answers_nor_an_instruction_leave_a_generator(tmp_path: Path) -> None:
    found = context(write_rows(tmp_path / "rows.jsonl", [{"prompt": "Where is it?"}, {"prompt": "I am hungry."}]))
    assert (found["kind"], found["query"], found["teacher"]) == ("generator", "Where is it?", "")
    assert "no answers" in found["reason"] and found["answers"] == found["rows"] == 0


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"made_from": "instruction"}, "do not begin with a common instruction"),
        ({"made_from": "both"}, "do not begin with a common instruction"),
        ({"context": "missing.txt"}, "no such file"),
        ({"made_from": "tea"}, "cannot be made from 'tea'"),
    ],
)
def test_a_choice_that_cannot_be_is_told_and_the_rest_is_still_there(
    source: Path, generator: Path, choice: dict[str, Any], problem: str
) -> None:
    found = preview(source, generator=generator, solve=ContextChoice(**choice))
    assert problem in found["context"]["problem"] and found["sample"] is None
    assert found["facts"]["rows"] == 60 and found["page"]["rows"]


def test_a_named_label_column_is_where_the_answers_are(source: Path) -> None:
    assert preview(source, sample=False)["labels"] == ["id", "answer", "tags"]
    found = preview(source, sample=False, label="tags")
    assert found["facts"]["label_column"] == "tags" and found["page"]["rows"][0]["references"] == ["a"]
    assert "→ a" in found["context"]["teacher"]


def test_a_column_that_stands_in_the_prompts_is_no_label_column(tmp_path: Path) -> None:
    rows = [{"instruction": "Translate", "input": "cat", "output": "chat", "lang": "fr"}]
    assert preview(write_rows(tmp_path / "rows.jsonl", rows), sample=False)["labels"] == ["output", "lang"]


def test_the_sample_of_a_solved_adapter_is_what_it_is_solved_from(tmp_path: Path) -> None:
    rows = [{"prompt": f"prompt {n}", "answer": str(n)} for n in range(1500)]
    # The first thousand rows have no answers: only the whole pass finds any.
    for row in rows[:1200]:
        row["answer"] = ""
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert context(path)["kind"] == "generator"
    found = preview(path, solve=ContextChoice(answered=5))
    assert (found["context"]["kind"], found["context"]["answers"], found["context"]["rows"]) == ("examples", 300, 5)
    sample = found["sample"]
    assert len(sample["rows"]) == 5 and (sample["total"], sample["skipped"]) == (1500, 0)
    assert all(row["number"] > 1200 for row in sample["rows"])
    plan = found_context(
        read_prompts(path), PromptChoice(source=path), ContextChoice(answered=5), ModelChoice(), Reporter()
    )
    assert [row["number"] for row in sample["rows"]] == sorted(row.number for row in plan.rows)


@pytest.mark.parametrize(("count", "seed", "used"), [(None, 0, 4), (2, 0, 2), (3, 5, 3), (50, 1, 50)])
def test_the_batch_is_the_one_that_a_generation_reads(
    source: Path, generator: Path, count: int | None, seed: int, used: int
) -> None:
    found = preview(source, generator=generator, count=count, seed=seed)["sample"]
    batch = sample_prompts(read_prompts(source), used, seed)
    assert [row["number"] for row in found["rows"]] == list(batch.numbers)
    assert [row["prompt"] for row in found["rows"]] == list(batch.texts)
    assert (found["digest"], found["total"], found["skipped"]) == (batch.digest, 59, 1)


def test_long_texts_are_cut_and_marked(tmp_path: Path, generator: Path) -> None:
    rows = [{"prompt": "a" * 3_000_000, "answer": "b" * 30_000}, {"prompt": "short", "answer": "b"}]
    found = preview(write_rows(tmp_path / "rows.jsonl", rows), generator=generator)
    long, short = found["page"]["rows"]
    assert (len(long["prompt"]), long["characters"], long["cut"]) == (SHOWN_CHARACTERS, 3_000_000, True)
    assert (len(long["references"][0]), long["references_cut"]) == (SHOWN_CHARACTERS, True)
    assert (short["cut"], short["references_cut"]) == (False, False)
    assert [row["cut"] for row in found["sample"]["rows"]] == [True, False]
    assert found["columns"][0]["cut"] and found["sample"]["digest"] != ""


def test_reading_can_be_stopped_even_where_rows_are_long(tmp_path: Path, generator: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": "a" * 2**20}] * 60)
    seen: list[Event] = []

    def advanced() -> bool:
        return any(isinstance(event, StageAdvanced) for event in seen)

    with pytest.raises(Cancelled):
        preview(path, Reporter(seen.append, advanced), generator=generator, rows=1)
    steps = [event.step for event in seen if isinstance(event, StageAdvanced) and event.stage == "read"]
    assert steps and steps[-1] < 60


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.txt"])
def test_nothing_heavy_is_imported(tmp_path: Path, generator: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text('{"prompt": "a"}\n' if name.endswith("jsonl") else "prompt\na\n")
    script = (
        "import sys; from pathlib import Path; from engine.events import Reporter; from engine.jobs import run; "
        "from engine.requests import PreviewRequest, PromptChoice; "
        "prompts = PromptChoice(source=Path(sys.argv[1])); "
        "run(PreviewRequest(prompts=prompts, generator=Path(sys.argv[2])), Reporter()); "
        "heavy = {'torch', 'transformers', 'datasets', 'pyarrow', 'numpy', 'peft', 'safetensors'}; "
        "sys.exit(', '.join(heavy & {name.partition('.')[0] for name in sys.modules}) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(generator)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
