"""The options of a multiple-choice row: where they are, how they are shown, which of them a label means.

{"choices": ["x", "y"]}, {"A": "x", "B": "y"}, {"opa": …}, {"sol1": …}, {"target_scores": {"x": 1, "y": 0}}
--find_options--> Options --read--> [("A", "x"), ("B", "y")]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from engine.prompts.literals import held_value
from engine.prompts.names import key_of, present, scalar

Row = Mapping[str, Any]
Shown = list[tuple[str, str]]

_LISTS = ("choices", "options", "endings", "answer_choices", "answer_options", "possible_answers")
_SCORES = ("target_scores", "mc1_targets")
_RIGHT = ("correct_answer", "correct", "answer", "target")
# With several right answers the wrong ones are no options, but what not to say.
_SEVERAL_RIGHT = ("correct_answers", "best_answer")
# A, B, …; opa, opb, …; option_a; option1; answerA; sol1; ending0; mc_answer1
_ONE = re.compile(
    r"(?:mcq?|answer(?=option|choice))?(op|opt|option|choice|ending|sol|solution|alternative|ans|answer|)([a-h]|\d)"
)
# "(A) text", "A. text", "a) text"
_MARK = re.compile(r"\s*\(?([A-Za-z])[).:]\s*(\S.*)", re.DOTALL)
_LABEL_KEYS, _TEXT_KEYS = (
    ("label", "key", "letter", "id", "name"),
    ("text", "content", "value", "option", "choice", "answer"),
)
_LONGEST_LABEL = 3
_WRONG = re.compile(r"(distractor|incorrectanswer|wronganswer)s?\d*")
# Such names are also those of several right answers: they are options only where a label points at one of them.
_MAY_BE_ANSWERS = frozenset({"ans", "answer", "sol", "solution"})


@dataclass(frozen=True)
class Options:
    """Where a row's options are.

    columns: one column that holds all of them, or one column an option.
    names: what options in columns of their own are called.
    first: the number that a label gives to the first option; None where labels are no numbers.
    scores: the column holds the options with their scores, and is the label too.
    standing: prompts list the options themselves, each after its name.
    right: the column of the right one where `columns` hold the wrong ones; they are shown in the order of the alphabet.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...] = ()
    first: int | None = 0
    scores: bool = False
    right: str | None = None
    standing: bool = False

    @property
    def words(self) -> str:
        """The columns for people, for example "A…D"."""
        if self.right is not None:
            return f"{self.right} and {self.columns[0]}" + (f"…{self.columns[-1]}" if len(self.columns) > 1 else "")
        return self.columns[0] if len(self.columns) == 1 else f"{self.columns[0]}…{self.columns[-1]}"

    def read(self, row: Row) -> Shown:
        """The options of a row as (name, text), without marks that say the name in the text too, as in "(A) x"."""
        shown = self._written(row)
        marks = [_MARK.fullmatch(text) for _, text in shown]
        if not all(mark and mark[1].upper() == name for mark, (name, _) in zip(marks, shown, strict=True)):
            return shown
        return [(name, mark[2]) for mark, (name, _) in zip(marks, shown, strict=True) if mark]

    def _written(self, row: Row) -> Shown:
        if self.right is not None:
            texts = [text for name in (self.right, *self.columns) for text in _texts(row.get(name))]
            return _lettered(sorted(set(texts), key=lambda text: (text.casefold(), text)))
        if self.scores:
            return _lettered(list(_scored(row.get(self.columns[0]))))
        if not self.names:
            return read_options(row.get(self.columns[0]))
        texts = [scalar(row.get(name)) or "" for name in self.columns]
        return [(name, text) for name, text in zip(self.names, texts, strict=True) if text.strip()]

    def lines(self, row: Row) -> str:
        """The options of a row as they stand under its prompt: "A. text", one a line; text that is no list as it is."""
        value = "" if self.standing else row.get(self.columns[0])
        if isinstance(value, str) and not self.names and self.right is None and held_value(value) is None:
            return value
        return option_lines(self.read(row))

    def meant(self, label: str, value: Any, shown: Shown) -> str:
        """The name of the option that a label means, or the label itself."""
        names = [name for name, _ in shown]
        if label in names:
            return label
        letter = label.strip(" ().:").upper()
        if letter in names:
            return letter
        if (mark := _MARK.fullmatch(label)) and (mark[1].upper(), mark[2]) in shown:
            return mark[1].upper()
        if self.first is None or (isinstance(value, str) and label in (text for _, text in shown)):
            return label
        place = _place(value)
        return names[place - self.first] if place is not None and 0 <= place - self.first < len(names) else label


