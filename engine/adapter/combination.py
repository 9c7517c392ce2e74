"""What a combined adapter is made of: the weights asked for, and the record of it beside the adapter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from engine.errors import EngineError


@dataclass(frozen=True, kw_only=True)
class CombinedPart:
    """One adapter of a sum.

    name: of its folder. digest: SHA-256 of its weights file, in hexadecimal. weight: its factor in the sum.
    """

    name: str
    digest: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What was added up, and what of it is left.

    parts: the adapters.
    kept_energy: share of the squared norm of the sum that the smaller rank keeps, of "all" and by kind of module;
        None for an exact sum.
    command: the command line that makes the adapter again.
    timings: seconds by stage, in the order they ran.
    """

    parts: tuple[CombinedPart, ...]
    kept_energy: Mapping[str, float] | None
    command: str
    timings: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain data; `combination_from` reads it back."""
        kept = None if self.kept_energy is None else dict(self.kept_energy)
        parts = [asdict(part) for part in self.parts]
        return {"parts": parts, "kept_energy": kept, "command": self.command, "timings": dict(self.timings)}


def check_weights(adapters: int, weights: Sequence[float], rank: int | None) -> None:
    """Raises EngineError when there is not one finite weight an adapter, or the sum would be a mere copy."""
    if len(weights) != adapters:
        hint = "Give one --weight for each adapter, in their order, or none at all"
        raise EngineError(f"{len(weights)} weights do not go with {adapters} adapters", where="--weight", hint=hint)
    for weight in weights:
        if not math.isfinite(weight):
            raise EngineError(f"{weight} is not a finite number", where="--weight", hint="Give a number like 0.5 or -1")
    if tuple(weights) == (1,) and rank is None:
        hint = "Name a second adapter, or give --rank for a smaller one or another --weight"
        raise EngineError("one adapter of weight 1 would only be copied", hint=hint)


def check_names(adapters: int, names: Sequence[str]) -> None:
    """Raises EngineError when there are names, and not one an adapter."""
    if names and len(names) != adapters:
        hint = "Give one --name for each adapter, in their order, or none at all"
        raise EngineError(f"{len(names)} names do not go with {adapters} adapters", where="--name", hint=hint)


def combination_from(data: Mapping[str, Any]) -> Combination | None:
    """Read what `to_json` made; None for anything else."""
    if set(data) != {field.name for field in fields(Combination)} or not isinstance(data["command"], str):
        return None
    parts, kept, timings = data["parts"], data["kept_energy"], data["timings"]
    if not (isinstance(parts, list) and parts and all(_is_part(part) for part in parts)):
        return None
    if not ((kept is None or _is_figures(kept)) and _is_figures(timings)):
        return None
    made = tuple(CombinedPart(**part) for part in parts)
    return Combination(parts=made, kept_energy=kept, command=data["command"], timings=timings)


def _is_part(data: object) -> bool:
    if not isinstance(data, dict) or set(data) != {field.name for field in fields(CombinedPart)}:
        return False
    return isinstance(data["name"], str) and isinstance(data["digest"], str) and isinstance(data["weight"], int | float)


def _is_figures(data: object) -> bool:
    return isinstance(data, dict) and all(isinstance(figure, int | float) for figure in data.values())
