"""What bundled models there are, which of them are here, and fetching them ahead of need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.base.catalog import BUNDLED, DEFAULT_BASE, BundledModel
from engine.base.convert import converted_base, default_base
from engine.base.encoder import resolve_encoder
from engine.base.fetch import find_model_files
from engine.errors import EngineError
from engine.events import Reporter


@dataclass(frozen=True)
class ModelEntry:
    """One bundled model.

    kind: "base" or "encoder".
    size: bytes to fetch.
    present: usable without a network. `where`: the folder that is used then.
    ready: usable at once; a base that is present but not yet converted takes about half a minute first.
    source: what it is and which package carries it.
    """

    name: str
    kind: str
    licence: str
    size: int
    present: bool
    ready: bool
    where: str | None
    source: str


def list_models() -> list[ModelEntry]:
    """All bundled models. Looks at the disk only: names and sizes, no network, no hashing."""
    return [_entry(model) for model in BUNDLED]


def fetch_model(name: str, reporter: Reporter | None = None) -> Path:
    """Make the bundled model called `name` ready to use; the folder it is in.

    Raises:
        EngineError: no such model, or it cannot be fetched.
    """
    for model in BUNDLED:
        if name == model.name:
            return default_base(reporter) if model is DEFAULT_BASE else resolve_encoder(reporter)
    hint = f"There is: {', '.join(model.name for model in BUNDLED)}"
    raise EngineError(f"no bundled model is called {name!r}", hint=hint)


def _entry(model: BundledModel) -> ModelEntry:
    files = find_model_files(model)
    ready = converted_base() if model is DEFAULT_BASE else files
    where = ready or files
    source = f"{model.hub_id}, in the package {model.requirement}"
    return ModelEntry(
        model.name,
        model.kind,
        model.licence,
        model.download_size,
        present=where is not None,
        ready=ready is not None,
        where=str(where) if where else None,
        source=source,
    )
