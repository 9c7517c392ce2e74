"""Prompts made by a template, for files that hold inputs only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs import run
from engine.jobs.checks import prepare_chain_choice, prepare_depth, prepare_depth_oracle, prepare_measure
from engine.prompts import PromptSet, read_prompts
from engine.requests import (
    ChainChoiceRequest,
    DepthOracleRequest,
    DepthRequest,
    InfoRequest,
    ModelChoice,
    TrainingTimeRequest,
)


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, template: str, **named: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.prompt, row.references) for row in read_prompts(path, template=template, **named)]


def test_columns_stand_where_their_names_do(tmp_path: Path) -> None:
    rows = {"Ticket": "No light", "id": 7, "topic": "power", "label": "x"}, {"Ticket": " ", "id": None, "label": "y"}
    path = put(tmp_path / "p.jsonl", *rows)
    assert read(path, r"Classify: {ticket} ({id})\nTopic:") == [("Classify: No light (7)\nTopic:", ("x",))]
    assert read(path, "{ticket}", label="topic") == [("No light", ("power",))]
    assert read(path, "{{json}} {ticket}") == [("{json} No light", ("x",))]
    info = run(InfoRequest(models=ModelChoice(), target=path, template=r"Of {ticket}\n"), Reporter()).to_json()
    assert info["template"] == "Of {ticket}\n"
    assert info["reading"] == (
        'jsonl; prompt: template "Of {ticket}\\n"; label: label; '
        "1 row skipped: no text in what the template takes; columns not read: id, topic"
    )


def test_plain_text_stands_for_the_only_column(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("No light\nNo water\n")
    assert read(tmp_path / "p.txt", "Classify: {ticket}") == [("Classify: No light", ()), ("Classify: No water", ())]
    with pytest.raises(EngineError, match="plain text"):
        read(tmp_path / "p.txt", "{a} {b}")


def test_options_and_columns_of_an_object_can_be_taken(tmp_path: Path) -> None:
    path = put(tmp_path / "p.jsonl", {"stem": "Which?", "choices": ["x", "y"], "answer": 1})
    assert read(path, "{stem}\n{choices}") == [("Which?\nA. x\nB. y", ("B",))]
    path = put(tmp_path / "q.jsonl", {"vars": {"query": "hot"}, "expected": "cold"})
    assert read(path, "Not {query}?") == [("Not hot?", ("cold",))]


def test_a_table_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("No light,power\nNo water,water\n")
    found = read(tmp_path / "p.csv", "Of {column 1}", label="column 2")
    assert found == [("Of No light", ("power",)), ("Of No water", ("water",))]


@pytest.mark.parametrize(
    ("template", "named", "problem"),
    [
        ("Classify:", {}, "takes no column"),
        ("Classify: {ticket", {}, "cannot be read"),
        ("Classify: {}", {}, "empty braces"),
        ("Classify: {nothing}", {}, '"nothing".*ticket, topic'),
        ("{ticket} {topic}", {"label": "topic"}, 'takes the label column "topic"'),
        ("{ticket}", {"column": "ticket"}, "two ways"),
        ("{tags}", {}, 'column "tags" holds an object'),
    ],
)
def test_what_is_wrong_with_a_template(tmp_path: Path, template: str, named: dict[str, str], problem: str) -> None:
    path = put(tmp_path / "p.jsonl", {"ticket": "No light", "topic": "power", "tags": {"a": {}}})
    with pytest.raises(EngineError, match=problem) as caught:
        read(path, template, **named)
    assert caught.value.hint


def test_a_template_takes_what_a_chat_asks_and_no_answer(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Say"}]
    assert read(put(tmp_path / "p.jsonl", {"talk": turns}), "So: {talk}")[0][0] == "So: Ask"
    (tmp_path / "p.txt").write_text("User: Ask\nAssistant: Say\n")
    assert [prompt for prompt, _ in read(tmp_path / "p.txt", "So: {line}")] == ["So: Ask"]


@pytest.mark.parametrize("job", ["depth", "oracle", "time", "choice"])
def test_every_job_on_prompts_takes_a_template(job: str, tmp_path: Path) -> None:
    source = tmp_path / "tickets.csv"
    source.write_text("subject,ticket,kind\n" + "Invoice,It is too high,bill\nPrinter,It smokes,fire\n" * 8)
    models, template = ModelChoice(), "About {subject}: {ticket}\nKind:"
    chosen: dict[str, Any] = {"source": source, "template": template, "label": "kind"}
    asked: dict[str, Callable[[], PromptSet]] = {
        "depth": lambda: prepare_depth(DepthRequest(models=models, out=tmp_path / "out", **chosen)).search,
        "oracle": lambda: prepare_depth_oracle(DepthOracleRequest(models=models, out=tmp_path / "out", **chosen)),
        "time": lambda: prepare_measure(TrainingTimeRequest(models=models, **chosen)),
        "choice": lambda: prepare_chain_choice(ChainChoiceRequest(models=models, search=tmp_path, **chosen)),
    }
    prompts = asked[job]()
    first = next(iter(prompts))
    assert (first.prompt, first.references) == ("About Invoice: It is too high\nKind:", ("bill",))
