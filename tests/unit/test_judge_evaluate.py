"""Arms over tasks on a tiny random model: what is written, and what a killed run leaves for the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_parts import random_adapter, tiny_base

from engine.adapter.attach import AttachedModel
from engine.adapter.lora import LoraAdapter
from engine.errors import Cancelled, EngineError
from engine.events import Reporter
from engine.judge.evaluate import JudgedTask, evaluate_arms
from engine.judge.table import QualityTable

BASE = tiny_base()
ONE = random_adapter(BASE.model.config, 1)
TASKS = [
    JudgedTask("first", "rouge_l", [(f"eins \u00e9 {n}", ["a b"]) for n in range(3)], "here"),
    JudgedTask("second", "exact_match", [(f"zwei {n}", ["a", "b"]) for n in range(2)], "there"),
]
Arm = Callable[[JudgedTask], LoraAdapter | None]


def arms_of(calls: list[tuple[str, str]]) -> dict[str, Arm]:
    """Base, one adapter for all tasks, one a task; every call is noted."""

    def noted(arm: str, adapter_of: Arm) -> Arm:
        def call(task: JudgedTask) -> LoraAdapter | None:
            calls.append((arm, task.name))
            return adapter_of(task)

        return call

    return {
        "base": noted("base", lambda task: None),
        "multi_task": noted("multi_task", lambda task: ONE),
        "generated": noted("generated", lambda task: random_adapter(BASE.model.config, len(task.name))),
    }


def run(out: Path, calls: list[tuple[str, str]] | None = None, **changed: Any) -> QualityTable:
    given: dict[str, Any] = {
        "arms": arms_of([] if calls is None else calls),
        "tasks": TASKS,
        "out": out,
        "rows": 3,
        "max_new_tokens": 5,
        "batch": 2,
        "settings": {"generator": "abc"},
        "reporter": Reporter(),
    }
    given |= changed
    return evaluate_arms(BASE, given.pop("arms"), given.pop("tasks"), **given)


def answers_in(out: Path) -> list[dict[str, Any]]:
    """All lines, without the seconds."""
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was left alone."""
    out = tmp_path_factory.mktemp("judge") / "out"
    run(out)
    return out


def test_every_answer_is_written_and_the_table_is_of_them(whole: Path) -> None:
    lines = answers_in(whole)
    assert [(line["arm"], line["task"], line["row"]) for line in lines] == [
        (arm, task, row)
        for arm in ("base", "multi_task", "generated")
        for task, rows in (("first", 3), ("second", 2))
        for row in range(rows)
    ]
    by_arm = {
        arm: [line["answer"] for line in lines if line["arm"] == arm] for arm in ("base", "multi_task", "generated")
    }
    assert by_arm["base"] != by_arm["multi_task"] != by_arm["generated"]
    table = run(whole)
    scores = [line["score"] for line in lines if (line["arm"], line["task"]) == ("base", "first")]
    assert table.tasks[0].rows["base"] == scores
    assert table.tasks[1].source == "there"
    assert table.mean("mean") is None
    assert table.seconds["generated"] > 0


def test_a_complete_run_answers_nothing_again(whole: Path) -> None:
    before = (whole / "answers.jsonl").read_bytes()
    calls: list[tuple[str, str]] = []
    run(whole, calls)
    assert calls == []
    assert (whole / "answers.jsonl").read_bytes() == before


@pytest.mark.parametrize("part", [0.0, 0.03, 0.31, 0.5, 0.77, 0.999])
def test_a_killed_run_is_taken_up(whole: Path, tmp_path: Path, part: float) -> None:
    written = (whole / "answers.jsonl").read_bytes()
    left = written[: int(part * len(written))]
    (tmp_path / "answers.jsonl").write_bytes(left)
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    # The last pair in what is left is torn, unless it ends with its last line.
    complete = [json.loads(line) for line in left.split(b"\n")[:-1]]
    sizes = {"first": 3, "second": 2}
    done = {(line["arm"], line["task"]) for line in complete if line["row"] == sizes[line["task"]] - 1}

    calls: list[tuple[str, str]] = []
    run(tmp_path, calls)

    assert answers_in(tmp_path) == answers_in(whole)
    assert set(calls).isdisjoint(done)
    assert len(calls) == 6 - len(done)


