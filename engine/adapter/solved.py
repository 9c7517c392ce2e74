"""The record of a solved adapter, beside it: from which context, how, and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any


class MadeFromPrompts:
    """What records of adapters that were made from prompts have in common; for dataclasses with these fields."""

    prompts_name: str
    timings: Mapping[str, float]
    scores: Mapping[str, float] | None

    def __post_init__(self) -> None:
        """The folders above the prompt file are nobody's business but the owner's."""
        object.__setattr__(self, "prompts_name", PurePath(self.prompts_name).name)

    def to_json(self) -> dict[str, Any]:
        """As plain data, from which the record is made again."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        scores = None if self.scores is None else dict(self.scores)
        return plain | {"timings": dict(self.timings), "scores": scores}


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


def solved_from(data: Mapping[str, Any]) -> Solved | None:
    """Read what `to_json` made; None for anything else."""
    if set(data) != {field.name for field in fields(Solved)}:
        return None
    for name, value in data.items():
        if name in ("timings", "scores"):
            figures = isinstance(value, dict) and all(isinstance(each, int | float) for each in value.values())
            if not (figures or (name == "scores" and value is None)):
                return None
        elif not isinstance(value, int if name in ("rows", "examples", "fit_steps", "seed") else str):
            return None
    return Solved(**data)
