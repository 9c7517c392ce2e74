"""The folder of an evaluation: its answers, one line a row, and the settings they belong to.

    settings.json    what the answers depend on
    answers.jsonl    {"arm", "task", "row", "answer", "score", "seconds"}; appended, flushed a line

A (task, arm) pair counts once all its rows are there, so a run can be killed at any moment and taken up again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import read_json, replacing_file, write_json


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer to test row `row` of a task; `seconds` is the row's share of the time of its task and arm."""

    arm: str
    task: str
    row: int
    answer: str
    score: float
    seconds: float


class AnswerLog:
    """The answers in `folder` that belong to `settings`.

    Args:
        settings: plain data; an existing folder must have been written with the same.
        tasks: by name, number of rows and a digest of them; an existing folder may hold further tasks.

    Raises:
        EngineError: the folder holds answers of other settings or other task rows, or cannot be read or written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], tasks: Mapping[str, tuple[int, str]]) -> None:
        if folder.exists() and not folder.is_dir():
            raise EngineError("is not a folder", where=str(folder), hint="Choose another --out")
        self._path = folder / "answers.jsonl"
        self._rows = {name: count for name, (count, _) in tasks.items()}
        # As JSON gives it back, so that a tuple equals the list it was written as.
        plain = json.loads(json.dumps(dict(settings)))
        self._agree(folder / "settings.json", plain, {name: digest for name, (_, digest) in tasks.items()})
        self._pairs: dict[tuple[str, str], list[ScoredAnswer]] = {}
        self._load()

    def pair(self, task: str, arm: str) -> list[ScoredAnswer] | None:
        """All answers of an arm to a task in the order of rows; None when they are not complete."""
        return self._pairs.get((task, arm))

    def arms(self) -> list[str]:
        """The arms that have answered some task completely, in the order they did."""
        return list(dict.fromkeys(arm for _, arm in self._pairs))

    def append(self, answers: Sequence[ScoredAnswer]) -> None:
        """Write down all answers of one arm to one task. Raises EngineError when they cannot be written."""
        try:
            with open(self._path, "a", encoding="utf-8", newline="\n") as file:
                for answer in answers:
                    file.write(_as_line(answer))
                    file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            hint = "The answers before are kept: free some space and run the same command again"
            raise EngineError(f"cannot be written: {error.strerror}", where=str(self._path), hint=hint) from error
        self._take(answers)

    def _agree(self, path: Path, settings: dict[str, Any], tasks: dict[str, str]) -> None:
        old: dict[str, Any] = {}
        if path.exists() or self._path.exists():
            old = read_json(path)
            if not isinstance(old, dict) or not isinstance(old.get("tasks"), dict):
                raise EngineError("is not the settings of an evaluation", where=str(path), hint="Choose another --out")
            _same(path, {key: value for key, value in old.items() if key != "tasks"}, settings)
            changed = [name for name, digest in tasks.items() if old["tasks"].get(name, digest) != digest]
            if changed:
                hint = "Choose another --out, or go back to those rows"
                raise EngineError(f"the rows of task {changed[0]} have changed", where=str(path.parent), hint=hint)
        new = {**settings, "tasks": {**old.get("tasks", {}), **tasks}}
        if new != old:
            write_json(path, new)

    def _load(self) -> None:
        """Read the file; pairs that are not complete go, so that the file never holds an answer twice."""
        if not self._path.exists():
            return
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError as error:
            raise EngineError(f"cannot be read: {error.strerror}", where=str(self._path)) from error
        answers = []
        for number, line in enumerate(lines, 1):
            try:
                answers += [_from_line(line)] if line else []
            except (ValueError, TypeError) as error:
                # A run that was killed leaves half a line, at the end.
                if number < len(lines):
                    where = f"{self._path}, line {number}"
                    raise EngineError("is not an answer of an evaluation", where=where) from error
        by_pair: dict[tuple[str, str], list[ScoredAnswer]] = {}
        for answer in answers:
            by_pair.setdefault((answer.task, answer.arm), []).append(answer)
        kept = [pair for (task, _), pair in by_pair.items() if len(pair) == self._rows.get(task, len(pair))]
        for pair in kept:
            self._take(pair)
        text = "".join(_as_line(answer) for pair in kept for answer in pair)
        if text.encode() != b"\n".join(lines):
            with replacing_file(self._path) as part:
                part.write_text(text, encoding="utf-8", newline="\n")

    def _take(self, answers: Sequence[ScoredAnswer]) -> None:
        if answers:
            self._pairs[answers[0].task, answers[0].arm] = sorted(answers, key=lambda answer: answer.row)


def _as_line(answer: ScoredAnswer) -> str:
    return json.dumps(asdict(answer), ensure_ascii=False) + "\n"


def _from_line(line: bytes) -> ScoredAnswer:
    """Raises ValueError or TypeError when the line is not what `_as_line` writes."""
    answer = ScoredAnswer(**json.loads(line))
    texts, numbers = (answer.arm, answer.task, answer.answer), (answer.row, answer.score, answer.seconds)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(one, (int, float)) for one in numbers):
        raise TypeError("a field has a value of another type")
    return answer


def _same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises EngineError naming the first setting that differs."""
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            problem = f"the answers here belong to another {name}: {old.get(name)!r}, not {new.get(name)!r}"
            raise EngineError(problem, where=str(path.parent), hint="Choose another --out, or go back to that setting")
