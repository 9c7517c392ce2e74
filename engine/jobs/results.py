"""What a job answers: plain data for programs, label and value lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """`data` is everything, ready for JSON; `lines` are (label, value) for people, in order."""

    data: Mapping[str, Any]
    lines: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return dict(self.data)

    def summary(self) -> list[tuple[str, str]]:
        """(label, value) lines for people."""
        return list(self.lines)


def stage_lines(timings: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """Seconds of each stage, and of all of them."""
    return (
        *((stage, f"{seconds:.2f} s") for stage, seconds in timings.items()),
        ("all", f"{sum(timings.values()):.2f} s"),
    )
