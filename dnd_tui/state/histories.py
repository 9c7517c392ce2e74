"""Histories of the app: runs of the engine, prompts that were answered, prompt sources used lately, the first tour."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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


ASKED_FILE = "asked.jsonl"
_MOST_ASKED = 2000


@dataclass(frozen=True, kw_only=True)
class AskedPrompt:
    """A prompt, or a message of a chat, that was answered.

    answers: by what answered, the base first.
    when: ISO time of the last answer.
    base: id of the base. adapters: names of what answered beside it.
    source: name of the file that it is from; "" for one that was typed.
    turn: of a message of a chat, its number, from 1; else 0. system: what stood before the chat.
    """

    prompt: str
    answers: Mapping[str, str]
    when: str
    base: str
    adapters: tuple[str, ...] = ()
    source: str = ""
    turn: int = 0
    system: str = ""

    @property
    def words(self) -> str:
        """Of what it was asked, and when."""
        asked = [f"message {self.turn} of a chat" if self.turn else self.source or "typed", self.base, *self.adapters]
        return f"{self.when.replace('T', ' ')[:16]}  {', '.join(asked)}"

    def holds(self, text: str) -> bool:
        """Whether every word of `text` stands in it somewhere; upper and lower case are one."""
        return all(word in self._searched for word in text.casefold().split())

    @cached_property
    def _searched(self) -> str:
        return "\n".join(
            [self.words, self.when, self.prompt, self.system, *self.answers, *self.answers.values()]
        ).casefold()


class AskedHistory:
    """At most 2000 of them, in `folder`. Touches the disk: not for the thread that draws the screen."""

    def __init__(self, folder: Path, *, warn: Warn) -> None:
        self._lines = RecordLines(folder / ASKED_FILE, AskedPrompt, version=1, most=_MOST_ASKED, warn=warn)

    def newest_first(self) -> list[AskedPrompt]:
        """All of them."""
        return self._lines.newest_first()

    def add(self, asked: Sequence[AskedPrompt]) -> None:
        """These have been answered, in this order."""
        self._lines.add(*asked)


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
