"""Prompt sources used lately."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from dnd_tui.state.stored import RecordLines, Tell, now

FILE_NAME = "recent.jsonl"
MOST = 50


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

    def __init__(self, folder: Path, *, tell: Tell) -> None:
        self._lines = RecordLines(folder / FILE_NAME, RecentSource, version=1, most=MOST, tell=tell)

    def newest_first(self) -> list[RecentSource]:
        """All of them; those whose file is missing are marked."""
        return [replace(source, missing=not os.path.exists(source.path)) for source in self._lines.newest_first()]

    def add(self, path: Path, *, rows: int | None, format: str) -> None:
        """`path` has been used now; a source that is there already moves to the front."""
        source = RecentSource(path=path.absolute(), when=now(), rows=rows, format=format)
        self._lines.add(source, instead_of=lambda other: other.path == source.path)
