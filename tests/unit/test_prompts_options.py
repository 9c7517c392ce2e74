"""Options of multiple-choice rows: wherever they are, they stand under the question, and a label means one of them."""

from __future__ import annotations

from typing import Any

import pytest

from engine.prompts.columns import find_shape
from engine.prompts.literals import held_value
from engine.prompts.rows import read_prompt, read_references

Row = dict[str, Any]


def read(*rows: Row) -> list[tuple[str, tuple[str, ...]]]:
    shape = find_shape(rows)
    return [(read_prompt(shape, row), read_references(shape, row)) for row in rows]


SHOWN = "Ask\nA. x\nB. y\nC. z"


@pytest.mark.parametrize(
    ("row", "prompt", "references"),
    [
        ({"question": "Ask", "A": "x", "B": "y", "C": "z", "answer": "B"}, SHOWN, ("B",)),
        ({"question": "Ask", "A": "x", "B": "y", "C": "z", "answer": "(b)"}, SHOWN, ("B",)),
        ({"question": "Ask", "A": "x", "B": "y", "C": "z", "answer": "y"}, SHOWN, ("y",)),
        ({"question": "Ask", "opa": "x", "opb": "y", "opc": "z", "cop": 2}, SHOWN, ("C",)),
        ({"question": "Ask", "Option A": "x", "Option B": "y", "Option C": "z", "Answer": "B"}, SHOWN, ("B",)),
        ({"question": "Ask", "answerA": "x", "answerB": "y", "answerC": "z", "label": "1"}, SHOWN, ("A",)),
        ({"goal": "Ask", "sol1": "x", "sol2": "y", "label": 0}, "Ask\nA. x\nB. y", ("A",)),
        ({"sentence": "Ask", "option1": "x", "option2": "y", "answer": "2"}, "Ask\n1. x\n2. y", ("2",)),
        ({"ctx": "Ask", "endings": ["x", "y", "z"], "label": "0"}, SHOWN, ("A",)),
        ({"ctx": "Ask", "ending0": "x", "ending1": "y", "label": 1}, "Ask\n0. x\n1. y", ("1",)),
        ({"input": "Ask", "choices": ["x", "y", "z"], "target": "C"}, SHOWN, ("C",)),
        ({"prompt": "Ask", "choices": ["x", "y", "z"], "answer": 0}, SHOWN, ("A",)),
        ({"text": "Ask", "options": {"A": "x", "B": "y", "C": "z"}, "label": "C"}, SHOWN, ("C",)),
        ({"question": "Ask", "choices": "['x', 'y', 'z']", "answer": "1"}, SHOWN, ("B",)),
        ({"question": "Ask", "choices": '["x", "y", "z"]', "answer": "y"}, SHOWN, ("y",)),
        ({"question": "Ask", "choices": "['x' 'y'\n 'z']", "answer": "2"}, SHOWN, ("C",)),
        ({"question": "Ask", "choices": ["1", "2", "3"], "answer": "2"}, "Ask\nA. 1\nB. 2\nC. 3", ("2",)),
        ({"question": "Ask", "choices": ["1", "2", "3"], "answer": 2}, "Ask\nA. 1\nB. 2\nC. 3", ("C",)),
        ({"input": "Ask", "target_scores": {"x": 0, "y": 1, "z": 0}}, SHOWN, ("y",)),
        ({"question": "Ask", "mc1_targets": {"choices": ["x", "y", "z"], "labels": [1, 0, 0]}}, SHOWN, ("x",)),
        ({"question": "Ask", "distractor1": "z", "distractor2": "x", "correct_answer": "y"}, SHOWN, ("y",)),
        ({"question": "Ask", "incorrect_answers": ["z", "x"], "correct_answer": "y"}, SHOWN, ("y",)),
        ({"question": "Ask\nA. x\nB. y", "choices": ["x", "y"], "answer": "A"}, "Ask\nA. x\nB. y", ("A",)),
        ({"query": "Ask (A) x (B) y", "choices": ["(A)x", "(B)y"], "gold": [1]}, "Ask (A) x (B) y", ("B",)),
        ({"prompt": "Ask\n1) x\n2) y", "choices": ["x", "y"], "answer": 1}, "Ask\n1) x\n2) y", ("1",)),
        ({"question": "Ask", "options": ["A)x", "B)y", "C)z"], "correct": "B"}, SHOWN, ("B",)),
        ({"question": "Ask", "options": ["a. x", "b. y", "c. z"], "answer": "b. y"}, SHOWN, ("B",)),
        ({"question": "Ask", "options": [{"key": "A", "value": "x"}, {"key": "B", "value": "y"}], "answer": "B"},
         "Ask\nA. x\nB. y", ("B",)),
        ({"question": "Ask", "options": [{"A": "x"}, {"B": "y"}], "answer": "A"}, "Ask\nA. x\nB. y", ("A",)),
        ({"question": "Ask", "mc_answer1": "x", "mc_answer2": "y", "correct_answer_num": "2"}, "Ask\n1. x\n2. y",
         ("2",)),
        ({"question": "Ask", "choices": "['x', 'y', 'z']", "answer": "1.0"}, SHOWN, ("B",)),
        ({"question": {"stem": "Ask", "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}]},
          "answerKey": "B"}, "Ask\nA. x\nB. y", ("B",)),
        ({"prompt": "Ask", "choices": [{"message": {"role": "assistant", "content": "x"}}]}, "Ask", ()),
    ],
)  # fmt: skip
def test_options_stand_under_the_question(row: Row, prompt: str, references: tuple[str, ...]) -> None:
    assert read(row) == [(prompt, references)]


def test_places_are_counted_as_the_labels_count_them() -> None:
    row = {"question": "Ask", "choices": ["x", "y", "z"]}
    assert [found[1] for found in read(row | {"answer": 1}, row | {"answer": 3})] == [("A",), ("C",)]
    assert [found[1] for found in read(row | {"answer": 1}, row | {"answer": 0})] == [("B",), ("A",)]
    assert [found[1] for found in read(row | {"answer": 0}, row | {"answer": 3})] == [("0",), ("3",)]


@pytest.mark.parametrize(
    ("row", "label", "prompt"),
    [
        ({"question": "Ask", "distractor1": "z", "distractor2": "x", "correct_answer": "y"}, "correct_answer", SHOWN),
        ({"question": "Ask", "target_scores": {"x": 0, "y": 1, "z": 0}}, "target_scores", SHOWN),
        ({"question": "Ask", "option1": "y", "option2": "z"}, "option1", "Ask"),
    ],
)
def test_a_named_label_keeps_the_options_and_is_none_of_them(row: Row, label: str, prompt: str) -> None:
    shape = find_shape([row], label=label)
    assert (read_prompt(shape, row), read_references(shape, row)) == (prompt, ("y",))


def test_an_option_that_a_row_lacks_is_left_out() -> None:
    row = {"question": "Ask", "A": "x", "B": "y", "C": None, "answer": "A"}
    assert read(row) == [("Ask\nA. x\nB. y", ("A",))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("['a' \"b's\"\n 'c']", ["a", "b's", "c"]),
        ("{'text': array(['a', 'b'], dtype=object), 'label': array(['A', 'B'], dtype='<U1')}",
         {"text": ["a", "b"], "label": ["A", "B"]}),
        ("[{'role': 'user'}\n {'role': 'assistant'}]", [{"role": "user"}, {"role": "assistant"}]),
        ("[1.5, None, nan, True]", [1.5, None, None, True]),
        ("['array(', 'dtype=x)']", ["array(", "dtype=x)"]),
        ("[__import__('os')]", None),
        ("[a plain remark]", None),
        ("['open", None),
        ("[" * 5000 + "]" * 5000, None),
        ("plain", None),
    ],
)  # fmt: skip
def test_lists_and_objects_written_as_text(text: str, value: Any) -> None:
    assert held_value(text) == value
