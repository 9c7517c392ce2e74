"""Names of columns, and what a single value of one says as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

_NOT_IN_KEYS = re.compile(r"[\W_]+")
_UNNAMED = re.compile(r"column [1-9]\d*")


@lru_cache(maxsize=4096)
def key_of(name: Any) -> str:
    """A name without case, blanks and signs: "Answer Key", "answer_key" and "answerKey" are one."""
    return _NOT_IN_KEYS.sub("", str(name).lower())


def present(names: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which of `names` the rows have, in the order of `names`, as the rows spell them."""
    spelled: dict[str, str] = {}
    for row in rows:
        for name in row:
            if isinstance(name, str):
                spelled.setdefault(key_of(name), name)
    return list(dict.fromkeys(spelled[key_of(name)] for name in names if key_of(name) in spelled))


def scalar(value: Any) -> str | None:
    """Text, or a number, date or truth value as text; "" for nothing; None for what is no text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return "" if value != value else format(value, "f") if isinstance(value, Decimal) else str(value)  # "" for NaN
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta | UUID):
        return str(value)
    return _decoded(value) if isinstance(value, bytes) else None


def unnamed_column(number: int) -> str:
    """What a column of a table without a header is called; `number` counts from 1."""
    return f"column {number}"


def is_unnamed(name: Any) -> bool:
    """Whether a name is one that `unnamed_column` gives, in any case."""
    return _UNNAMED.fullmatch(str(name).lower()) is not None


def unnamed_columns_told(names: Iterable[Any]) -> str:
    """Columns of a table without a header for people: "columns 1 to 3"."""
    last = max(int(str(name).split()[-1]) for name in names if is_unnamed(name))
    return f"columns 1 to {last}" if last > 1 else unnamed_column(1)


def is_number(value: Any) -> bool:
    """Whether a value, or its text, is a number."""
    try:
        return float(value) is not None
    except (TypeError, ValueError):
        return False


def listed(row: Iterable[Any], most: int = 20) -> str:
    """Names for people, not more than `most`."""
    names = [str(name)[:60] for name in row]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def _decoded(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
