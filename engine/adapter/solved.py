"""Records of adapters that were solved or trained here, beside them: from what, how, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any


class MadeFromPrompts:
    """What records of adapters that were made from prompts have in common; for dataclasses with these fields."""

    prompts_name: str

    def __post_init__(self) -> None:
        """The folders above the prompt file are nobody's business but the owner's."""
        object.__setattr__(self, "prompts_name", PurePath(self.prompts_name).name)

    def to_json(self) -> dict[str, Any]:
        """As plain data, from which the record is made again."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


@dataclass(frozen=True, kw_only=True)
class Solved(MadeFromPrompts):
    """What an adapter was solved from.

    made_from: "examples", "instruction" or "both". reason: why, in a few words.
    start: what it starts from: "base", or the name of a generator.
    instruction: what stood before every prompt and need not any more; "" without one.
    prompts_name: file name of the prompts; of a longer path only the last part is kept.
    prompts_digest: SHA-256 of the rows it was solved from, in hexadecimal.
    rows: how many these are. examples: how many of them stood in each context.
    answers: who wrote the answers: "rows", or "base" for those of the base that reads the instruction.
    fit_steps: gradient steps on the answers after solving.
    seed: of everything drawn.
    command: the command line that makes the adapter again.
    timings: seconds by stage, in the order they ran.
    verdict: what the held-out check found, in a sentence; "" when nothing was checked.
    scores: mean score by arm on the held-out rows; None when nothing was checked.
    taught_by: by the name of a model that wrote answers, how many of the rows it answered.
    """

    made_from: str
    reason: str
    start: str
    instruction: str
    prompts_name: str
    prompts_digest: str
    rows: int
    examples: int
    answers: str
    fit_steps: int
    seed: int
    command: str
    timings: Mapping[str, float]
    verdict: str = ""
    scores: Mapping[str, float] | None = None
    taught_by: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trained(MadeFromPrompts):
    """How an adapter was trained on answered rows.

    start: name of the adapter that training began with; "none" for a fresh one. start_digest: SHA-256 of its weights
    file, "" for a fresh one.
    instruction: what prompts need not begin with, as it is of the start; "" without one.
    prompts_name, prompts_digest: as in `Solved`. rows: trained on. watched: rows that said when to stop.
    steps: taken in all. best_step: after how many the adapter was as it is. ended: why training ended.
    rate: learning rate. seed, command, timings, verdict, scores, taught_by: as in `Solved`.
    """

    start: str
    start_digest: str
    instruction: str
    prompts_name: str
    prompts_digest: str
    rows: int
    watched: int
    steps: int
    best_step: int
    ended: str
    rate: float
    seed: int
    command: str
    timings: Mapping[str, float]
    verdict: str = ""
    scores: Mapping[str, float] | None = None
    taught_by: Mapping[str, int] = field(default_factory=dict)


_KINDS: Mapping[str, type] = {
    **dict.fromkeys(
        ("rows", "examples", "fit_steps", "seed", "watched", "steps", "best_step", "prompts_used", "prompts_total"), int
    ),
    "rate": float,
}


def made_from_prompts(data: Mapping[str, Any]) -> Solved | Trained | None:
    """Read what `to_json` of a record made; None for anything else."""
    for kind in (Solved, Trained):
        # Records from before there were teachers lack that field.
        if set(data) | {"taught_by"} == {each.name for each in fields(kind)}:
            return kind(**data) if all(is_of_kind(name, value) for name, value in data.items()) else None
    return None


def is_of_kind(name: str, value: object) -> bool:
    """Whether a field of a record, read from JSON, has a value of its type."""
    if name in ("timings", "scores", "taught_by"):
        figures = isinstance(value, dict) and all(isinstance(each, int | float) for each in value.values())
        return figures or (name == "scores" and value is None)
    return isinstance(value, _KINDS.get(name, str))
