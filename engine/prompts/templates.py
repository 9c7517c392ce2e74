"""A template such as "Classify: {ticket}\\nTopic:": what a prompt is made of where a file holds only its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from engine.prompts.names import key_of, listed


@dataclass(frozen=True)
class Template:
    """Texts and columns in turn.

    text: as it was given.
    parts: (text, the column that comes after it; None at the end).
    """

    text: str
    parts: tuple[tuple[str, str | None], ...]

    def __str__(self) -> str:
        return self.text.replace("\n", "\\n")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it takes, each once."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name is not None))

    def filled(self, value: Callable[[str], str]) -> str:
        """The text with each column's value in its place; "" where all of them are blank."""
        values = {name: value(name) for name in self.columns}
        if not any(text.strip() for text in values.values()):
            return ""
        return "".join(text + (values[name] if name is not None else "") for text, name in self.parts)

    def spelled(self, row: Mapping[str, Any]) -> Template:
        """The same with columns as `row` spells them. Raises ValueError: it has no such column."""
        there = {key_of(name): name for name in row}
        for name in self.columns:
            if name not in row and key_of(name) not in there:
                raise ValueError(f'the template takes "{name}", and there is no such column; there: {listed(row)}')
        parts = ((text, name if name is None or name in row else there[key_of(name)]) for text, name in self.parts)
        return Template(self.text, tuple(parts))


def parse_template(text: str) -> Template:
    r"""The template of a text with column names in braces; {{ and }} are braces, \n and \t as in Python.

    Raises:
        ValueError: a brace that is not closed, or no column in it.
    """
    text = text.replace("\\n", "\n").replace("\\t", "\t")
    try:
        parts = tuple((words, name) for words, name, _, _ in Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"the template cannot be read: {error}") from error
    if any(name is not None and not name.strip() for _, name in parts):
        raise ValueError("the template has empty braces")
    if all(name is None for _, name in parts):
        raise ValueError("the template takes no column")
    return Template(text, tuple((words, name.strip() if name else None) for words, name in parts))
