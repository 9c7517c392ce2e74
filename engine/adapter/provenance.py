"""Where an adapter comes from: the record in `provenance.json` beside it, of one kind for each way to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin, get_type_hints

from engine.errors import EngineError
from engine.files import read_json

PROVENANCE_FILE = "provenance.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all records have in common.

    command: the command line that makes the adapter again.
    timings: seconds by stage, in the order they ran.
    """

    command: str
    timings: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain data; `read_provenance` makes the record again."""
        plain = _plain(self)
        last = {name: plain.pop(name) for name in ("command", "timings")}
        return plain | last


@dataclass(frozen=True, kw_only=True)
class MadeFromPrompts(Record):
    """What records of adapters that were made from prompts have in common.

    prompts_name: file name of the prompts; of a longer path only the last part is kept.
    prompts_digest: SHA-256 of the rows or prompts it was made from, in hexadecimal.
    seed: of everything drawn.
    scores: mean score by arm, or another figure by name; None when nothing was measured.
    template: what the prompts were made of, as in `PromptChoice`; "" where they were read from a column.
    identity: SHA-256 of all that the adapter depends on, by which one that is finished is known; "" where nobody asks.
    """

    prompts_name: str
    prompts_digest: str
    seed: int
    template: str = ""
    identity: str = ""
    scores: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """The folders above the prompt file are nobody's business but the owner's."""
        object.__setattr__(self, "prompts_name", PurePath(self.prompts_name).name)


@dataclass(frozen=True, kw_only=True)
class Provenance(MadeFromPrompts):
    """By which generator an adapter was made.

    generator_id: name of the generator artifact. generator_digest: SHA-256 of it, in hexadecimal.
    prompts_used: how many prompts were sampled. prompts_total: how many the source holds.
    """

    generator_id: str
    generator_digest: str
    prompts_used: int
    prompts_total: int


@dataclass(frozen=True, kw_only=True)
class MadeFromAnswers(MadeFromPrompts):
    """What records of solved and of trained adapters have in common.

    start: what it starts from: "base", "none" for a fresh LoRA, or the name of a generator or an adapter.
    instruction: what prompts need not begin with; "" without one.
    rows: how many it was solved from or trained on.
    verdict: what the held-out check found, in a sentence; "" when nothing was checked.
    taught_by: by the name of a model that wrote answers, how many of the rows it answered.
    """

    start: str
    instruction: str
    rows: int
    verdict: str = ""
    taught_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Solved(MadeFromAnswers):
    """What an adapter was solved from.

    made_from: "examples", "instruction" or "both". reason: why, in a few words.
    examples: how many of the rows stood in each context.
    answers: who wrote the answers: "rows", or "base" for those of the base that reads the instruction.
    fit_steps: gradient steps on the answers after solving.
    """

    made_from: str
    reason: str
    examples: int
    answers: str
    fit_steps: int


@dataclass(frozen=True, kw_only=True)
class Trained(MadeFromAnswers):
    """How an adapter was trained on answered rows.

    start_digest: SHA-256 of the weights file of its start, "" for a fresh one.
    watched: rows that decided when to stop.
    steps: taken in all. best_step: after how many the adapter was as it is. ended: why training ended.
    rate: learning rate.
    """

    start_digest: str
    watched: int
    steps: int
    best_step: int
    ended: str
    rate: float


@dataclass(frozen=True, kw_only=True)
class CombinedPart:
    """One adapter of a sum.

    name: of its folder. digest: SHA-256 of its weights file, in hexadecimal. weight: its factor in the sum.
    """

    name: str
    digest: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Combination(Record):
    """What was added up, and what of it is left.

    parts: the adapters.
    kept_energy: share of the squared norm of the sum that the smaller rank keeps, of "all" and by kind of module;
        None for an exact sum.
    """

    parts: tuple[CombinedPart, ...]
    kept_energy: Mapping[str, float] | None


@dataclass(frozen=True, kw_only=True)
class Imported(Record):
    """Where an adapter was imported from.

    source: name of its folder or file. digest: SHA-256 of its weights file, in hexadecimal.
    format: name of its format, of `FORMATS`.
    changes: what was folded or converted, in sentences; empty where every number is as it was.
    """

    source: str
    digest: str
    format: Literal["peft", "gguf"]
    changes: tuple[str, ...]


Origin = Provenance | Solved | Trained | Combination | Imported
"""Of a generated adapter, a solved one, a trained one, of a sum of adapters, of an adapter of another tool."""

# Records from before there were teachers, templates and identities lack them.
_LATER_FIELDS = {"taught_by", "template", "identity"}


def read_provenance(folder: Path) -> Origin | None:
    """The record in an adapter folder; None if there is none.

    Raises:
        EngineError: the file is broken, or holds other fields, or a value of another type.
    """
    file = folder / PROVENANCE_FILE
    if not file.is_file():
        return None
    data = read_json(file)
    for kind in get_args(Origin):
        if _has_fields(data, kind):
            try:
                return _made(data, kind)
            except TypeError as error:
                raise EngineError(f"{error} is of the wrong type", where=str(file)) from None
    hint = f"It may be of a newer version of this program; remove {PROVENANCE_FILE} to go on without it"
    raise EngineError("does not hold the fields of a provenance", where=str(file), hint=hint)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _has_fields(data: Any, kind: Any) -> bool:
    names = {each.name for each in fields(kind)} if is_dataclass(kind) else set()
    return isinstance(data, dict) and bool(names) and names - _LATER_FIELDS <= set(data) <= names


def _made(data: Any, kind: Any, name: str = "") -> Any:
    """What `_plain` made plain. Raises TypeError, with the field's name, for a value of another type than `kind`."""
    origin, inner = get_origin(kind), get_args(kind)
    if _has_fields(data, kind):
        hints = get_type_hints(kind)
        return kind(**{each: _made(value, hints[each], each) for each, value in data.items()})
    if type(None) in inner:
        return None if data is None else _made(data, inner[0], name)
    if origin is tuple and isinstance(data, list):
        return tuple(_made(each, inner[0], name) for each in data)
    if origin is Literal:
        fits = data in inner
    elif origin is Mapping:
        fits = isinstance(data, dict) and all(isinstance(each, int | float) for each in data.values())
    else:
        fits = isinstance(kind, type) and isinstance(data, (int, float) if kind is float else kind)
    if not fits:
        raise TypeError(name)
    return data
