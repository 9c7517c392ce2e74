"""The scores of a search on disk: one JSON file, always whole. A search that was stopped goes on from there.

{"belongs_to": {…}, "chains": {"0-12,15-29": [{"exact": [true, …], "loss": [2.3, …]}, … a part each]}}
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.depth.chain import Chain, format_chain, parse_chain
from engine.depth.scores import RowScores
from engine.depth.search import Score
from engine.errors import EngineError
from engine.files import read_json, write_json

_SECONDS_BETWEEN_WRITES = 2.0


class ScoreMemory:
    """Remembers every score, in memory and in `path`.

    Args:
        path: the file; what is in it is known from the start.
        belongs_to: plain data, all that a score depends on besides chain and part.
        layers: of the base.
        score: asked for what is not known; a chain's parts in order.

    Raises:
        EngineError: the file cannot be read, is none of these, or belongs to something else.
    """

    def __init__(self, path: Path, belongs_to: Mapping[str, Any], layers: int, score: Score) -> None:
        self._path = path
        self._belongs_to = dict(belongs_to)
        self._score = score
        self._written = time.monotonic()
        self._known: dict[Chain, list[RowScores]] = _read(path, self._belongs_to, layers) if path.exists() else {}

    @property
    def known(self) -> dict[Chain, list[RowScores]]:
        """By chain, its scores on the first parts."""
        return {chain: parts for chain, parts in self._known.items() if parts}

    def score(self, chain: Chain, part: int) -> RowScores:
        """The scores of a chain on a part, remembered or asked for."""
        parts = self._known.setdefault(chain, [])
        if part == len(parts):
            parts.append(self._score(chain, part))
            if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
                self.save()
        return parts[part]

    def save(self) -> None:
        """Write all of it. Raises EngineError when it cannot be written."""
        chains = {format_chain(chain): [asdict(part) for part in parts] for chain, parts in self.known.items()}
        write_json(self._path, {"belongs_to": self._belongs_to, "chains": chains})
        self._written = time.monotonic()


def _read(path: Path, belongs_to: Mapping[str, Any], layers: int) -> dict[Chain, list[RowScores]]:
    data = read_json(path, hint="Choose another --out, or remove the file")
    broken = EngineError("is not the state of a search", where=str(path), hint="Choose another --out")
    if not isinstance(data, dict) or not isinstance(data.get("belongs_to"), dict):
        raise broken
    for name, value in belongs_to.items():
        if data["belongs_to"].get(name) != value:
            problem = f"the search here is on another {name.replace('_', ' ')}"
            raise EngineError(problem, where=str(path.parent), hint="Choose another --out, or go back to that setting")
    try:
        return {
            parse_chain(text, layers): [RowScores(tuple(part["exact"]), tuple(part["loss"])) for part in parts]
            for text, parts in data["chains"].items()
        }
    except (EngineError, KeyError, TypeError, AttributeError):
        raise broken from None
