"""A request -> the command line that makes the same request: for cards, logs, the app.

    request --(values by name)--> options of its command that differ from their defaults --> words --> shell line

How a command and its options are called stands in `engine.jobs.declared`; `dnd_tui.options` reads it there too.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from engine.jobs.declared import JOBS
from engine.requests import ModelChoice

NAME, LAB = "dnd-tui", "lab"


def command_line(request: Any) -> str:
    """The command line of `request`, quoted for a POSIX shell; only what differs from the defaults."""
    return shlex.join(command_words(request))


def card_line(request: Any, *named: str, **others: Any) -> str:
    """The command line for the card of what a request made: on whatever device there is, replacing nothing.

    Args:
        named: fields with a file or folder that is written by its name only; where it lies is its owner's business.
        others: fields that are written with other values.
    """
    short = {name: Path(getattr(request, name).absolute().name) for name in named}
    models = replace(request.models, device=ModelChoice.device)
    return command_line(replace(request, **{"models": models, "replace": False, **short, **others}))


def command_words(request: Any) -> list[str]:
    """The words of that line.

    Raises:
        ValueError: no command makes such a request.
    """
    job = JOBS.get(type(request))
    if job is None or not job.command:
        raise ValueError(f"no command makes a {type(request).__name__}")
    values = dict(_values(request))
    positional: list[str] = []
    options: list[str] = []
    for name, _, default in leaves(type(request)):
        # A choice that was left out has no values.
        value = values.get(name, default)
        if value == default:
            continue
        if name in job.positional:
            positional += map(str, value if isinstance(value, tuple) else (value,))
        else:
            options += _option(job.flag(name), value)
    start = [NAME, *([LAB] if job.lab else []), job.command, *([f"--{job.switch}"] if job.switch else [])]
    if any(word.startswith("-") for word in positional):
        return [*start, *options, "--", *positional]
    return [*start, *positional, *options]


def leaves(request_type: type[Any]) -> list[tuple[str, Any, Any]]:
    """(name, type, default) of every plain field that is typed: the request's own first, the choice of models last."""
    hints = get_type_hints(request_type)
    inner = JOBS[request_type].inner if request_type in JOBS else ()
    own: list[tuple[str, Any, Any]] = [
        (each.name, hints[each.name], each.default) for each in fields(request_type) if each.name not in inner
    ]
    plain = [leaf for leaf in own if choice_in(leaf[1]) is None]
    nested: list[tuple[str, Any, Any]] = []
    for _, kind, default in reversed(own):
        if choice := choice_in(kind):
            # What a choice requires may be left out where the choice may be.
            nested += [(name, of, default if needed is MISSING else needed) for name, of, needed in leaves(choice)]
    return plain + nested


def choice_in(kind: Any) -> type[Any] | None:
    """The dataclass nested in a request as a field of type `kind`, which may also allow None; None for plain types."""
    return next((each for each in (kind, *get_args(kind)) if is_dataclass(each)), None)  # type: ignore[return-value]


def _values(request: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of every plain field, those of the nested choices too."""
    for each in fields(request):
        value = getattr(request, each.name)
        if is_dataclass(value):
            yield from _values(value)
        else:
            yield each.name, value


def _option(name: str, value: Any) -> list[str]:
    if value is True:
        return [name]
    if isinstance(value, tuple):
        return [word for each in value for word in _option(name, each)]
    text = str(value)
    return [f"{name}={text}"] if text.startswith("-") else [name, text]
