"""Images of a row: the columns and the parts of chat turns that name a file or an address. Pure: nothing is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.prompts.chats import asked_parts
from engine.prompts.names import present

_COLUMNS = (
    "image",
    "images",
    "image_path",
    "image_paths",
    "image_url",
    "image_urls",
    "image_file",
    "img",
    "img_path",
    "picture",
)
_KEYS = ("path", "url", "image_url", "image", "file_name")
_ADDRESSES = ("http://", "https://", "data:image/")
PLACE = "<image>"
"""Where an image stands in the text of some chats."""


def image_columns(tables: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns of rows that name images."""
    return tuple(name for name in present(_COLUMNS, tables) if any(list(_named(row.get(name))) for row in tables))


def row_images(columns: Sequence[str], row: Mapping[str, Any], turns: Sequence[Mapping[str, Any]] | None) -> list[str]:
    """The images of a row as they are written: of its columns, then of what its chat asks last."""
    found = [name for column in columns for name in _named(row.get(column))]
    parts = asked_parts(turns) if turns else []
    found += [name for part in parts if str(part.get("type", "")).startswith("image") for name in _named(part)]
    return list(dict.fromkeys(found))


def placed(name: str, beside: Path) -> str:
    """An address as it is; the path of a file, which is named from the folder `beside` on where it is not absolute."""
    if name.lower().startswith(_ADDRESSES):
        return name
    return str(beside / Path(name.removeprefix("file://")).expanduser())


def _named(value: Any) -> Iterator[str]:
    """The names in a value: a text, a list of them, an object with a path or an address."""
    if isinstance(value, str) and value.strip():
        yield value.strip()
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, Mapping):
        for key in _KEYS:
            if value.get(key):
                yield from _named(value[key])
                return
