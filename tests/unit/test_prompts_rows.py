"""Which column becomes the prompt, and that labels stay out of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.prompts.rows import RowError, RowShape, find_shape, read_prompt, read_references


def read_row(shape: RowShape, row: object) -> tuple[str, tuple[str, ...]]:
    return read_prompt(shape, row), read_references(shape, row)


LABEL = "ZZ-the-label-ZZ"
USER = {"role": "user", "content": "Ask"}
ASSISTANT = {"role": "assistant", "content": LABEL}

# (row, prompt, references, column, label column)
ROWS = {
    "prompt": ({"prompt": "Ask", "response": LABEL}, "Ask", (LABEL,), "prompt", "response"),
    "prompt with references": (
        {"prompt": "Ask", "response": LABEL, "references": [LABEL, "other"]},
        "Ask",
        (LABEL, "other"),
        "prompt",
        "response + references",
    ),
    "instruction": ({"instruction": "Ask", "output": LABEL}, "Ask", (LABEL,), "instruction", "output"),
    "instruction and input": (
        {"instruction": "Ask", "input": "this", "output": LABEL, "text": f"Ask this {LABEL}"},
        "Ask\n\nthis",
        (LABEL,),
        "instruction + input",
        "output",
    ),
    "instruction, empty input": (
        {"instruction": "Ask", "input": " ", "response": LABEL},
        "Ask",
        (LABEL,),
        "instruction + input",
        "response",
    ),
    "instruction and context": (
        {"instruction": "Ask", "context": "this", "response": LABEL, "category": "x"},
        "Ask\n\nthis",
        (LABEL,),
        "instruction + context",
        "response",
    ),
    "question": ({"question": "Ask", "answer": LABEL}, "Ask", (LABEL,), "question", "answer"),
    "question, yes or no": (
        {"question": "Ask", "answer": True, "passage": "Facts"},
        "Facts\n\nAsk",
        ("true",),
        "passage + question",
        "answer",
    ),
    "question, answers in an object": (
        {"question": "Ask", "answers": {"text": [LABEL, LABEL], "answer_start": [1, 2]}},
        "Ask",
        (LABEL,),
        "question",
        "answers",
    ),
    "another case of letters": ({"Question": "Ask", "Answer": LABEL}, "Ask", (LABEL,), "Question", "Answer"),
    "options, right one by place": (
        {"question": "Ask", "choices": ["x", "y"], "answer": 1},
        "Ask\nA. x\nB. y",
        ("B",),
        "question + choices",
        "answer",
    ),
    "options in an object of lists": (
        {"id": 7, "question": "Ask", "choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "2"},
        "Ask\n1. x\n2. y",
        ("2",),
        "question + choices",
        "answerKey",
    ),
    "options as objects": (
        {"question": "Ask", "options": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answer": "B"},
        "Ask\nA. x\nB. y",
        ("B",),
        "question + options",
        "answer",
    ),
    "options by letter": (
        {"question": "Ask", "options": {"A": "x", "B": "y"}, "answer": "A"},
        "Ask\nA. x\nB. y",
        ("A",),
        "question + options",
        "answer",
    ),
    "options as text": (
        {"question": "Ask", "options": "x or y", "answer": LABEL},
        "Ask\nx or y",
        (LABEL,),
        "question + options",
        "answer",
    ),
    "chat": (
        {"messages": [{"role": "system", "content": "Be kind."}, USER, ASSISTANT]},
        "Be kind.\n\nAsk",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "chat of many turns": (
        {"messages": [{"role": "user", "content": "Before"}, {"role": "assistant", "content": "-"}, USER, ASSISTANT]},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "chat that ends with the question": (
        {"messages": [ASSISTANT, USER]},
        "Ask",
        (),
        "messages (last user turn)",
        None,
    ),
    "chat as JSON text": (
        {"messages": json.dumps([USER, ASSISTANT])},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "chat of parts": (
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Ask"}]}, ASSISTANT]},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "from and value": (
        {"conversations": [{"from": "human", "value": "Ask"}, {"from": "gpt", "value": LABEL}]},
        "Ask",
        (LABEL,),
        "conversations (last user turn)",
        "conversations (assistant turn)",
    ),
    "prompt of turns": (
        {"prompt": [USER], "completion": [ASSISTANT]},
        "Ask",
        (LABEL,),
        "prompt (last user turn)",
        "completion",
    ),
    "text": ({"text": "Ask", "label": 3}, "Ask", ("3",), "text", "label"),
    "plain string": ("Ask", "Ask", (), "plain text", None),
}


@pytest.mark.parametrize("name", ROWS)
def test_kinds_of_rows(name: str) -> None:
    row, prompt, references, column, label_column = ROWS[name]
    shape = find_shape([row])
    assert (shape.prompt_words, shape.label_words) == (column, label_column)
    assert read_row(shape, row) == (prompt, references)


@pytest.mark.parametrize("name", ROWS)
def test_labels_never_reach_the_prompt(name: str) -> None:
    row = ROWS[name][0]
    prompt, _ = read_row(find_shape([row]), row)
    assert LABEL not in prompt


@given(
    question=st.text(alphabet="abc ", min_size=1).filter(str.strip),
    label=st.text(alphabet="XYZ", min_size=1),
    columns=st.permutations(["prompt", "instruction", "input", "question", "text"]).flatmap(
        lambda names: st.integers(1, len(names)).map(lambda count: names[:count])
    ),
    label_column=st.sampled_from(["response", "output", "answer", "answerKey", "completion", "target", "references"]),
)
def test_a_label_column_is_never_part_of_the_prompt(
    question: str, label: str, columns: list[str], label_column: str
) -> None:
    row = dict.fromkeys(columns, question) | {label_column: label}
    prompt, references = read_row(find_shape([row]), row)
    assert references == (label,)
    assert not set(prompt) & set(label)


def test_a_chat_column_of_other_text_is_refused_and_not_taken_as_a_prompt() -> None:
    row = {"messages": "user: Ask assistant: answer"}
    with pytest.raises(RowError, match="not a list of turns"):
        read_row(find_shape([row]), row)


def test_a_named_column_is_taken_alone() -> None:
    row = {"question": "Ask", "choices": ["x", "y"], "answer": "A", "goal": "Other"}
    assert read_row(find_shape([row], column="question"), row) == ("Ask", ("A",))
    assert read_row(find_shape([row], column="GOAL"), row) == ("Other", ("A",))


def test_a_named_label_is_the_only_one() -> None:
    row = {"prompt": "Ask", "response": "x", "gold": "y"}
    assert read_row(find_shape([row], label="gold"), row) == ("Ask", ("y",))


def test_one_column_cannot_be_prompt_and_label() -> None:
    with pytest.raises(RowError, match="both prompt and label"):
        find_shape([{"prompt": "Ask"}], label="prompt")


@pytest.mark.parametrize("named", [{"column": "nope"}, {"label": "nope"}])
def test_a_missing_named_column_lists_those_there(named: dict[str, str]) -> None:
    with pytest.raises(RowError, match='no column "nope"') as caught:
        find_shape([{"alpha": "x", "prompt": "y"}], **named)
    assert "alpha, prompt" in caught.value.hint


def test_unknown_columns_are_listed_with_what_to_do() -> None:
    with pytest.raises(RowError, match="alpha, beta") as caught:
        find_shape([{"alpha": "x", "beta": "y"}])
    assert "column" in caught.value.hint


def test_a_column_that_is_filled_is_preferred_to_an_empty_one() -> None:
    rows = [{"prompt": None, "text": "a"}, {"prompt": None, "text": "b"}]
    assert find_shape(rows).column == "text"


def test_an_input_that_comes_in_a_later_row_belongs_to_the_prompt() -> None:
    rows = [{"instruction": "Ask"}, {"instruction": "Ask", "input": "this"}]
    shape = find_shape(rows)
    assert [read_row(shape, row)[0] for row in rows] == ["Ask", "Ask\n\nthis"]


@pytest.mark.parametrize("value", [None, "", " \n\t", [], [{"role": "system", "content": "x"}]])
def test_rows_without_a_prompt_are_empty(value: object) -> None:
    column = "messages" if isinstance(value, list) else "prompt"
    rows = [{column: value, "response": "x"}]
    assert read_row(find_shape(rows), rows[0])[0] == ""


@pytest.mark.parametrize("value", [{"a": 1}, ["a", "b"], b"bytes"])
def test_a_prompt_that_is_no_text_is_refused(value: object) -> None:
    shape = find_shape([{"prompt": "x", "other": 1}])
    with pytest.raises(RowError, match=r'column "prompt" holds .*not text') as caught:
        read_row(shape, {"prompt": value, "other": 1})
    assert "prompt, other" in caught.value.hint


@given(st.text(alphabet=st.characters(), min_size=1))
def test_half_characters_are_replaced_and_nothing_else(text: str) -> None:
    prompt, _ = read_row(find_shape(["x"]), text)
    if text.strip():
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        assert prompt == "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in paired)
    else:
        assert prompt == ""
