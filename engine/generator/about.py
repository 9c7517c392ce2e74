"""What a generator's folder states about itself. Light: read before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import read_json

FORMAT = 1
TENSORS, ABOUT, CARD = "generator.safetensors", "generator.json", "README.md"
DAMAGED_HINT = "The generator is damaged: get it again, or choose another one"
_FIELDS = {
    "sha256": str, "layout": dict, "condition": dict, "cascade": list, "kernel": int, "base": dict, "history": dict,
    "frame": str,
}  # fmt: skip
GARBLED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError)
"""What using a description raises where a value in it is missing or none that can be."""


def read_about(folder: Path) -> dict[str, Any]:
    """The description of an artifact. Raises EngineError when `folder` holds none, a newer or a damaged one."""
    if not (folder / ABOUT).is_file():
        raise EngineError("is not a generator", where=str(folder), hint=f"A generator is a folder with {ABOUT}")
    about = read_json(folder / ABOUT, DAMAGED_HINT)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = repr(about.get("format"))[:40] if isinstance(about, dict) else None
        hint = "Choose another generator, or another version of this program"
        problem = f"has format {found}, this program reads format {FORMAT}"
        raise EngineError(problem, where=str(folder / ABOUT), hint=hint)
    for name, kind in _FIELDS.items():
        if not isinstance(about.get(name), kind):
            raise EngineError(f"lacks {name}", where=str(folder / ABOUT), hint=DAMAGED_HINT)
    return about


def garbled(folder: Path, error: Exception) -> EngineError:
    """The error for a description of which a value is missing or none that can be."""
    reason = f"{type(error).__name__}: {error}"[:200]
    return EngineError(f"lacks or garbles a field: {reason}", where=str(folder / ABOUT), hint=DAMAGED_HINT)
