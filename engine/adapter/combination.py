"""Where a combined adapter comes from, as plain data beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


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
