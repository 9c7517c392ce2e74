"""Records (dataclasses) <-> plain data for JSON, every type checked on the way back.

A field holds str, int, float, bool, Path, a Literal, one of those or None, a tuple or mapping of them, or
another record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

R = TypeVar("R")


class DamagedError(ValueError):
    """Stored data is not what it should be; the text says why."""


def to_plain(value: Any) -> Any:
    """`value` as JSON holds it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[R], data: Any, **given: Any) -> R:
    """The record that `to_plain` made `data` of.

    Args:
        given: fields that are known otherwise and are not in `data`.

    Raises:
        DamagedError: a field is missing, unknown, or of another type.
    """
    if not isinstance(data, dict):
        raise DamagedError(f"is no {kind.__name__}")
    hints = get_type_hints(kind)
    every = fields(kind)  # type: ignore[arg-type]
    needed = {field.name for field in every if field.default is MISSING and field.default_factory is MISSING}
    for name in sorted(set(data) - (set(hints) - set(given))):
        raise DamagedError(f"{name} is not known")
    for name in sorted(needed - set(data) - set(given)):
        raise DamagedError(f"{name} is missing")
    return kind(**given, **{name: _checked(hints[name], value, name) for name, value in data.items()})


def write_line(version: int, data: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON of stored data, with the version of its format.

    In ASCII: file names may hold bytes that are no text, and only escaped do they survive.
    """
    return json.dumps({"version": version, **data}, indent=indent)


def read_line(version: int, text: bytes) -> dict[str, Any]:
    """The data of `write_line`, without the version.

    Raises:
        DamagedError: broken, or written by a newer program.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"is broken JSON: {error}") from None
    found = data.pop("version", None) if isinstance(data, dict) else None
    if not isinstance(found, int):
        raise DamagedError("has no version")
    if found != version:
        raise DamagedError(f"is of version {found}, written by another dnd-tui; this one knows {version}")
    return data


def _checked(kind: Any, value: Any, name: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _checked(inner[0], value, name)
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_checked(each, part, name) for each, part in zip(kinds, value, strict=True))
    elif origin is Mapping and isinstance(value, dict):
        return {key: _checked(inner[1], part, name) for key, part in value.items()}
    elif is_dataclass(kind):
        return from_plain(kind, value)  # type: ignore[arg-type]
    elif kind is Path and isinstance(value, str):
        return Path(value)
    # Other programs write a whole float without a point.
    elif kind is float and type(value) is int and abs(value) <= 2**53:
        return float(value)
    elif type(value) is kind or (origin is Literal and value in inner):
        return value
    raise DamagedError(f"{name} is of the wrong type")
