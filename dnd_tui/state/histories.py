"""Histories of the app: what was asked of the engine and how it ended, prompt sources used lately, the first tour."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dnd_tui.state.stored import RecordLines, Remembered, Warn, now

RUNS_FILE = "runs.jsonl"
_MOST_RUNS = 500


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """One run.

    command: the headless command line that asks for the same (`engine.jobs.command_line`).
    when: ISO time of its end.
    error: the error that was shown; empty unless it failed.
    """

    command: str
    when: str
    seconds: float
    outcome: Literal["done", "failed", "cancelled"]
    error: str = ""


class RunHistory:
    """At most 500 runs, in `folder`. Touches the disk: not for the thread that draws the screen."""

    def __init__(self, folder: Path, *, warn: Warn) -> None:
        self._lines = RecordLines(folder / RUNS_FILE, PastRun, version=1, most=_MOST_RUNS, warn=warn)

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


RECENT_FILE = "recent.jsonl"
_MOST_SOURCES = 50


@dataclass(frozen=True, kw_only=True)
class RecentSource:
    """A prompt file or dataset folder.

    path: absolute.
    when: ISO time of its last use.
    rows: how many rows it had; None where they were not all counted.
    format: as in `PromptSet.format`.
    missing: nothing was at the path when the list was read.
    """

    path: Path
    when: str
    rows: int | None
    format: str
    missing: bool = False


class RecentSources:
    """At most 50 of them, in `folder`. Touches the disk: not for the thread that draws the screen."""

    def __init__(self, folder: Path, *, warn: Warn) -> None:
        self._lines = RecordLines(folder / RECENT_FILE, RecentSource, version=1, most=_MOST_SOURCES, warn=warn)

    def newest_first(self) -> list[RecentSource]:
        """All of them; those whose file is missing are marked."""
        return [replace(source, missing=not os.path.exists(source.path)) for source in self._lines.newest_first()]

    def add(self, path: Path, *, rows: int | None, format: str) -> None:
        """`path` has been used now; a source that is there already moves to the front."""
        source = RecentSource(path=path.absolute(), when=now(), rows=rows, format=format)
        self._lines.add(source, instead_of=lambda other: other.path == source.path)


TOUR_FILE = "tour.json"


@dataclass(frozen=True)
class Tour:
    """Whether the person has had the lines for a first start before their eyes, and went on."""

    seen: bool = False


class RememberedTour(Remembered[Tour]):
    """The tour of `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / TOUR_FILE, Tour, version=1)
