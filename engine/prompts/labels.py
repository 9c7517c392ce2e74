"""Which columns hold the answers of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.prompts.names import is_unnamed, key_of, present, scalar
from engine.prompts.options import Options
from engine.prompts.rows import CHATS, references_of

# What was written to be compared with comes first: beside it, an answer is often some model's.
_FIRST = (
    "ground_truth",
    "ground_truths",
    "ideal",
    "expected",
    "expected_output",
    "expected_answer",
    "correct_answer",
    "best_answer",
    "gold",
    "gold_answer",
    "reference_answer",
    "reference",
    "response",
    "output",
    "outputs",
    "answer",
    "answerkey",
    "answers",
    "answers_spans",
    "final_decision",
    "completion",
    "target",
    "targets",
    "solution",
    "solutions",
    "long_answer",
    "canonical_solution",
    "output_text",
    "target_text",
    "assistant",
    "bot",
    "cop",
    "correct",
    "correct_option",
    "correct_choice",
    "correct_index",
    "correct_answer_num",
    "correct_answer_index",
    "answer_index",
    "answer_idx",
    "answer_num",
    "correct_answers",
    "chosen",
    "preferred_output",
    "summary",
    "highlights",
    "label_text",
    "label_name",
    "label",
    "labels",
    "reward_model",
    "expectations",
    "category",
    "intent",
    "class",
    "sentiment",
    "emotion",
)
_MORE = ("references",)
LABELS = (*_FIRST, *_MORE)
"""Columns of answers by name: the first that has some is taken."""

_LISTED = frozenset(
    {
        "groundtruths",
        "ideal",
        "answers",
        "outputs",
        "solutions",
        "labels",
        "targets",
        "references",
        "correctanswers",
        "expected",
    }
)
TEACHER_COLUMN = "answered_by"
"""Beside a response: the model that wrote it; empty where a person did."""


def find_labels(
    tables: Sequence[Mapping[str, Any]], used: Iterable[str], options: Options | None
) -> tuple[tuple[str, ...], list[str]]:
    """The label columns, and those of them that have answers in the rows; columns in `used` are none.

    The first known one that has answers wins. An empty one is only taken where it is to be filled in, as on an answer
    sheet: where no other has any.
    """
    if options is not None and options.scores:
        return options.columns, list(options.columns)
    taken = {*used, *(options.columns if options is not None else ())}

    def those(names: Iterable[str], *, filled: bool) -> list[str]:
        there = [name for name in present(names, tables) if name not in taken and not _only_judges(name, tables)]
        return [name for name in there if not filled or any(references_of(row.get(name)) for row in tables)]

    first, more = those(_FIRST, filled=True)[:1], those(_MORE, filled=False)
    answered = [*first, *those(_MORE, filled=True)]
    if not answered:
        first = answered = those(CHATS, filled=True)[:1]
    if not answered:
        first = those(_FIRST, filled=False)[:1]
    return (*first, *more), answered


def _only_judges(name: str, tables: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column says if some answer was correct, and not what is."""
    return key_of(name) == "correct" and all(isinstance(row.get(name), bool | None) for row in tables)


# Rows of a table without a header from which on it can be seen which column holds labels.
_LEAST_ROWS = 4


def label_of_unnamed(tables: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Of a table without a header, the column of few values that come again and again; none where several are so."""
    names = list(dict.fromkeys(name for row in tables for name in row))
    if not all(map(is_unnamed, names)):
        return ()
    columns = {name: [text for row in tables if (text := (scalar(row.get(name)) or "").strip())] for name in names}
    found = tuple(name for name, texts in columns.items() if _come_again(texts))
    return found if len(found) == 1 else ()


def _come_again(texts: Sequence[str]) -> bool:
    return len(texts) >= _LEAST_ROWS and 1 < len(set(texts)) <= len(texts) // 2


def listed_labels(labels: Iterable[str]) -> frozenset[str]:
    """Those of them whose text may write a list of answers."""
    return frozenset(name for name in labels if key_of(name) in _LISTED)
