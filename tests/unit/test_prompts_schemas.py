"""Over any columns: no text is lost without a word, and no label gets into a prompt."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.prompts.columns import PROMPT_COLUMNS, find_shape
from engine.prompts.labels import LABELS
from engine.prompts.rows import read_prompt, read_references
from engine.prompts.shape import RowError, RowShape

OTHERS = (
    "id", "note", "topic", "A", "B", "C", "opa", "opb", "option_1", "option_2", "answer1", "answer2", "sol1", "sol2",
    "choices", "options", "endings", "target_scores", "distractor1", "distractors", "incorrect_answers", "rejected",
    "system", "role", "speaker", "answered_by", "body", "vars", "history", "Answer Key", "kto_tag", "definition",
    "questions", "documents", "systemInstruction",
)  # fmt: skip


def token(name: str, row: int) -> str:
    """A text that stands in no other column."""
    return f"<{name}/{row}>"


def value(name: str, kind: str, row: int) -> Any:
    text = token(name, row)
    answer = f"<{name}/{row}/answer>"
    return {
        "text": text,
        "marked": f"### Human: {text}\n### Assistant: {answer}",
        "turns": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}],
        "list": [text, answer],
        "cell": str([text, answer]),
        "scores": {text: 1, answer: 0},
        "object": {"prompt": text},
        "passage": {"title": "T", "text": text},
        "truth": row == 1,
        "number": row,
        "blank": " ",
        "none": None,
    }[kind]


def text_in(held: Any) -> str:
    return held if isinstance(held, str) else held.get("text", "") if isinstance(held, dict) else ""


KINDS = ("text", "text", "text", "marked", "turns", "list", "cell", "scores", "object", "passage", "truth", "number",
         "blank", "none")  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    every = sorted({*PROMPT_COLUMNS, *LABELS, *OTHERS})
    likely = [draw(st.sampled_from(sorted(some))) for some in (PROMPT_COLUMNS, LABELS)][: draw(st.integers(0, 2))]
    names = list(dict.fromkeys(likely + draw(st.lists(st.sampled_from(every), min_size=1, max_size=5))))
    kinds = {name: draw(st.sampled_from(KINDS)) for name in names}
    count = draw(st.integers(1, 3))
    return [
        {name: value(name, "none" if draw(st.integers(0, 9)) == 0 else kinds[name], row) for name in names}
        for row in range(count)
    ]


def shown_as_options(shape: RowShape, name: str) -> bool:
    return shape.options is not None and name in (*shape.options.columns, shape.options.right)


@settings(max_examples=300)
@given(tables())
def test_no_column_of_text_is_lost_without_a_word_and_no_label_stands_in_a_prompt(rows: list[dict[str, Any]]) -> None:
    try:
        shape = find_shape(rows)
        prompts = [read_prompt(shape, row) for row in rows]
    except RowError as error:
        assert error.hint
        return
    said = "\n".join(prompts) + "".join(text for row in rows for text in read_references(shape, row))
    for name in {name for row in rows for name in row}:
        texts = [token(name, n) for n, row in enumerate(rows) if token(name, n) in text_in(row[name])]
        lost = [text for text in texts if text not in said]
        known = {*shape.unread, shape.teacher, shape.role}
        if shape.verdict is not None:  # what is judged bad is no answer
            known |= {*shape.labels, shape.column}
        # Rows without a prompt are skipped whole, and counted
        skipped = {token(name, n) for n, prompt in enumerate(prompts) if not prompt}
        assert set(lost) <= skipped or name in known, (name, shape)
    for name in shape.labels:
        if not shown_as_options(shape, name):
            assert not any(token(name, n) in prompt for n, prompt in enumerate(prompts)), (name, shape)
    if shape.answered:
        answers = [f"<{shape.column}/{n}/answer>" for n in range(len(rows))]
        assert not any(answer in prompt for answer, prompt in zip(answers, prompts, strict=True))
