"""A request -> the command line that makes the same request: for cards, logs, the app.

    request --(values by name)--> options of its command that differ from their defaults --> words --> shell line

How a command and its options are called stands here once; the command line itself (`dnd_tui.options`) reads it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from engine.requests.adapters import (
    CombineRequest,
    CompareRequest,
    ExportRequest,
    GenerateRequest,
    ImportRequest,
    InfoRequest,
    ModelsRequest,
    RefineRequest,
    SheetRequest,
    TeachRequest,
)
from engine.requests.choices import ModelChoice
from engine.requests.depth import (
    ChainChoiceRequest,
    ChainExportRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
)
from engine.requests.forge import (
    CollectRequest,
    EvaluateRequest,
    LeaveOneOutRequest,
    PlanRequest,
    TrainingTimeRequest,
    TrainRequest,
)

NAME = "dnd-tui"

# Of options that are not called like their fields, in every command.
_FLAGS = {
    "made_from": "from",
    "answered": "rows",
    "modules": "module",
    "adapters": "adapter",
    "numbers": "row",
    "texts": "text",
    "arms": "arm",
    "only": "task",
    "tables": "table",
    "weights": "weight",
    "names": "name",
}


@dataclass(frozen=True)
class Spelling:
    """How a request is written.

    command: its name. positional: fields that are given without a name.
    flags: names of options, without dashes, that differ from the field's in this command.
    """

    command: str
    positional: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)

    def flag(self, name: str) -> str:
        """`--max-new-tokens` for the field `max_new_tokens`."""
        return f"--{self.flags.get(name) or _FLAGS.get(name) or name.replace('_', '-')}"


SPELLINGS: Mapping[type, Spelling] = {
    GenerateRequest: Spelling("generate", ("source",)),
    RefineRequest: Spelling("refine", ("adapter", "source")),
    SheetRequest: Spelling("answer-sheet", ("source",)),
    TeachRequest: Spelling("teach", ("source",), {"count": "rows"}),
    CompareRequest: Spelling("compare", ("source",)),
    EvaluateRequest: Spelling("evaluate"),
    LeaveOneOutRequest: Spelling("leave-one-out"),
    ExportRequest: Spelling("export", ("adapter",)),
    CombineRequest: Spelling("combine", ("adapters",)),
    ImportRequest: Spelling("import", ("source",)),
    CollectRequest: Spelling("collect"),
    TrainRequest: Spelling("train"),
    PlanRequest: Spelling("plan", ("kind",)),
    TrainingTimeRequest: Spelling("measure", ("source",)),
    DepthRequest: Spelling("depth", ("source",)),
    DepthTableRequest: Spelling("depth-table"),
    DepthOracleRequest: Spelling("depth-oracle", ("source",)),
    ChainChoiceRequest: Spelling("choose-chain", ("search", "source")),
    ChainExportRequest: Spelling("export-chain", ("chain",)),
    ModelsRequest: Spelling("models"),
    InfoRequest: Spelling("info", ("target",)),
}
"""Of every request that a command makes."""


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
    spelling = SPELLINGS.get(type(request))
    if spelling is None:
        raise ValueError(f"no command makes a {type(request).__name__}")
    values = dict(_values(request))
    positional: list[str] = []
    options: list[str] = []
    for name, _, default in leaves(type(request)):
        # A choice that was left out has no values.
        value = values.get(name, default)
        if value == default:
            continue
        if name in spelling.positional:
            positional += map(str, value if isinstance(value, tuple) else (value,))
        else:
            options += _option(spelling.flag(name), value)
    start = [NAME, "--headless", spelling.command]
    if any(word.startswith("-") for word in positional):
        return [*start, *options, "--", *positional]
    return [*start, *positional, *options]


def leaves(request_type: type[Any]) -> list[tuple[str, Any, Any]]:
    """(name, type, default) of every plain field: the request's own first, the choice of models last."""
    hints = get_type_hints(request_type)
    own: list[tuple[str, Any, Any]] = [(each.name, hints[each.name], each.default) for each in fields(request_type)]
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
