"""What the Depth screen was set to, and the folder in which a search with these settings goes on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dnd_tui.state.forge import named_path
from dnd_tui.state.stored import Remembered
from engine.errors import EngineError
from engine.files import digest_json
from engine.requests import DepthRequest, ModelChoice

FILE_NAME = "depth.json"
VERSION = 1
# Files of a folder of prompts that are looked at to see whether it is as before.
_MOST_FILES = 1000


@dataclass(frozen=True)
class DepthChoices:
    """What stands in the fields of the screen, as the person typed it.

    source, held_out: prompts with labels; without held-out ones, rows of `source` are held out.
    column, label, template: how they are read; a template makes the prompts in place of a column.
    adapter: id of an adapter of the library; empty for none.
    """

    source: str = ""
    held_out: str = ""
    column: str = ""
    adapter: str = ""
    chains: str = str(DepthRequest.chains)
    rows: str = str(DepthRequest.rows)
    moves: str = DepthRequest.moves
    seed: str = str(DepthRequest.seed)
    label: str = ""
    template: str = ""

    def request(self, models: ModelChoice, adapter: Path | None) -> DepthRequest:
        """The request, its folder still to be named (`in_own_folder`).

        Args:
            adapter: the folder of the chosen adapter.

        Raises:
            EngineError: a field is empty or holds what cannot be.
        """
        return DepthRequest(
            # A search needs no generator.
            models=replace(models, generator=ModelChoice.generator),
            source=named_path(self.source, "the file of prompts"),
            out=Path(),
            column=None if self.template.strip() else self.column.strip() or None,
            label=self.label.strip() or None,
            template=self.template if self.template.strip() else None,
            held_out=named_path(self.held_out, "the held-out rows") if self.held_out.strip() else None,
            adapter=adapter,
            chains=_number(self.chains, "the number of chains"),
            rows=_number(self.rows, "the number of rows"),
            moves=self.moves,
            seed=_number(self.seed, "the seed"),
        )


class RememberedDepth(Remembered[DepthChoices]):
    """The choices in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FILE_NAME, DepthChoices, VERSION)


def in_own_folder(request: DepthRequest, folder: Path) -> DepthRequest:
    """The request with the folder, in `folder`, that belongs to it: a search for the same goes on there.

    Scores hold for one base, one adapter and one set of rows; more chains or other moves may use them. Asks the disk.
    """
    belongs = {
        "models": [request.models.base, request.models.device, request.models.dtype],
        "rows": [
            ascii(str(request.source)),
            request.column,
            request.label,
            request.template,
            request.rows,
            request.seed,
            request.held_out is None,
        ],
        "adapter": ascii(str(request.adapter)),
        "files": [list(map(ascii, _state(path))) for path in (request.source, request.adapter) if path],
    }
    plain = re.sub(r"[^\w.-]+", "-", request.source.stem).strip(".-")[:60]
    return replace(request, out=folder / f"{plain or 'search'}-{digest_json(belongs)[:12]}")


def _state(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of a file, or of the files in a folder; nothing of what cannot be looked at."""
    try:
        names = sorted(os.listdir(path))[:_MOST_FILES] if path.is_dir() else [""]
        for name in names:
            found = os.stat(path / name if name else path)
            yield name, found.st_size, found.st_mtime_ns
    except (OSError, ValueError):
        return


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise EngineError(f"{what} must be a whole number, not {text.strip()!r}") from None
