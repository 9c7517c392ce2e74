"""The solved arms of the quality table: for a base without a generator, and where instructions are hidden."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.events import Reporter, StageStarted
from engine.jobs import run
from engine.prompts.answer_sheet import read_sheet
from engine.requests import EvaluateRequest, ModelChoice
from engine.tasks.arms import ARMS, GROUPS
from tests.tiny import ends_its_answers, write_tasks


@pytest.fixture(scope="module")
def asked(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateRequest:
    """Three tasks on a base that no generator was made for."""
    folder = tmp_path_factory.mktemp("solved")
    tasks = write_tasks(folder / "tasks", ["one", "two", "three"], split="unseen")
    return EvaluateRequest(
        models=ModelChoice(base=str(tiny_llama_folder), device="cpu"),
        tasks=tasks, out=folder / "table", arms=("solved", "generated"), rows=3, seeds=2, max_new_tokens=4, batch=4,
    )  # fmt: skip


def test_solved_arms_need_no_generator(asked: EvaluateRequest) -> None:
    run(asked, Reporter())
    table = json.loads((asked.out / "table.json").read_text())
    for arm in GROUPS["solved"]:
        figures = table["arms"][arm]
        assert figures["tasks_measured"] == 3 and figures["bits_per_byte"]["mean"] > 0
        assert len(figures["bits_per_byte"]["by_seed"]) == (2 if ARMS[arm].drawn else 1)
    assert "was made for" in table["arms"]["generated"]["not_measured"]
    bits = {arm: table["arms"][arm]["bits_per_byte"]["mean"] for arm in GROUPS["solved"]}
    # A task has 24 training rows: 32 and 128 take all of them.
    assert bits["solved_32"] == bits["solved_128"]
    others = [value for arm, value in bits.items() if arm != "solved_128"]
    assert len(set(others)) == len(others), "no two arms answer with the same adapter and prompt"
    # Even a random model learns what letters the answers have.
    assert bits["solved_32"] < bits["solved_other"] < bits["base"]
    assert table["subject"] == "solved_32" and {one["arm"] for one in table["differences"]["score"]} == {"solved_32"}
    text = (asked.out / "table.md").read_text()
    assert "| Solved, 32 rows against (score) |" in text and "- Plain LoRA, same seconds: " in text


def test_a_finished_table_is_not_answered_again(asked: EvaluateRequest) -> None:
    before = (asked.out / "answers.jsonl").read_bytes()
    stages: list[str] = []
    run(asked, Reporter(lambda event: stages.append(event.stage) if isinstance(event, StageStarted) else None))
    assert (asked.out / "answers.jsonl").read_bytes() == before and "solve" not in stages


def test_a_teacher_answers_once_and_its_answers_are_kept(
    asked: EvaluateRequest, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    teacher = shutil.copytree(tiny_llama_folder, tmp_path / "teacher")
    taught = replace(asked, arms=("base", "taught_32"), seeds=1, only=("one",), out=tmp_path / "table")
    run(taught, Reporter())
    lacking = json.loads((taught.out / "table.json").read_text())["arms"]["taught_32"]["not_measured"]
    assert lacking == "needs a teacher"
    run(replace(taught, teacher=str(ends_its_answers(teacher))), Reporter())
    (kept,) = (taught.out / "taught_32").iterdir()
    answered = [row for row in read_sheet(kept) or [] if row.response]
    assert answered and {row.answered_by for row in answered} == {"teacher"}
    arms = json.loads((taught.out / "table.json").read_text())["arms"]
    assert arms["taught_32"]["bits_per_byte"]["mean"] != arms["base"]["bits_per_byte"]["mean"]


def test_trained_arms_learn_the_answers(asked: EvaluateRequest) -> None:
    arms = ("base", "refined_32", "trained_32")
    run(replace(asked, arms=arms, seeds=1, only=("one",), out=asked.out.parent / "refined"), Reporter())
    table = json.loads((asked.out.parent / "refined" / "table.json").read_text())
    bits = {arm: table["arms"][arm]["bits_per_byte"]["mean"] for arm in arms}
    assert bits["refined_32"] < bits["base"] and bits["trained_32"] < bits["base"]
    assert bits["refined_32"] != bits["trained_32"]
    # What the watched rows said on the way, for a curve of either.
    curves = {file.name: json.loads(file.read_text()) for file in (asked.out.parent / "refined" / "curves").iterdir()}
    assert sorted(curves) == ["one-32-nothing-0.json", "one-32-solved-0.json"]
    for curve in curves.values():
        steps = [look["step"] for look in curve["looks"]]
        assert curve["watched"] == 4 and steps[0] == 0 and steps == sorted(steps)


def test_hidden_instructions_are_what_the_adapter_brings(asked: EvaluateRequest) -> None:
    arms = ("base", "examples_8", "solved_32", "solved_instruction")
    hidden = replace(asked, arms=arms, seeds=1, out=asked.out.parent / "hidden", hide_instruction=True)
    run(hidden, Reporter())
    shown, table = (json.loads((out / "table.json").read_text()) for out in (asked.out, hidden.out))
    for arm in arms:
        bits, before = (found["arms"][arm]["bits_per_byte"]["by_seed"]["0"] for found in (table, shown))
        assert bits != before, f"{arm} saw other rows"
    assert table["arms"]["solved_32"]["bits_per_byte"]["mean"] < table["arms"]["base"]["bits_per_byte"]["mean"]


def test_a_named_generator_has_to_fit(asked: EvaluateRequest, tmp_path: Path) -> None:
    wrong = replace(asked, models=replace(asked.models, generator=tmp_path), out=tmp_path / "table")
    with pytest.raises(EngineError, match="is not a generator"):
        run(wrong, Reporter())


def test_one_task_alone_has_no_other(asked: EvaluateRequest) -> None:
    alone = replace(asked, only=("one",), arms=("solved_other",), out=asked.out.parent / "alone")
    run(alone, Reporter())
    table = json.loads((alone.out / "table.json").read_text())
    assert table["arms"]["solved_other"]["not_measured"] == "there is only one task"
