"""A request -> the command line that makes the same request, for people to see and to copy.

    request --(values by name)--> options of its command that differ from their defaults --> words --> shell line

The parameters of the commands are those that `options.py` derives from the request types, so a new field
appears here by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from dnd_tui.cli import COMMANDS, NAME
from dnd_tui.options import OPTIONS, flag, parameters
from engine.requests import Request


def command_line(request: Request) -> str:
    """The command line of `request`, quoted for a POSIX shell; only what differs from the defaults."""
    return shlex.join(command_words(request))


def command_words(request: Request) -> list[str]:
    """The words of that line.

    Raises:
        ValueError: no command makes such a request.
    """
    command = next((each for each in COMMANDS if each.request_type is type(request)), None)
    if command is None:
        raise ValueError(f"no command makes a {type(request).__name__}")
    values = dict(_values(request))
    positional: list[str] = []
    options: list[str] = []
    for parameter in parameters(command.request_type, command.differing):
        # A choice that was left out has no values.
        value = values.get(parameter.name, parameter.default)
        option = command.differing.get(parameter.name) or OPTIONS[parameter.name]
        if value == parameter.default:
            continue
        if option.positional:
            positional += map(str, value if isinstance(value, tuple) else (value,))
        else:
            options += _option(flag(parameter.name, option), value)
    start = [NAME, "--headless", command.name]
    if any(word.startswith("-") for word in positional):
        return [*start, *options, "--", *positional]
    return [*start, *positional, *options]


def _values(request: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of every plain field, those of the nested choices too; the inverse of `options.build`."""
    for field in fields(request):
        value = getattr(request, field.name)
        if is_dataclass(value):
            yield from _values(value)
        else:
            yield field.name, value


def _option(name: str, value: Any) -> list[str]:
    if value is True:
        return [name]
    if isinstance(value, tuple):
        return [word for each in value for word in _option(name, each)]
    text = str(value)
    return [f"{name}={text}"] if text.startswith("-") else [name, text]
