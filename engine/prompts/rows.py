"""One row of data -> its prompt and, kept apart, its references. Pure: no files here.

a few rows --find_shape--> RowShape        which column is the prompt, which are labels
RowShape, row --read_prompt--> prompt
    RowShape, row --read_references--> labels  a second function, so that no label can get into a prompt
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import setting
from engine.prompts.values import as_turns, assistant_texts, last_exchange, option_lines, read_options

# The first of these that a row has is the prompt.
PROMPT_COLUMNS = (
    "prompt",
    "messages",
    "conversations",
    "conversation",
    "instruction",
    "question",
    "question_stem",
    "query",
    "problem",
    "input",
    "inputs",
    "text",
)
_CHATS = frozenset({"messages", "conversations", "conversation"})
# Text columns that belong to a prompt: in front of it, and after it.
_BEFORE = ("system_prompt", "system")
_BEFORE_QUESTION = ("context", "passage")
_AFTER_INSTRUCTION = ("input", "context")
_QUESTIONS = frozenset({"question", "question_stem", "query", "problem"})
_OPTIONS = ("choices", "options")
_LABELS = (
    "response",
    "output",
    "outputs",
    "answer",
    "answerkey",
    "answers",
    "completion",
    "target",
    "targets",
    "solution",
    "label",
)
_MORE_LABELS = ("references", "reference")
TEACHER_COLUMN = "answered_by"
"""Beside a response: the model that wrote it; empty where a person did."""


class RowError(ValueError):
    """A row that cannot be read; whoever knows file and line makes an EngineError of it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


@dataclass(frozen=True)
class RowShape:
    """Where the parts of a row are.

    column: the prompt column; None for rows that are plain text.
    before, after: text columns put in front of the prompt and after it, a blank line between.
    options: the column of a multiple-choice row's options.
    labels: columns whose values become the references.
    turns: the prompt column holds chat turns.
    answered: the assistant turn after the prompt is the label.
    teacher: the column that names the model which wrote the labels; None without one.
    """

    column: str | None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    options: str | None = None
    labels: tuple[str, ...] = ()
    turns: bool = False
    answered: bool = False
    teacher: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        main = (self.column,) if self.column is not None else ()
        choices = (self.options,) if self.options is not None else ()
        teacher = (self.teacher,) if self.teacher is not None else ()
        return tuple(dict.fromkeys((*self.before, *main, *self.after, *choices, *self.labels, *teacher)))

    @property
    def prompt_words(self) -> str:
        """The prompt column for people, for example "instruction + input"."""
        if self.column is None:
            return "plain text"
        main = f"{self.column} (last user turn)" if self.turns else self.column
        choices = (self.options,) if self.options is not None else ()
        return " + ".join((*self.before, main, *self.after, *choices))

    @property
    def label_words(self) -> str | None:
        """The label columns for people; None when there are none."""
        if self.labels:
            return " + ".join(self.labels)
        return f"{self.column} (assistant turn)" if self.answered else None


def find_shape(rows: Sequence[Any], *, column: str | None = None, label: str | None = None) -> RowShape:
    """The shape of rows of which `rows` are the first few (at least one).

    Names are found in any case ("Question" is `question`). A column that is named is taken alone, exactly as it is.

    Raises:
        RowError: the rows are no rows, no prompt column is known, or a named column is not there.
    """
    first = rows[0]
    if isinstance(first, str):
        named = column if column is not None else label
        if named is not None:
            raise RowError(f'there is no column "{named}": the prompts are plain text', "Leave the column out")
        return RowShape(None)
    if not isinstance(first, dict):
        raise RowError(f"a row must be an object or a string, this one is {_words(first)}", "Write one object a prompt")
    tables = [row for row in rows if isinstance(row, dict)]
    main = _named(column, first) if column is not None else _found(first, tables)
    kind = main.lower() if column is None else ""
    before = _BEFORE + (_BEFORE_QUESTION if kind in _QUESTIONS else ()) if kind else ()
    after = _AFTER_INSTRUCTION if kind == "instruction" else ()
    found_after = _text_columns(after, tables)[:1]  # `input` and `context` are two names for one thing
    options = next(iter(_there(_OPTIONS, tables)), None) if kind in _QUESTIONS else None
    chats = [turns for row in tables if (turns := as_turns(row.get(main)))]
    answered = label is None and any(last_exchange(chat).answer is not None for chat in chats)
    used = {main, *found_after, options}
    labels: tuple[str, ...] = ()
    if label is not None:
        labels = (_named(label, *tables),)
    elif not answered:
        candidates = [name for name in _there(_LABELS, tables) if name not in used]
        labels = (*candidates[:1], *(name for name in _there(_MORE_LABELS, tables) if name not in used))
    if main in labels:
        raise RowError(f'"{main}" cannot be both prompt and label', "Name two different columns")
    found_before = tuple(name for name in _text_columns(before, tables) if name not in {*used, *labels})
    teacher = next(iter(_there((TEACHER_COLUMN,), tables)), None) if labels else None
    return RowShape(main, found_before, found_after, options, labels, bool(chats), answered, teacher)


