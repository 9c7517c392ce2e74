"""What a job answers: plain data for programs, label and value lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.adapter.consumers import Verdict, advice
from engine.errors import Names, named, plain, setting


@dataclass(frozen=True)
class Result:
    """`data` is everything, ready for JSON; `lines` are (label, value) for people, in order.

    failed: what of it could not be done, in one sentence; "" where all was. The command's exit code is then 1.
    """

    data: Mapping[str, Any]
    lines: tuple[tuple[str, str], ...]
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return dict(self.data)

    def summary(self, names: Names = plain) -> list[tuple[str, str]]:
        """(label, value) lines for people; `names` is what they call settings."""
        return [(label, named(value, names)) for label, value in self.lines]


def stage_lines(timings: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """Seconds of each stage, and of all of them."""
    return (
        *((stage, f"{seconds:.2f} s") for stage, seconds in timings.items()),
        ("all", f"{sum(timings.values()):.2f} s"),
    )


def verdicts_data(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Whether each consumer takes an adapter, as plain data."""
    return [asdict(verdict) for verdict in verdicts]


def verdict_lines(verdicts: Sequence[Verdict]) -> tuple[tuple[str, str], ...]:
    """The command of each consumer that takes an adapter; why the others do not, and what helps."""
    return tuple((each.consumer, each.command or _answer(each)) for each in verdicts)


def _answer(verdict: Verdict) -> str:
    fix = advice(verdict, lambda form: f"Export it with {setting('format')} {form}")
    return f"{'' if verdict.accepts else 'no: '}{verdict.reason}{f'. {fix}' if fix else ''}"
