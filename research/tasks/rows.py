"""The rows of one task: loaded, put into words, drawn."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from datasets import ClassLabel, load_dataset
from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import SandboxedEnvironment

from engine.errors import EngineError
from engine.tasks.tasks import TaskRow, passages
from research.tasks.manifest import Caps, Entry

LOADERS = ("json", "csv", "parquet")

# Manifests come from others, too: their templates reach no file and no attribute that is private.
_JINJA = SandboxedEnvironment(undefined=StrictUndefined)


def draw_task(
    entry: Entry, folder: Path, caps: Caps, seed: int, rare: Container[str]
) -> tuple[list[TaskRow], list[TaskRow], Counter[str]]:
    """Training rows, test rows, and how many were left out, by reason; the same ones at every call.

    Args:
        folder: where the manifest is.
        rare: passages that no training row may hold.

    Raises:
        EngineError: fewer rows than make a task, or a column that is not there.
        Exception: what `datasets` raises.
    """
    left_out: Counter[str] = Counter()
    rows = _worded(entry, load_rows(entry, folder, entry.train_from), caps, left_out)
    chance = random.Random(f"{seed} {entry.name}")
    chance.shuffle(rows)
    if entry.test_from:
        judged = _worded(entry, load_rows(entry, folder, entry.test_from), caps, left_out)
        chance.shuffle(judged)
        test = judged[: caps.test]
    else:
        cut = min(caps.test, len(rows) // 4)
        test, rows = rows[:cut], rows[cut:]
    asked = {_key(row.prompt) for row in test}
    train: list[TaskRow] = []
    for row in rows:
        if len(train) == caps.train:
            break
        if _key(row.prompt) in asked:
            left_out["in test"] += 1
        elif any(passage in rare for passage in passages(row.text)):
            left_out["shares a passage"] += 1
        else:
            train.append(row)
    if not (train and test):
        why = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise EngineError(f"{len(train)} training and {len(test)} test rows are no task", hint=f"Left out: {why}")
    return train, test, left_out


def load_rows(entry: Entry, folder: Path, split: str) -> Iterator[dict[str, Any]]:
    """The rows of a split as the entry's data set has them; class labels by name, None where there is none."""
    files = list(entry.data_files)
    if entry.dataset in LOADERS:
        files = [file if "://" in file else str(folder / file) for file in files]
    if entry.rows_in:
        yield from (row for file in files for row in _rows_of_object(file, entry.rows_in))
        return
    beside = folder / entry.dataset
    name = str(beside) if beside.is_dir() else entry.dataset
    # A card tells the sizes of all files; some of them are fewer rows.
    chosen = {"data_files": files, "verification_mode": "no_checks"} if files else {}
    data = load_dataset(name, entry.config, revision=entry.revision, split=split, **chosen)
    labels = {column: kind.names for column, kind in data.features.items() if isinstance(kind, ClassLabel)}
    for row in data:
        for column, names in labels.items():
            row[column] = None if row[column] is None or row[column] < 0 else names[row[column]]
        yield row


def _rows_of_object(file: str, rows_in: str) -> Iterator[dict[str, Any]]:
    """`datasets` reads tables; here rows are a list, or the values of an object, beside what holds for all of them."""
    with fsspec.open(file, "rt", encoding="utf-8") as opened:
        whole = json.load(opened)
    rows = whole.pop(rows_in)
    for row in rows.values() if isinstance(rows, dict) else rows:
        yield {**whole, **row}


def _worded(entry: Entry, rows: Iterable[dict[str, Any]], caps: Caps, left_out: Counter[str]) -> list[TaskRow]:
    """A row a prompt, in the order of their first coming; the answers of all rows with that prompt are right."""
    instruction, prompt = _JINJA.from_string(entry.instruction), _JINJA.from_string(entry.prompt)
    answer = _JINJA.compile_expression(entry.answer, undefined_to_none=False)
    where = _JINJA.compile_expression(entry.where, undefined_to_none=False)
    found: dict[str, tuple[str, list[str]]] = {}
    for row in rows:
        names = {**row, "row": row}
        try:
            if not where(names):
                continue
            value = answer(names)
            parts = [template.render(names).strip() for template in (instruction, prompt)]
        except UndefinedError as error:
            raise EngineError(str(error.message), hint=f"Columns: {', '.join(row)}") from None
        given = [str(each).strip() for each in (value if isinstance(value, list | tuple) else [value])]
        answers = [each for each in given if each]
        text = "\n\n".join(part for part in parts if part)
        if value is None or not answers or not parts[1]:
            left_out["without prompt or answer"] += 1
        elif len(text) > caps.prompt or len(answers[0]) > caps.response:
            left_out["too long"] += 1
        else:
            left_out["repeated"] += _key(text) in found
            found.setdefault(_key(text), (text, []))[1].extend(answers)
    return [
        TaskRow(text, answers[0], tuple(each for each in dict.fromkeys(answers) if len(each) <= caps.response))
        for text, answers in found.values()
    ]


def _key(prompt: str) -> str:
    return " ".join(prompt.split())