def find_options(rows: Sequence[Row], taken: set[str]) -> Options | None:
    """Where the options of rows are, columns in `taken` left out; None without options."""
    for name in present(_LISTS, rows):
        if name not in taken and any(_lists_some(row.get(name)) for row in rows):
            return Options((name,))
    for name in present(_SCORES, rows):
        if name not in taken and any(_scored(row.get(name)) for row in rows):
            return Options((name,), scores=True)
    return _wrong_ones(rows, taken) or _in_columns(rows, taken)


def settled(options: Options, rows: Sequence[Row], label: str | None) -> Options | None:
    """`options` with the way in which the column `label` points at them; None where they must be answers instead."""
    if options.scores or options.right is not None:
        return options
    pairs = [(value, options.read(row)) for row in rows if (value := _one(row, label)) is not None]
    pairs = [(value, shown) for value, shown in pairs if shown]
    if options.names:
        stem = _ONE.fullmatch(key_of(options.columns[0]))
        doubtful = stem is not None and stem[1] in _MAY_BE_ANSWERS
        if doubtful and not (pairs and all(_points(value, shown) for value, shown in pairs)):
            return None
    places = [(place, len(shown)) for value, shown in pairs if (place := _place(value)) is not None]
    if not places:
        named = any(_names_one(value, shown) for value, shown in pairs)
        return options if named or not pairs else replace(options, first=None)
    texts = all(isinstance(value, str) for value, _ in pairs)
    if texts and all(value in (text for _, text in shown) for value, shown in pairs):
        return replace(options, first=None)
    low, over = min(place for place, _ in places), max(place - count for place, count in places)
    if low == 0:
        first = 0 if over < 0 else None
    elif over >= 0:
        first = 1 if over == 0 else None
    else:  # nothing tells: numbers as text beside columns are mostly counted from 1, all others from 0
        first = 1 if texts and options.names else 0
    counted = options.names and options.names[0] == "1" and first == 0
    return replace(options, first=first, names=tuple(_letters(len(options.names))) if counted else options.names)


def read_options(value: Any) -> Shown:
    """Options of one column as (name, text).

    Known ways: ["x", "y"]; [{"label": "A", "text": "x"}, ...]; [{"A": "x"}, ...]; {"label": ["A", ...], "text":
    ["x", ...]}; {"A": "x", ...}; the text of one of these. Anything else gives no options.
    """
    if isinstance(value, str):
        value = held_value(value)
    if isinstance(value, dict):
        labels, texts = value.get("label"), value.get("text")
        if isinstance(labels, list) and isinstance(texts, list):
            return [(str(label), str(text)) for label, text in zip(labels, texts, strict=False)]
        if isinstance(texts, list):
            return _lettered(texts)
        return [(str(label), str(text)) for label, text in value.items() if text is not None]
    if not isinstance(value, list):
        return []
    if any(isinstance(option, dict) for option in value):
        read = [_of_object(option, letter) for option, letter in zip(value, _letters(len(value)), strict=True)]
        return [option for option in read if option is not None] if None not in read else []
    return _lettered(value)