def read_prompt(shape: RowShape, row: Any) -> str:
    """The prompt of a row, "" when it has none. Labels are not looked at.

    Raises:
        RowError: the row is not of this shape.
    """
    if shape.column is None:
        if not isinstance(row, str):
            raise RowError(f"{_words(row)} among rows of plain text", "Make all rows strings, or all objects")
        return _clean(row) if row.strip() else ""
    if not isinstance(row, dict):
        raise RowError(f"{_words(row)} among rows with columns", f'Make it an object with "{shape.column}"')
    if shape.column not in row:
        raise RowError(
            f'the row has no column "{shape.column}"; its columns: {_listed(row)}',
            f'Give every row "{shape.column}", or name a column that all rows have with {setting("column")}',
        )
    value = row[shape.column]
    turns = as_turns(value)
    prompt = last_exchange(turns).prompt if turns is not None else _plain_prompt(shape.column, value, row)
    if not prompt.strip():
        return ""
    if shape.before or shape.after:
        prompt = "\n\n".join([*_texts(shape.before, row), prompt, *_texts(shape.after, row)])
    if shape.options is not None:
        options = row.get(shape.options)
        listed = options if isinstance(options, str) else option_lines(read_options(options))
        prompt += "\n" + listed if listed.strip() else ""
    return _clean(prompt)


def read_references(shape: RowShape, row: Any) -> tuple[str, ...]:
    """The references of a row that `read_prompt` takes: its labels, each once, empty ones left out."""
    if shape.column is None:
        return ()
    found: list[str] = []
    if shape.answered and (turns := as_turns(row[shape.column])) is not None:
        found.append(last_exchange(turns).answer or "")
    letters = [letter for letter, _ in read_options(row.get(shape.options))] if shape.options is not None else []
    for name in shape.labels:
        found.extend(_references(row.get(name), letters))
    return tuple(dict.fromkeys(_clean(text) for text in found if text.strip()))


def read_teacher(shape: RowShape, row: Any) -> str:
    """The model that wrote the references of a row; "" where none is named."""
    value = row.get(shape.teacher) if shape.teacher is not None else None
    return value.strip() if isinstance(value, str) else ""


def has_prompt(row: Mapping[str, Any]) -> bool:
    """Whether an object is a row by itself: one of its columns is a known prompt column with text or turns."""
    return any(_usable(row[name]) for name in _there(PROMPT_COLUMNS, [row]))


def _plain_prompt(column: str, value: Any, row: Mapping[str, Any]) -> str:
    text = "" if value == [] else _scalar(value)
    if text is None:
        raise RowError(
            f'column "{column}" holds {_words(value)}, not text',
            f"Name another column with {setting('column')}; columns there: {_listed(row)}",
        )
    if column.lower() in _CHATS and text.strip():  # taken as it is, it would carry the answers into the prompt
        raise RowError(
            f'column "{column}" holds {_words(value)}, not a list of turns',
            'Write the turns as JSON: [{"role": "user", "content": "..."}, ...]',
        )
    return text


def _found(first: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> str:
    """The prompt column: the first known name with a prompt in it, or else with nothing in it."""
    names = _there(PROMPT_COLUMNS, [first])
    for name in names:
        if any(_usable(row.get(name)) for row in tables):
            return name
    for name in names:
        if all(row.get(name) in (None, "", []) or _scalar(row.get(name)) is not None for row in tables):
            return name
    raise RowError(
        f"no column is known to hold the prompt; columns there: {_listed(first)}",
        f"Name it with {setting('column')}, or call it one of: {', '.join(PROMPT_COLUMNS)}",
    )


def _named(name: str, *rows: Mapping[str, Any]) -> str:
    for row in rows:
        if name in row:
            return name
    for row in rows:
        for key in row:
            if isinstance(key, str) and key.lower() == name.lower():
                return key
    raise RowError(f'there is no column "{name}"', f"Columns there: {_listed(rows[0])}")


def _there(names: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which of `names` the rows have, in the order of `names`, as the rows spell them."""
    spelled: dict[str, str] = {}
    for row in rows:
        for key in row:
            if isinstance(key, str):
                spelled.setdefault(key.lower(), key)
    return [spelled[name] for name in names if name in spelled]


def _text_columns(names: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Those of `names` that hold text, or nothing yet, in the rows."""
    there = _there(names, rows)
    return tuple(name for name in there if all(isinstance(row.get(name), str | None) for row in rows))


def _usable(value: Any) -> bool:
    return as_turns(value) is not None or bool((_scalar(value) or "").strip())


def _scalar(value: Any) -> str | None:
    """Text or a number as text, "" for nothing; None for what is no text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return "" if value != value else str(value)  # NaN is how some tables write "nothing"
    return None


def _texts(names: Iterable[str], row: Mapping[str, Any]) -> list[str]:
    values = (row.get(name) for name in names)
    return [value for value in values if isinstance(value, str) and value.strip()]


def _references(value: Any, letters: list[str]) -> list[str]:
    """The texts of a label: text, number, list of them, chat turns, or an object with `text`.

    With `letters` of options a number is the place of the right one, counted from 0.
    """
    if isinstance(value, int) and not isinstance(value, bool) and str(value) not in letters:
        return [letters[value]] if 0 <= value < len(letters) else [str(value)]
    if (turns := as_turns(value)) is not None:
        return assistant_texts(turns)
    if isinstance(value, list):
        return [text for item in value for text in _references(item, [])]
    if isinstance(value, dict):
        return _references(value.get("text"), [])
    text = _scalar(value)
    return [text] if text is not None else []


def _clean(text: str) -> str:
    """Half characters (lone surrogates, which JSON can write) become U+FFFD: no encoder or hash takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _listed(row: Mapping[str, Any], most: int = 20) -> str:
    names = [str(name)[:60] for name in row]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object (columns: {_listed(value)})"
    names = {str: "a string", list: "a list", bytes: "binary data", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")
