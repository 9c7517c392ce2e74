"""Arms over tasks on a tiny random model: what is written, and what a killed run leaves for the next."""

from __future__ import annotations

import json
import math
import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from judge_parts import TOKENIZER, random_adapter, tiny_base

from engine.adapter.attach import AttachedModel
from engine.errors import Cancelled, EngineError
from engine.events import Reporter
from engine.judge.evaluate import Arm, JudgedTask, evaluate_arms
from engine.judge.table import BITS, QualityTable
from engine.weights.lora import LoraAdapter

BASE = tiny_base()
ONE = random_adapter(BASE.model.config, 1)
TASKS = [
    JudgedTask("first", "rouge_l", [(f"eins \u00e9 {n}", ["a b"]) for n in range(3)], "here"),
    JudgedTask("second", "exact_match", [(f"zwei {n}", ["a", "b"]) for n in range(2)], "there"),
]
Call = tuple[str, str, int]


def arms_of(calls: list[Call]) -> dict[str, Arm]:
    """Base, one adapter for all tasks, one a task and seed; every call is noted."""

    def noted(name: str, arm: Arm) -> Arm:
        def call(task: JudgedTask, seed: int) -> LoraAdapter | None:
            calls.append((name, task.name, seed))
            return arm.adapter(task, seed)

        return replace(arm, adapter=call)

    return {
        "base": noted("base", Arm(lambda task, seed: None)),
        "multi_task": noted("multi_task", Arm(lambda task, seed: ONE)),
        "generated": noted(
            "generated",
            Arm(lambda task, seed: random_adapter(BASE.model.config, len(task.name) + seed), seeds=(0, 7)),
        ),
    }


def run(out: Path, calls: list[Call] | None = None, **changed: Any) -> QualityTable:
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
    return [{key: value for key, value in line.items() if key not in ("making", "answering")} for line in lines]