def _lists_some(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(read_options(value))


def _of_object(option: Any, letter: str) -> tuple[str, str] | None:
    """One option that is an object, as (name, text); None where it has no text."""
    if not isinstance(option, dict):
        return None
    text = next((name for name in _TEXT_KEYS if isinstance(option.get(name), str | int | float)), None)
    if text is not None:
        labels = [str(option[name]).strip() for name in _LABEL_KEYS if option.get(name) is not None]
        return next((label for label in labels if 0 < len(label) <= _LONGEST_LABEL), letter), str(option[text])
    name, held = next(iter(option.items()), (None, None))
    return (str(name), held) if len(option) == 1 and isinstance(held, str) else None


def option_lines(options: Shown) -> str:
    """One line an option: "A. text"."""
    return "\n".join(f"{letter}. {text}" for letter, text in options)


def best_scored(value: Any) -> list[str]:
    """Of options with scores those with the best one."""
    scores = _scored(value)
    best = max(scores.values(), default=0)
    return [text for text, score in scores.items() if score == best] if best > 0 else []


def marked_right(value: Any) -> list[str]:
    """Of {"choices": ["x", "y"], "labels": [1, 0]} the right ones; nothing of any other object."""
    return best_scored(value) if isinstance(value, dict) and {"choices", "labels"} <= value.keys() else []


def _wrong_ones(rows: Sequence[Row], taken: set[str]) -> Options | None:
    wrong = [name for name in dict.fromkeys(name for row in rows for name in row) if _WRONG.fullmatch(key_of(name))]
    right = [name for name in present(_RIGHT, rows) if name not in taken and any(_texts(row.get(name)) for row in rows)]
    wrong = [name for name in wrong if name not in taken and any(_texts(row.get(name)) for row in rows)]
    several = present(_SEVERAL_RIGHT, rows)
    return Options(tuple(wrong), right=right[0]) if wrong and right and not several else None


def _in_columns(rows: Sequence[Row], taken: set[str]) -> Options | None:
    families: dict[tuple[str, bool], dict[str, str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        found = _ONE.fullmatch(key_of(name))
        if found and name not in taken and (found[1] or not found[2].isdigit()):
            families.setdefault((found[1], found[2].isdigit()), {}).setdefault(found[2], name)
    for family in families.values():
        marks = sorted(family)
        run = [mark for place, mark in enumerate(marks) if ord(mark) == ord(marks[0]) + place]
        columns = tuple(family[mark] for mark in run)
        texts = all(scalar(row.get(name)) is not None for row in rows for name in columns)
        if marks[0] in ("a", "0", "1") and len(run) > 1 and texts and any(row.get(columns[1]) for row in rows):
            return Options(columns, tuple(mark.upper() for mark in run))
    return None


def _points(value: Any, shown: Shown) -> bool:
    """Whether a label is a name, a text or a place of the options."""
    place = _place(value)
    if place is not None:
        return 0 <= place <= len(shown)
    return str(value).strip() in (text for _, text in shown) or _names_one(value, shown)


def _names_one(value: Any, shown: Shown) -> bool:
    return str(value).strip(" ().:").upper() in (name for name, _ in shown)


def _one(row: Row, label: str | None) -> Any:
    value = row.get(label) if label is not None else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if (scalar(value) or "").strip() else None


def _place(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value == int(value) else None
    found = re.fullmatch(r"\s*(\d{1,3})(?:\.0)?\s*", value) if isinstance(value, str) else None
    return int(found[1]) if found else None


def _scored(value: Any) -> dict[str, float]:
    """{"x": 1, "y": 0}, or {"choices": ["x", "y"], "labels": [1, 0]}, or the text of one."""
    if isinstance(value, str):
        value = held_value(value)
    if not isinstance(value, dict):
        return {}
    choices, labels = value.get("choices"), value.get("labels")
    pairs = (
        zip(choices, labels, strict=False) if isinstance(choices, list) and isinstance(labels, list) else value.items()
    )
    return {str(text): score for text, score in pairs if isinstance(score, int | float)}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = held_value(value) or value
    values = value if isinstance(value, list) else [value]
    return [text for each in values if (text := (scalar(each) or "").strip())]


def _lettered(texts: list[Any]) -> Shown:
    return [(letter, str(text)) for letter, text in zip(_letters(len(texts)), texts, strict=True)]


def _letters(count: int) -> list[str]:
    """A, B, ...; numbers when the alphabet is too short."""
    return list(ascii_uppercase[:count]) if count <= len(ascii_uppercase) else [str(n + 1) for n in range(count)]
