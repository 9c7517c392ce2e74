"""What has been asked of the engine, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dnd_tui.state.stored import RecordLines, Tell

FILE_NAME = "runs.jsonl"
MOST = 500


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """One run.

    command: the headless command line that asks for the same (`engine.jobs.command_line`).
    when: ISO time of its end.
    error: what the person was told; empty unless it failed.
    """

    command: str
    when: str
    seconds: float
    outcome: Literal["done", "failed", "cancelled"]
    error: str = ""


class RunHistory:
    """At most 500 runs, in `folder`. Touches the disk: not for the thread that draws the screen."""

    def __init__(self, folder: Path, *, tell: Tell) -> None:
        self._lines = RecordLines(folder / FILE_NAME, PastRun, version=1, most=MOST, tell=tell)

    def newest_first(self) -> list[PastRun]:
        """All runs."""
        return self._lines.newest_first()

    def add(self, run: PastRun) -> None:
        """`run` has ended."""
        self._lines.add(run)

    def find(self, text: str) -> list[PastRun]:
        """The runs that hold every word of `text` in command, outcome, error or time; upper and lower case are one."""
        words = text.casefold().split()
        return [run for run in self.newest_first() if all(word in _searched(run) for word in words)]


def _searched(run: PastRun) -> str:
    return f"{run.command}\n{run.outcome}\n{run.error}\n{run.when}".casefold()