def test_a_character_cut_in_two_is_a_torn_line(whole: Path, tmp_path: Path) -> None:
    lines = (whole / "answers.jsonl").read_bytes().split(b"\n")
    torn = b'{"arm": "generated", "task": "second", "row": 1, "answer": "\xc3'
    (tmp_path / "answers.jsonl").write_bytes(b"\n".join([*lines[:-2], torn]))
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    run(tmp_path)
    assert answers_in(tmp_path) == answers_in(whole)


def test_a_cancelled_run_keeps_what_is_complete(tmp_path: Path) -> None:
    stop = False

    def adapter_of(task: JudgedTask) -> None:
        nonlocal stop
        stop = task.name == "second"

    with pytest.raises(Cancelled):
        run(tmp_path, arms={"base": adapter_of}, reporter=Reporter(cancelled=lambda: stop))
    assert [line["task"] for line in answers_in(tmp_path)] == ["first"] * 3
    assert not hasattr(BASE.model, "peft_config")


def test_an_adapter_for_all_tasks_is_attached_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    add = AttachedModel.add

    def noted(attached: AttachedModel, name: str, adapter: LoraAdapter) -> None:
        added.append(adapter)
        add(attached, name, adapter)

    monkeypatch.setattr(AttachedModel, "add", noted)
    run(tmp_path, arms={"multi_task": lambda task: ONE})
    assert added == [ONE]


def test_further_arms_and_tasks_join_an_existing_folder(tmp_path: Path) -> None:
    run(tmp_path, arms={"base": lambda task: None}, tasks=TASKS[:1])
    table = run(tmp_path, arms={"multi_task": lambda task: ONE})
    assert set(table.task_means("base")) == {"first"}
    assert set(table.task_means("multi_task")) == {"first", "second"}
    both = table.difference("multi_task", "base")
    assert both is not None and both.tasks == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_new_tokens": 6}, "another max_new_tokens: 5, not 6"),
        ({"rows": 2}, "another rows: 3, not 2"),
        ({"settings": {"generator": "def"}}, "another generator: 'abc', not 'def'"),
        ({"settings": {}}, "another generator: 'abc', not None"),
        ({"tasks": [JudgedTask("first", "rouge_l", [("other", ["a b"])], "here")]}, "rows of task first have changed"),
        ({"tasks": [JudgedTask("first", "exact_match", TASKS[0].rows, "here")]}, "rows of task first have changed"),
    ],
)
def test_other_settings_are_refused(whole: Path, changed: dict[str, Any], said: str) -> None:
    before = (whole / "answers.jsonl").read_bytes()
    with pytest.raises(EngineError, match=said) as told:
        run(whole, **changed)
    assert "Choose another --out" in str(told.value)
    assert (whole / "answers.jsonl").read_bytes() == before


@pytest.mark.parametrize("broken", [b"not json", b'{"arm": "base"}', b"[1]", b'{"arm": 1, "task": "first"}'])
def test_a_broken_line_inside_is_told_with_its_number(whole: Path, tmp_path: Path, broken: bytes) -> None:
    lines = (whole / "answers.jsonl").read_bytes().split(b"\n")
    lines[1] = broken
    (tmp_path / "answers.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    with pytest.raises(EngineError, match="line 2"):
        run(tmp_path)


def test_answers_without_settings_are_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_bytes((whole / "answers.jsonl").read_bytes())
    with pytest.raises(EngineError, match=r"settings\.json: no such file"):
        run(tmp_path)


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(EngineError, match="not a folder"):
        run(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_task_without_rows(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="empty: has no test rows"):
        run(tmp_path, tasks=[JudgedTask("empty", "rouge_l", [], "here")])
