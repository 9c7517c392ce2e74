"""The folder of an evaluation: its answers, one line a row, and the settings they belong to.

    settings.json    what all answers depend on, what those of single arms depend on, digests of the tasks
    answers.jsonl    {"arm", "seed", "task", "row", "answer", "score", ...}; appended a run to a task at a time

The answers of an arm to a task with a seed count once all rows are there, so a run can be killed at any moment and
taken up again. Several processes may append, each its own runs, while none of them loads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import ANOTHER_OUT, EngineError
from engine.files import read_json, write_json, write_text

_Key = tuple[str, str, int]  # task, arm, seed


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer to test row `row` of a task.

    nats, size: negative log-likelihood of the reference answer, and its UTF-8 bytes.
    making, answering: the row's share of the device seconds of its task and arm, to make and attach the adapter, and
        to write the answers; measuring `nats` is in neither.
    """

    arm: str
    seed: int
    task: str
    row: int
    answer: str
    score: float
    nats: float
    size: int
    making: float
    answering: float


class AnswerLog:
    """The answers in `folder` that belong to `settings`.

    Args:
        settings: plain data; an existing folder must have been written with the same.
        arms: by name, what else the answers of an arm depend on; an existing folder may hold further arms.
        tasks: by name, number of rows and a digest of them; an existing folder may hold further tasks.

    Raises:
        EngineError: the folder holds answers of other settings or other task rows, or cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        arms: Mapping[str, Mapping[str, Any]],
        tasks: Mapping[str, tuple[int, str]],
    ) -> None:
        if folder.exists() and not folder.is_dir():
            raise EngineError("is not a folder", where=str(folder), hint=ANOTHER_OUT)
        self._path = folder / "answers.jsonl"
        self._rows = {name: count for name, (count, _) in tasks.items()}
        # As JSON gives it back, so that a tuple equals the list it was written as.
        plain, by_arm = (json.loads(json.dumps(dict(data))) for data in (settings, arms))
        self._agree(folder / "settings.json", plain, by_arm, {name: digest for name, (_, digest) in tasks.items()})
        self._complete: dict[_Key, list[ScoredAnswer]] = {}
        self.load()

    def answers(self, task: str, arm: str, seed: int) -> list[ScoredAnswer] | None:
        """All answers of an arm to a task with a seed, in the order of rows; None when they are not complete."""
        return self._complete.get((task, arm, seed))

    def runs(self) -> list[tuple[str, int]]:
        """(arm, seed) of the runs that have answered some task completely, in the order they did."""
        return list(dict.fromkeys((arm, seed) for _, arm, seed in self._complete))

    def append(self, answers: Sequence[ScoredAnswer]) -> None:
        """Write down all answers of one run to one task. Raises EngineError when they cannot be written."""
        try:
            # All lines at once: the file gets them in one write, which no other process's comes between.
            with open(self._path, "ab") as file:
                file.write("".join(map(_as_line, answers)).encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            hint = "The answers before are kept: free some space and run the same command again"
            raise EngineError(f"cannot be written: {error.strerror}", where=str(self._path), hint=hint) from error
        self._take(answers)

    def _agree(
        self, path: Path, settings: dict[str, Any], arms: dict[str, dict[str, Any]], tasks: dict[str, str]
    ) -> None:
        old: dict[str, Any] = {}
        if path.exists() or self._path.exists():
            old = read_json(path)
            if not isinstance(old, dict) or not all(isinstance(old.get(part), dict) for part in ("tasks", "arms")):
                raise EngineError("is not the settings of an evaluation", where=str(path), hint=ANOTHER_OUT)
            _same(path, "the answers here", _without(old, "tasks", "arms"), settings)
            for arm, own in arms.items():
                _same(path, f"the answers of arm {arm} here", old["arms"].get(arm, own), own)
            changed = [name for name, digest in tasks.items() if old["tasks"].get(name, digest) != digest]
            if changed:
                hint = f"{ANOTHER_OUT}, or go back to those rows"
                raise EngineError(f"the rows of task {changed[0]} have changed", where=str(path.parent), hint=hint)
        new = {**settings, "arms": {**old.get("arms", {}), **arms}, "tasks": {**old.get("tasks", {}), **tasks}}
        if new != old:
            write_json(path, new)
        self.arm_settings: dict[str, dict[str, Any]] = new["arms"]

    def load(self) -> None:
        """Read the file, anew; what is not complete goes, so that the file never holds an answer twice."""
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
        grouped: dict[_Key, list[ScoredAnswer]] = {}
        for answer in answers:
            grouped.setdefault((answer.task, answer.arm, answer.seed), []).append(answer)
        kept = [group for (task, *_), group in grouped.items() if len(group) == self._rows.get(task, len(group))]
        for group in kept:
            self._take(group)
        text = "".join(_as_line(answer) for group in kept for answer in group)
        if text.encode() != b"\n".join(lines):
            write_text(self._path, text)

    def _take(self, answers: Sequence[ScoredAnswer]) -> None:
        if answers:
            first = answers[0]
            self._complete[first.task, first.arm, first.seed] = sorted(answers, key=lambda answer: answer.row)


def _as_line(answer: ScoredAnswer) -> str:
    return json.dumps(asdict(answer), ensure_ascii=False) + "\n"


def _from_line(line: bytes) -> ScoredAnswer:
    """Raises ValueError or TypeError when the line is not what `_as_line` writes."""
    answer = ScoredAnswer(**json.loads(line))
    texts = (answer.arm, answer.task, answer.answer)
    figures = (answer.score, answer.nats, answer.making, answer.answering)
    counts = (answer.seed, answer.row, answer.size)
    kinds: tuple[tuple[tuple[Any, ...], Any], ...] = ((texts, str), (figures, int | float), (counts, int))
    if not all(isinstance(value, kind) for values, kind in kinds for value in values):
        raise TypeError("a field has a value of another type")
    return answer


def _same(path: Path, what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises EngineError naming the first setting that differs."""
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            problem = f"{what} belong to another {name}: {old.get(name)!r}, not {new.get(name)!r}"
            raise EngineError(problem, where=str(path.parent), hint=f"{ANOTHER_OUT}, or go back to that setting")


def _without(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in names}
