"""The rows of JSON and JSON Lines files, in the ways that programs write them.

[{…}, {…}], {"data": [{…}]}                            a list, alone or under a name
{"prompt": {"0": …}, "response": {"0": …}}             columns, as pandas writes them
{"columns": […], "data": [[…], […]]}                   names apart from rows
[{"paragraphs": [{"context": …, "qas": [{…}]}]}]       questions below their passages
[{"role": "user", …}, …], [[{"role": …}, …], …]        chats without a name
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.prompts.chats import as_turns, is_chat
from engine.prompts.columns import BEFORE, COMMON, PROMPT_COLUMNS, has_prompt
from engine.prompts.located import Located, Rows
from engine.prompts.names import key_of, present
from engine.prompts.rows import CHATS, passage_text
from engine.prompts.streams import text_lines, whole_text

JSON_LIMIT = 128 * 2**20
"""Largest plain JSON file, in bytes unpacked: it is loaded whole, unlike all others."""

_CONTAINERS = (
    "data", "rows", "train", "examples", "instances", "prompts", "items", "questions", "records", "samples",
    "dataset", "entries", "results", "tests", "test", "validation",
)  # fmt: skip
# What belongs to every prompt may stand once, beside the list.
_ONCE = ("instruction", *BEFORE, *COMMON)
_NOT_ROWS = "Each line must hold one whole JSON value; a file that is one JSON array should be named .json"


def read_json_lines(path: Path) -> Rows:
    """Rows of a .jsonl file."""
    for number, line in text_lines(path):
        if not line.isspace():
            row = _parsed(line.rstrip("\r\n"), path, number, _NOT_ROWS)
            if type(row) is dict and "qas" not in row and "paragraphs" not in row:
                yield Located("line", number, row)
            else:
                yield from (Located("line", number, each) for each in _unfolded([row]))


def read_json(path: Path) -> Rows:
    """Rows of a .json file."""
    if is_object_lines(path):
        yield from read_json_lines(path)
        return
    text = whole_text(
        path, JSON_LIMIT, "Write it as JSON Lines (.jsonl), which is streamed: jq -c '.[]' in > out.jsonl"
    )
    if not text.strip():
        return
    data = _parsed(text, path, 1, "Mend the file, or write it again")
    if isinstance(data, dict):
        held = _held_rows(data)
        data = held if held is not None else [data]
    if not isinstance(data, list):
        raise EngineError(
            "holds neither a list of prompts nor an object", where=str(path), hint="Write a JSON array of objects"
        )
    if is_chat(data):
        data = [data]
    for number, row in enumerate(_unfolded(data), 1):
        yield Located("item", number, row)


def is_object_lines(path: Path) -> bool:
    """Whether the first line is a whole object and not the holder of all rows: JSON Lines under another name."""
    with closing(text_lines(path)) as lines:
        try:
            first = next((line for _, line in lines if not line.isspace()), "")
            data = json.loads(first) if first.lstrip().startswith("{") else None
        except (EngineError, ValueError, RecursionError):
            return False  # the reading of the whole file tells what is wrong
    return isinstance(data, dict) and _held_rows(data) is None


def is_rows(path: Path) -> bool:
    """Whether a text file is one JSON value that holds rows, under another name."""
    with closing(text_lines(path)) as lines:
        first = next((line.strip() for _, line in lines if not line.isspace()), "")
    if not first.startswith(("[", "{")):
        return False
    try:
        data = json.loads(whole_text(path, JSON_LIMIT, ""))
    except (EngineError, ValueError, RecursionError):
        return False
    if isinstance(data, dict):
        return has_prompt(data) or _held_rows(data) is not None
    return isinstance(data, list) and bool(data) and all(isinstance(row, dict) for row in data)


def names_beside_rows(path: Path) -> list[str]:
    """Of a .json file that holds its rows under a name: what else has something in it, and is not read."""
    if is_object_lines(path):
        return []
    data = json.loads(whole_text(path, JSON_LIMIT, ""))
    rows = _list_inside(data) if isinstance(data, dict) and _held_rows(data) is not None else None
    return list(_names_beside(data, rows)) if rows is not None else []


def _names_beside(data: dict[str, Any], rows: list[Any], above: str = "") -> Iterator[str]:
    read = {"columns", *present(_ONCE, [data])}
    for name, value in data.items():
        if isinstance(value, dict) and any(each is rows for each in value.values()):
            yield from _names_beside(value, rows, f"{above}{name}.")
        elif value and value is not rows and name not in read:
            yield above + name


def _parsed(text: str, path: Path, line: int, hint: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise EngineError(f"broken JSON: {error.msg} (column {error.colno})", where=where, hint=hint) from error
    except (ValueError, RecursionError) as error:  # a number of too many digits; brackets nested too deep
        raise EngineError(f"JSON that cannot be read: {error}", where=f"{path}, line {line}", hint=hint) from error


def _held_rows(data: dict[str, Any]) -> list[Any] | None:
    """The rows that an object holds under a name or as columns; None when the object is a row itself."""
    held = _list_inside(data)
    if has_prompt(data) and not (held and isinstance(held[0], dict) and _is_row(held[0])):
        return None
    names = data.get("columns")
    if held and isinstance(names, list) and all(isinstance(row, list) for row in held):
        return [dict(zip(map(str, names), row, strict=False)) for row in held]
    if held is not None:
        common = {name: data[name] for name in present(_ONCE, [data]) if passage_text(data[name])}
        return [common | row if isinstance(row, dict) else row for row in held] if common else held
    return _columns(data)


def _list_inside(data: dict[str, Any], deep: bool = True) -> list[Any] | None:
    """The list under a known name, or the only list of rows under any name; in an object of such a name too."""
    values = {key_of(name): value for name, value in data.items()}
    known = [values[name] for name in _CONTAINERS if name in values]
    for value in known:
        if isinstance(value, list):
            return value
    rows = [
        value for name, value in data.items()
        if isinstance(value, list) and value and isinstance(value[0], dict) and _is_row(value[0])
        and as_turns(value) is None
    ]  # fmt: skip
    if len(rows) == 1:
        return rows[0]
    inside = known if len(data) > 1 else list(data.values())
    inner = [found for value in inside if deep and isinstance(value, dict) and (found := _list_inside(value, False))]
    return inner[0] if inner else None


def _is_row(value: dict[str, Any]) -> bool:
    return has_prompt(value) or "paragraphs" in value or "qas" in value


def _columns(data: dict[str, Any]) -> list[Any] | None:
    """The rows of columns: lists of one length, or objects with the same keys; None where there are no columns."""
    if not data:
        return None
    lists = [value for value in data.values() if isinstance(value, list)]
    objects = [value for value in data.values() if isinstance(value, dict)]
    known = [name for name in present(PROMPT_COLUMNS, [data]) if key_of(name) not in CHATS]
    if len(lists) == len(data) and len({len(value) for value in lists}) == 1 and (known or len(data) > 1):
        return [dict(zip(data, row, strict=True)) for row in zip(*lists, strict=True)]
    if len(objects) != len(data):
        return None
    if all(map(has_prompt, objects)):  # rows by their index
        return objects
    numbered = all(str(key).isdecimal() for key in objects[0])
    if (known or numbered) and objects[0] and all(value.keys() == objects[0].keys() for value in objects):
        return [{name: data[name][key] for name in data} for key in objects[0]]
    return None


def _has_questions(paragraphs: Any) -> bool:
    return isinstance(paragraphs, list) and any(isinstance(each, dict) and "qas" in each for each in paragraphs)


def _unfolded(rows: Iterable[Any]) -> Iterator[Any]:
    """Rows with the questions below passages each a row of its own, and chats without a name under one."""
    for row in rows:
        if isinstance(row, list) and is_chat(row):
            yield {"messages": row}
        elif isinstance(row, dict) and _has_questions(row.get("paragraphs")):
            yield from _unfolded(row["paragraphs"])
        elif isinstance(row, dict) and isinstance(row.get("qas"), list):
            about = {name: value for name, value in row.items() if name != "qas"}
            yield from ({**about, **each} if isinstance(each, dict) else each for each in row["qas"])
        else:
            yield row