WRONG_TYPE = (
    b'{"arm": "base", "seed": 0, "task": "first", "row": 0, "answer": "", "score": 0, "nats": "1", "size": 1, '
    b'"making": 0, "answering": 0}'
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was left alone."""
    out = tmp_path_factory.mktemp("judge") / "out"
    run(out)
    return out


def test_every_answer_is_written_and_the_table_is_of_them(whole: Path) -> None:
    lines = answers_in(whole)
    assert [(line["arm"], line["seed"], line["task"], line["row"]) for line in lines] == [
        (arm, seed, task, row)
        for arm, seed in (("base", 0), ("multi_task", 0), ("generated", 0), ("generated", 7))
        for task, rows in (("first", 3), ("second", 2))
        for row in range(rows)
    ]
    by_arm = {
        arm: [line["answer"] for line in lines if line["arm"] == arm] for arm in ("base", "multi_task", "generated")
    }
    assert by_arm["base"] != by_arm["multi_task"] != by_arm["generated"]
    table = run(whole)
    scores = [line["score"] for line in lines if (line["arm"], line["task"]) == ("base", "first")]
    assert table.tasks[0].runs["base"][0].scores == scores
    assert [run.seed for run in table.tasks[0].runs["generated"]] == [0, 7]
    assert table.tasks[1].source == "there"
    assert table.mean("mean") is None
    assert table.costs["generated"].making > 0 and table.costs["generated"].answering > 0


def test_bits_per_byte_are_those_of_a_plain_forward_pass(whole: Path) -> None:
    table = run(whole)
    nats = size = 0.0
    for prompt, references in TASKS[0].rows:
        # The tokenizer has no chat template: the prompt, a newline, the answer, the end.
        asked, answer = (
            TOKENIZER(f"{prompt}\n").input_ids,
            [*TOKENIZER(references[0]).input_ids, TOKENIZER.eos_token_id],
        )
        with torch.no_grad():
            chances = BASE.model(torch.tensor([asked + answer])).logits[0].log_softmax(-1)
        nats -= sum(chances[len(asked) + place - 1, token].item() for place, token in enumerate(answer))
        size += len(references[0].encode())
    assert table.tasks[0].runs["base"][0].bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert len({table.tasks[0].mean(arm, BITS) for arm in ("base", "multi_task", "generated")}) == 3


def test_examples_stand_before_the_prompt(tmp_path: Path) -> None:
    arms = {
        "base": Arm(lambda task, seed: None),
        "examples": Arm(lambda task, seed: None, examples=lambda task, seed: [("q", "a")]),
    }
    table = run(tmp_path, arms=arms)
    rows = [(f"q\na\n\n{prompt}", references) for prompt, references in TASKS[0].rows]
    written = run(tmp_path / "written", arms={"base": arms["base"]}, tasks=[replace(TASKS[0], rows=rows)])
    assert table.tasks[0].runs["examples"] == written.tasks[0].runs["base"] != table.tasks[0].runs["base"]


def test_preparing_comes_once_and_its_seconds_are_the_arms(tmp_path: Path) -> None:
    prepared: list[list[str]] = []

    def prepare(tasks: Sequence[JudgedTask]) -> dict[str, float]:
        assert not hasattr(BASE.model, "peft_config"), "nothing is attached while an arm is prepared"
        prepared.append([task.name for task in tasks])
        return {task.name: 1000.0 for task in tasks}

    arms = {"multi_task": Arm(lambda task, seed: ONE), "oracle": Arm(lambda task, seed: ONE, prepare=prepare)}
    run(tmp_path, arms=arms, tasks=TASKS[:1])
    table = run(tmp_path, arms=arms)
    run(tmp_path, arms=arms)
    assert prepared == [["first"], ["second"]]
    assert table.costs["oracle"].making > 1000 > table.costs["multi_task"].making


def test_a_complete_run_answers_nothing_again(whole: Path) -> None:
    before = (whole / "answers.jsonl").read_bytes()
    calls: list[Call] = []
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
    done = {(line["arm"], line["task"], line["seed"]) for line in complete if line["row"] == sizes[line["task"]] - 1}

    calls: list[Call] = []
    run(tmp_path, calls)

    assert answers_in(tmp_path) == answers_in(whole)
    assert set(calls).isdisjoint(done)
    assert len(calls) == 8 - len(done)


def test_a_character_cut_in_two_is_a_torn_line(whole: Path, tmp_path: Path) -> None:
    lines = (whole / "answers.jsonl").read_bytes().split(b"\n")
    torn = b'{"arm": "generated", "task": "second", "row": 1, "answer": "\xc3'
    (tmp_path / "answers.jsonl").write_bytes(b"\n".join([*lines[:-2], torn]))
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    run(tmp_path)
    assert answers_in(tmp_path) == answers_in(whole)


def test_a_cancelled_run_keeps_what_is_complete(tmp_path: Path) -> None:
    stop = False

    def adapter_of(task: JudgedTask, seed: int) -> None:
        nonlocal stop
        stop = task.name == "second"

    with pytest.raises(Cancelled):
        run(tmp_path, arms={"base": Arm(adapter_of)}, reporter=Reporter(cancelled=lambda: stop))
    assert [line["task"] for line in answers_in(tmp_path)] == ["first"] * 3
    assert not hasattr(BASE.model, "peft_config")


def test_an_adapter_for_all_tasks_is_attached_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    add = AttachedModel.add

    def noted(attached: AttachedModel, name: str, adapter: LoraAdapter) -> None:
        added.append(adapter)
        add(attached, name, adapter)

    monkeypatch.setattr(AttachedModel, "add", noted)
    run(tmp_path, arms={"multi_task": Arm(lambda task, seed: ONE)})
    assert added == [ONE]


def test_further_arms_and_tasks_join_an_existing_folder(tmp_path: Path) -> None:
    run(tmp_path, arms={"base": Arm(lambda task, seed: None)}, tasks=TASKS[:1])
    table = run(tmp_path, arms={"multi_task": Arm(lambda task, seed: ONE)})
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
        ({"arms": {"base": Arm(lambda task, seed: None, settings={"k": 1})}}, "of arm base here belong to another k"),
        ({"tasks": [replace(TASKS[0], prompts_digest="x")]}, "rows of task first have changed"),
        ({"tasks": [JudgedTask("first", "rouge_l", [("other", ["a b"])], "here")]}, "rows of task first have changed"),
        ({"tasks": [JudgedTask("first", "exact_match", TASKS[0].rows, "here")]}, "rows of task first have changed"),
    ],
)
def test_other_settings_are_refused(whole: Path, changed: dict[str, Any], said: str) -> None:
    before = (whole / "answers.jsonl").read_bytes()
    with pytest.raises(EngineError, match=said) as told:
        run(whole, **changed)
    assert "Choose another out" in str(told.value)
    assert (whole / "answers.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "broken", [b"not json", b'{"arm": "base"}', b"[1]", b'{"arm": 1, "task": "first"}', WRONG_TYPE]
)
def test_a_broken_line_inside_is_told_with_its_number(whole: Path, tmp_path: Path, broken: bytes) -> None:
    lines = (whole / "answers.jsonl").read_bytes().split(b"\n")
    lines[1] = broken
    (tmp_path / "answers.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    with pytest.raises(EngineError, match="line 2"):
        run(tmp_path)


def test_a_disk_that_fills_up_within_an_answer_is_told_and_costs_that_run_only(whole: Path, tmp_path: Path) -> None:
    """A limit of the size of files is the full disk that a test can have without being root."""
    answers, written = tmp_path / "answers.jsonl", (whole / "answers.jsonl").read_bytes()
    left = b"".join(written.splitlines(keepends=True)[:-2])
    answers.write_bytes(left)
    (tmp_path / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(left) + 20, hard))
    try:
        with pytest.raises(EngineError, match="cannot be written"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answers.read_bytes().startswith(left)
    calls: list[Call] = []
    run(tmp_path, calls)
    assert len(calls) == 1 and len(answers.read_bytes().splitlines()) == len(written.splitlines())


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
