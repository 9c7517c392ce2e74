"""The text encoder that reads the prompts."""

from __future__ import annotations

from pathlib import Path

from engine.base.catalog import DEFAULT_ENCODER
from engine.base.fetch import model_files
from engine.events import Reporter


def resolve_encoder(reporter: Reporter | None = None) -> Path:
    """The folder of the default encoder (all-MiniLM-L6-v2), checked; fetched at first need.

    Raises:
        EngineError: it cannot be fetched; says what can be done.
    """
    return model_files(DEFAULT_ENCODER, reporter)
