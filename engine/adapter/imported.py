"""The record of an import, beside the adapter: what it was, and what was done to bring it into our form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

FORMATS = {"peft": "PEFT folder", "gguf": "GGUF adapter"}
"""What is imported, for people."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Where an adapter was imported from.

    source: name of its folder or file. digest: SHA-256 of its weights file, in hexadecimal.
    format: "peft" or "gguf".
    changes: what was folded or converted, in sentences; empty where every number is as it was.
    command: the command line that imports it again.
    timings: seconds by stage, in the order they ran.
    """

    source: str
    digest: str
    format: str
    changes: tuple[str, ...]
    command: str
    timings: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As plain data; `imported_from` reads it back."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"changes": list(self.changes), "timings": dict(self.timings)}


def imported_from(data: Mapping[str, Any]) -> Imported | None:
    """Read what `to_json` made; None for anything else."""
    if set(data) != {field.name for field in fields(Imported)} or data["format"] not in FORMATS:
        return None
    if not all(isinstance(data[name], str) for name in ("source", "digest", "command")):
        return None
    changes, timings = data["changes"], data["timings"]
    if not (isinstance(changes, list) and all(isinstance(each, str) for each in changes)):
        return None
    if not (isinstance(timings, dict) and all(isinstance(each, int | float) for each in timings.values())):
        return None
    return Imported(**{**data, "changes": tuple(changes)})
