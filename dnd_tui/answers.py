"""Streamed answers as data on stdout: text for people, or one line of JSON a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Protocol

from dnd_tui.text import one_line, printable
from engine.events import AnswerText

Write = Callable[[str], None]


class Answers(Protocol):
    """Takes the pieces of all answers, in any order of rows and arms."""

    def add(self, piece: AnswerText) -> None:
        """The next piece of one answer."""

    def close(self) -> None:
        """No piece will follow."""


class AnswersForPeople:
    """One answer after the other under a heading; the first one that is not done is written as it comes.

    Pieces of the answers behind it wait, for a terminal line has one place to write at.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: dict[tuple[int, str], tuple[str, bool]] = {}
        self._open: tuple[int, str] | None = None

    def add(self, piece: AnswerText) -> None:
        """Write what can be written now."""
        key = (piece.row, piece.arm)
        text, _ = self._waiting.get(key, ("", False))
        self._waiting[key] = (text + piece.text, piece.done)
        self._write_front()

    def close(self) -> None:
        """Write what is left, also of answers that never ended."""
        self._waiting = {key: (text, True) for key, (text, _) in self._waiting.items()}
        self._write_front()

    def _write_front(self) -> None:
        while self._waiting:
            key, (text, done) = next(iter(self._waiting.items()))
            heading = "" if key == self._open else f"[{key[0]}] {one_line(key[1])}\n"
            self._open = key
            if heading or text:
                self._write(heading + printable(text))
            if not done:
                self._waiting[key] = ("", False)
                return
            self._write("\n\n")
            del self._waiting[key]


class AnswersAsJson:
    """One line `{"row": 1, "answers": {"base": ..., "adapted": ...}}`, as soon as all `arms` of the row are done."""

    def __init__(self, write: Write, arms: Iterable[str]) -> None:
        self._write = write
        self._arms = frozenset(arms)
        self._rows: dict[int, dict[str, str]] = {}
        self._done: dict[int, set[str]] = {}

    def add(self, piece: AnswerText) -> None:
        """Write the row if it is complete now."""
        answers = self._rows.setdefault(piece.row, {})
        answers[piece.arm] = answers.get(piece.arm, "") + piece.text
        done = self._done.setdefault(piece.row, set())
        if piece.done:
            done.add(piece.arm)
        if done >= self._arms:
            self._write_row(piece.row)

    def close(self) -> None:
        """Write the rows that lack an arm."""
        for row in list(self._rows):
            self._write_row(row)

    def _write_row(self, row: int) -> None:
        self._write(json.dumps({"row": row, "answers": self._rows.pop(row)}, ensure_ascii=False) + "\n")
        del self._done[row]
