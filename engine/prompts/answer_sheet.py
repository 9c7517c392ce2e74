"""Prompts with a place for their answers: a JSON Lines file that a person or a larger model fills in.

    {"prompt": "…", "response": "", "answered_by": ""}

`answered_by` names the model that wrote the response. Such a file is an ordinary prompt file: rows whose response is
empty count as unanswered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.files import write_text
from engine.prompts.labels import TEACHER_COLUMN


@dataclass(frozen=True)
class SheetRow:
    """One prompt; `response` is "" until it is answered, `answered_by` "" where no model answered it."""

    prompt: str
    response: str = ""
    answered_by: str = ""


def write_sheet(file: Path, rows: Iterable[SheetRow]) -> None:
    """Write all rows, or leave the file as it was.

    Raises:
        EngineError: the disk is full or the place cannot be written.
    """
    write_text(file, "".join(_line(row) + "\n" for row in rows))


def read_sheet(file: Path) -> list[SheetRow] | None:
    """The rows that `write_sheet` wrote, whatever was changed in them since; None where it is another kind of file."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError):
        return None
    known = {"prompt", "response", TEACHER_COLUMN}
    for row in rows:
        if not isinstance(row, dict) or not {"prompt", "response"} <= set(row) <= known:
            return None
        if not all(isinstance(value, str) for value in row.values()):
            return None
    return [SheetRow(**row) for row in rows]


def _line(row: SheetRow) -> str:
    named = {name: value for name, value in asdict(row).items() if value or name != TEACHER_COLUMN}
    return json.dumps(named, ensure_ascii=False)
