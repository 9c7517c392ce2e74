"""A folder of labelled tasks: what is trained on and what is judged on.

tasks.json           {"NAME": {"metric": ..., "split": ..., "source": ..., "kind": ...}, ...}
NAME.train.jsonl     rows {"prompt": ..., "response": ..., "references"?: [...]}
NAME.test.jsonl      the same

A task that is unseen by name may still be known by its texts: passages that training rows share with judged rows.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from engine.errors import EngineError
from engine.files import digest_file, read_json

_ABOUT = ("metric", "split", "source")
SEEN = "seen"
"""The split that is trained on."""


@dataclass(frozen=True)
class TaskRow:
    """A labelled row; `references` are all the right answers, `response` the first of them."""

    prompt: str
    response: str
    references: tuple[str, ...]

    @property
    def text(self) -> str:
        """What the row is about: its instruction is that of all rows."""
        return f"{without_instruction(self.prompt)} {self.response}"


@dataclass(frozen=True)
class Task:
    """A task of a task folder. `metric` is exact_match, rouge_l or last_number."""

    name: str
    metric: str
    split: str
    source: str
    folder: Path

    @property
    def train_path(self) -> Path:
        """The labelled rows for training; their prompts condition the generator."""
        return self.folder / f"{self.name}.train.jsonl"

    @property
    def test_path(self) -> Path:
        """The labelled rows for judging."""
        return self.folder / f"{self.name}.test.jsonl"

    @property
    def digest(self) -> str:
        """SHA-256 of the training rows."""
        return digest_file(self.train_path)


def read_tasks(folder: Path, split: str | None, exclude: Sequence[str] = ()) -> list[Task]:
    """The tasks of one split, or of all, sorted by name, without those whose name fits a pattern of `exclude`.

    Raises:
        EngineError: no tasks.json, no task of that split, a task without its files.
    """
    index = read_json(folder / "tasks.json")
    if not isinstance(index, dict):
        raise EngineError("should be an object of tasks by name", where=str(folder / "tasks.json"))
    for name, about in index.items():
        if not isinstance(about, dict) or not all(isinstance(about.get(each, ""), str) for each in _ABOUT):
            problem = f"{name[:100]!r} is not described by an object of texts"
            raise EngineError(problem, where=str(folder / "tasks.json"))
        if Path(name).name != name or "\0" in name:
            raise EngineError(f"{name[:100]!r} is no name of a file", where=str(folder / "tasks.json"))
    tasks = [
        Task(name, about.get("metric", "rouge_l"), about.get("split", ""), about.get("source", ""), folder)
        for name, about in sorted(index.items())
        if split in (None, about.get("split", "")) and not any(fnmatch(name, pattern) for pattern in exclude)
    ]
    if not tasks:
        splits = ", ".join(sorted({str(about.get("split", "")) for about in index.values()}))
        problem = "there is no task" if split is None else f"no task of split {split!r}"
        raise EngineError(problem, where=str(folder), hint=f"Splits there: {splits or 'none'}")
    for task in tasks:
        if not task.train_path.is_file():
            raise EngineError("a task of tasks.json has no training rows", where=str(task.train_path))
    return tasks


def named_tasks(tasks: Sequence[Task], patterns: Sequence[str], folder: Path) -> list[Task]:
    """The tasks whose name fits a pattern; all of them without patterns. Raises EngineError when one fits none."""
    for pattern in patterns:
        if not any(fnmatch(task.name, pattern) for task in tasks):
            splits = {task.split for task in tasks}
            of = f" of split {splits.pop()!r}" if len(splits) == 1 else ""
            hint = f"Tasks there: {', '.join(task.name for task in tasks)}"
            raise EngineError(f"no task{of} is named {pattern}", where=str(folder), hint=hint)
    return [task for task in tasks if not patterns or any(fnmatch(task.name, one) for one in patterns)]


def read_rows(path: Path) -> list[TaskRow]:
    """All rows of a task file. Raises EngineError with file and line when a row is broken or lacks a field."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"cannot be read: {error}", where=str(path)) from error
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            prompt, response = str(row["prompt"]), str(row["response"])
        except json.JSONDecodeError as error:
            raise EngineError(f"broken JSON: {error.msg}", where=where) from None
        except (KeyError, TypeError):
            raise EngineError("a task row needs the fields prompt and response", where=where) from None
        rows.append(TaskRow(prompt, response, tuple(row.get("references") or [response])))
    return rows


def without_instruction(prompt: str) -> str:
    """The prompt without its first paragraph; unchanged when it has only one."""
    _, gap, rest = prompt.partition("\n\n")
    return rest if gap and rest.strip() else prompt


WORDS = 13
"""Length of a passage, by which test sets have been looked for in training data before (arXiv 2005.14165, appendix C):
a shorter one finds figures of speech, a longer one misses single sentences."""
# What stands in more judged rows than this is the wording of the questions, not a text that is asked about.
_RARE = 3


class SharedPassages(NamedTuple):
    """`rows` of the `of` training rows of task `trained` share a passage with a row of task `judged`."""

    trained: str
    judged: str
    rows: int
    of: int


def shared_passages(
    trained: Iterable[tuple[str, Sequence[str]]], judged: Mapping[str, Sequence[str]]
) -> list[SharedPassages]:
    """Pairs of tasks that share passages of `WORDS` words, those that share most first.

    Args:
        trained: task names with the texts of their rows; read once.
        judged: texts of the judged rows by task. Case and punctuation do not count.
    """
    rare = rare_passages(judged)
    found = []
    for name, texts in trained:
        hits: Counter[str] = Counter()
        for text in texts:
            hits.update({rare[passage] for passage in passages(text) if passage in rare})
        found += [SharedPassages(name, place, rows, len(texts)) for place, rows in hits.items()]
    return sorted(found, key=lambda pair: (-pair.rows / pair.of, pair))


def rare_passages(judged: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The task of every passage of the judged rows that is a text asked about, not the wording of the questions."""
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    for name, texts in judged.items():
        for text in texts:
            own = set(passages(text))
            counts.update(own)
            places.update(dict.fromkeys(own, name))
    return {passage: place for passage, place in places.items() if counts[passage] <= _RARE}


def passages(text: str) -> Iterator[str]:
    """All runs of `WORDS` words in lower case, without punctuation; one may come twice."""
    words = re.findall(r"\w+", text.lower())
    return (" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1))
