"""Pure parts of letting a model answer: the wish, what a person changes, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dnd_tui.screens.answer_dialog import free_answers_file
from dnd_tui.screens.teach.answers import SheetEdits
from dnd_tui.screens.teach.form import TeachWish, teacher_problem
from dnd_tui.text import answers_words
from engine.prompts.answer_sheet import SheetRow
from engine.requests import ModelChoice, PromptChoice, TeachRequest

PROMPTS = PromptChoice(source=Path("a/bare.jsonl"), column="question")


@pytest.mark.parametrize(
    ("teacher", "problem"),
    [
        ("http://127.0.0.1:8080/v1", ""),
        ("HTTPS://example.org/v1", ""),
        ("someone/some-model", ""),
        ("~/models/big.gguf", ""),
        ("default", ""),
        ("", "must be named"),
        ("127.0.0.1:8080/v1", "must begin with http"),
        ("localhost:8080", "must begin with http"),
        ("ftp://example.org", "must begin with http"),
        ("http://", "must be a URL"),
        ("http://:8080/v1", "must be a URL"),
        ("http://[::1/v1", "must be a URL"),
        ("http://host:port/v1", "must be a URL"),
        ("https://me:secret@example.org/v1", "without a key"),
        ("https://example.org/v1?key=secret", "without a key"),
    ],
)
def test_a_teacher_that_cannot_be_is_told_without_what_was_typed(teacher: str, problem: str) -> None:
    told = teacher_problem(teacher)
    assert (problem in told if problem else told == "") and "secret" not in told


def test_a_wish_becomes_a_request() -> None:
    out, models = Path("out.jsonl"), ModelChoice(device="cpu", dtype="float32")
    wish = TeachWish("http://host/v1", "qwen", 8, "Be short.")
    request = wish.request(PROMPTS, out, models)
    expected = TeachRequest(
        source=PROMPTS.source, column="question", out=out, teacher="http://host/v1", teacher_model="qwen", count=8,
        context="Be short.", device="cpu", dtype="float32",
    )  # fmt: skip
    assert request == expected
    # A model of this machine has no other name; nothing typed is no empty instruction.
    local = replace(wish, teacher="big.gguf", instruction="").request(PROMPTS, out, models)
    assert (local.teacher_model, local.context) == (None, None)


def test_what_a_person_edits_is_the_persons() -> None:
    edits = SheetEdits([SheetRow("a?", "A", "big"), SheetRow("b?", "B ", "big"), SheetRow("c?"), SheetRow("d?", "D")])
    assert edits.words == "3 answers, 2 by big, 1 missing" and not edits.edited
    assert edits.change(0, " better\n") and edits.rows[0] == SheetRow("a?", "better")
    assert edits.change(1, "  ") and edits.rows[1] == SheetRow("b?")
    assert edits.change(2, "C") and edits.rows[2] == SheetRow("c?", "C")
    assert (edits.words, edits.answered, edits.edited) == ("3 answers, 1 missing", 3, True)
    assert not edits.change(2, "C")
    # What was there at first is the model's again, to the letter.
    assert edits.change(0, "A") and edits.change(1, "B ") and edits.change(2, "") and not edits.edited


def test_who_wrote_answers_is_told() -> None:
    assert answers_words(64, {"qwen": 60}) == "64 answers, 60 by qwen"
    assert answers_words(1, {}) == "1 answer"
    assert answers_words(1200, {"a\nb": 1000, "c": 200}) == "1,200 answers, 1,000 by a b, 200 by c"


def test_a_file_of_answers_gets_a_name_of_its_own(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        names.append(free_answers_file(tmp_path, Path("x/bare.tar.jsonl")).name)
        (tmp_path / names[-1]).touch()
    assert names == ["answers-bare.jsonl", "answers-bare-2.jsonl", "answers-bare-3.jsonl"]
