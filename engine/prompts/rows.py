"""One row of data -> its prompt and, kept apart, its references. Pure: no files here.

fa few rows --columns.find_shape--> RowShape   which column is the prompt, which are labels
RowShape, row --read_prompt--> prompt
    RowShape, row --read_references--> labels  a second function, so that no label can get into a prompt
    RowShape, row --read_images--> images      as they are named
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import setting
from engine.prompts.chats import USER, Turns, answers_to, as_turns, known_role, last_exchange, turns_without_roles
from engine.prompts.images import PLACE, row_images
from engine.prompts.literals import held_value
from engine.prompts.marked import marked_role, marked_turns, without_ends
from engine.prompts.names import key_of, listed, scalar
from engine.prompts.options import best_scored, marked_right, option_lines, read_options
from engine.prompts.shape import RowError, RowShape

CHATS = ("messages", "conversations", "conversation", "contents", "chat", "dialog")
"""Columns of chats, by name."""

_ANSWER_KEYS = ("text", "value", "answer", "ground_truth", "expected_response", "spans", "aliases")
_PASSAGE_KEYS = (
    "text", "paragraph_text", "passage_text", "page_content", "content", "contexts", "sentences", "passages", "parts",
)  # fmt: skip


def read_prompt(shape: RowShape, row: Any) -> str:
    """The prompt of a row, "" when it has none. Labels are not looked at.

    Raises:
        RowError: the row is not of this shape.
    """
    if shape.column is None:
        return _text_prompt(shape, row)
    if not isinstance(row, dict):
        raise RowError(f"{words_of(row)} among rows with columns", f'Make it an object with "{shape.column}"')
    if shape.inside is not None:
        row = opened(row, shape.inside)
    if shape.template is not None:
        return _clean(shape.template.filled(lambda name: _template_value(name, row)))
    if shape.column not in row:
        raise RowError(
            f'the row has no column "{shape.column}"; its columns: {listed(row)}',
            f'Give every row "{shape.column}", or name a column that all rows have with {setting("column")}',
        )
    if shape.role is not None and known_role(row.get(shape.role)) != USER:
        return ""
    value = row[shape.column]
    turns = _turns(shape, value)
    prompt = last_exchange(turns).prompt if turns is not None else _plain_prompt(shape.column, value, row)
    if PLACE in prompt and row_images(shape.images, row, turns):
        prompt = "\n".join(part.strip() for part in prompt.split(PLACE) if part.strip())
    if not prompt.strip():
        return ""
    if shape.before or shape.after:
        # A chat may say its system text itself
        before = [text for text in _texts(shape.before, row) if turns is None or not prompt.startswith(text)]
        prompt = "\n\n".join([*before, prompt, *_texts(shape.after, row)])
    if shape.options is not None and (lines := shape.options.lines(row)).strip():
        prompt += "\n" + lines
    return _clean(prompt)


def read_references(shape: RowShape, row: Any) -> tuple[str, ...]:
    """The references of a row that `read_prompt` takes: its labels, each once, empty ones left out."""
    if shape.column is None:
        turns = marked_turns(row) if shape.marked else None
        answer = last_exchange(turns).answer if turns is not None else None
        return (_clean(answer),) if answer else ()
    if shape.inside is not None:
        row = opened(row, shape.inside)
    if shape.verdict is not None and (scalar(row.get(shape.verdict)) or "").lower() == "false":
        return ()
    found: list[str] = []
    value = row.get(shape.column)
    if shape.answered and (turns := _turns(shape, value)) is not None:
        found.append(last_exchange(turns).answer or "")
    shown = shape.options.read(row) if shape.options is not None else []
    for name in shape.labels:
        label = row.get(name)
        if shape.options is not None and shape.options.scores and name in shape.options.columns:
            found.extend(best_scored(label))
            continue
        texts = references_of(label, prompt=value, listed=name in shape.listed)
        if shape.marked:
            texts = [without_ends(text).strip() for text in texts]
        if shown and shape.options is not None:
            texts = [shape.options.meant(text, _only(label), shown) for text in texts]
        found.extend(texts)
    return tuple(dict.fromkeys(_clean(text) for text in found if text.strip()))


def read_images(shape: RowShape, row: Any) -> list[str]:
    """The images that a row names, files and addresses, as they are written."""
    if shape.column is None or not isinstance(row, dict):
        return []
    if shape.inside is not None:
        row = opened(row, shape.inside)
    return row_images(shape.images, row, as_turns(row.get(shape.column)) if shape.turns else None)


def read_teacher(shape: RowShape, row: Any) -> str:
    """The model that wrote the references of a row; "" where none is named."""
    value = row.get(shape.teacher) if shape.teacher is not None else None
    return value.strip() if isinstance(value, str) else ""


def references_of(value: Any, *, prompt: Any = None, listed: bool = False) -> list[str]:
    """The texts of a label that are not blank: text, number, list of them, chat turns, or an object with `text`.

    Args:
        prompt: what was asked, to find the answer to it among turns.
        listed: a text may write a list.
    """
    if isinstance(value, str):
        if value.lstrip().startswith("[{") and (turns := as_turns(value)) is not None:
            return references_of(turns, prompt=prompt)
        if (listed or value.startswith("{'text':")) and (held := held_value(value)) is not None:
            return references_of(held, prompt=prompt)
        return [value] if value.strip() else []
    if (turns := as_turns(value)) is not None:
        return [text for text in answers_to(turns, prompt) if text.strip()]
    if isinstance(value, list):
        return [text for item in value for text in references_of(item)]
    if isinstance(value, dict):
        return [text for name in _ANSWER_KEYS for text in references_of(value.get(name))] or marked_right(value)
    text = scalar(value) or ""
    return [text] if text.strip() else []


def passage_text(value: Any) -> str | None:
    """The text of a passage, or of a list of them, a blank line between; None for anything else.

    A passage is text, or an object that holds it under a usual name, with its title or without; or an object of lists,
    as columnar files write a list of objects.
    """
    if isinstance(value, str):
        held = held_value(value) if value.lstrip().startswith("[") else None
        text = passage_text(held) if held else None
        return value if text is None else text
    if isinstance(value, list):
        texts = [passage_text(each) for each in value]
        return None if None in texts else "\n\n".join(text for text in texts if text)
    if isinstance(value, dict):
        return _object_text(value)
    return "" if value is None else None


def opened(row: Mapping[str, Any], inside: str) -> dict[str, Any]:
    """A row with the columns of the object that it holds."""
    held = row.get(inside)
    outer = {name: value for name, value in row.items() if name != inside}
    return outer | held if isinstance(held, dict) else outer


def turns_of(column: str, value: Any) -> Turns | None:
    """The turns that a column holds; None for anything else."""
    turns = as_turns(value)
    return turns_without_roles(value) if turns is None and key_of(column) in CHATS else turns


def no_text(column: str, value: Any, columns: Iterable[Any]) -> RowError:
    """The error for a prompt column whose value is no text."""
    inside = (
        next((name for name, held in value.items() if isinstance(held, str)), None) if isinstance(value, dict) else ""
    )
    example = f', as in "{column}.{inside}"' if inside else ""
    return RowError(
        f'column "{column}" holds {words_of(value)}, not text',
        f"Name another column with {setting('column')}{example}; columns there: {listed(columns)}",
    )


def words_of(value: Any) -> str:
    """What a value is, for people."""
    if isinstance(value, dict):
        return f"an object (columns: {listed(value)})"
    names = {str: "a string", list: "a list", bytes: "binary data", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def _text_prompt(shape: RowShape, row: Any) -> str:
    if not isinstance(row, str):
        raise RowError(f"{words_of(row)} among rows of plain text", "Make all rows strings, or all objects")
    text = row
    if shape.marked and (turns := marked_turns(row)) is not None:
        text = last_exchange(turns).prompt
    elif shape.role is not None:
        role, said = marked_role(row)
        text = said if role == USER else ""
    if shape.template is not None:
        return _clean(shape.template.filled(lambda _: text))
    return _clean(text) if text.strip() else ""


def _turns(shape: RowShape, value: Any) -> Turns | None:
    assert shape.column is not None
    if isinstance(value, str) and not shape.turns:
        return marked_turns(value, sure=not shape.answered) if shape.marked else None
    return turns_of(shape.column, value)


def _plain_prompt(column: str, value: Any, row: Mapping[str, Any]) -> str:
    text = "" if value == [] else scalar(value)
    if text is None:
        raise no_text(column, value, row)
    if key_of(column) in CHATS and text.strip():  # taken as it is, it would carry the answers into the prompt
        raise RowError(
            f'column "{column}" holds {words_of(value)}, not a list of turns',
            'Write the turns as JSON: [{"role": "user", "content": "..."}, ...]',
        )
    return text


def _template_value(name: str, row: Mapping[str, Any]) -> str:
    value = row.get(name)
    turns = as_turns(value)
    text = last_exchange(turns).prompt if turns is not None else "" if value in ([], {}) else scalar(value)
    nested = isinstance(value, dict) and any(isinstance(each, dict) for each in value.values())
    if text is None and not nested and (options := read_options(value)):
        text = option_lines(options)
    if text is None:
        raise RowError(f'column "{name}" holds {words_of(value)}, not text', "Take another column in the template")
    return text


def _object_text(value: Mapping[str, Any]) -> str | None:
    if not value:
        return ""
    name = next((name for name in _PASSAGE_KEYS if name in value), None)
    texts, titles = value.get(name or ""), value.get("title")
    if name is None:
        return None
    if not isinstance(texts, list) or not isinstance(titles, list):
        texts, titles = [texts], [titles]
    if len(texts) != len(titles):
        return None
    found: list[str] = []
    for title, each in zip(titles, texts, strict=True):
        if (text := _sentences(each)) is None:
            return None
        if text:
            found.append(f"{title}\n{text}" if isinstance(title, str) and title.strip() else text)
    return "\n\n".join(found)


def _sentences(value: Any) -> str | None:
    """A passage; sentences of one that stand in a list become lines of it."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return "\n".join(each.strip() for each in value)
    return passage_text(value)


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _texts(names: Iterable[str], row: Mapping[str, Any]) -> list[str]:
    values = (passage_text(row.get(name)) for name in names)
    return [value for value in values if value and value.strip()]


def _clean(text: str) -> str:
    """Half characters (lone surrogates, which JSON can write) become U+FFFD: no encoder or hash takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
