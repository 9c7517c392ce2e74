"""What a generator's folder states about itself. Light: read before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import read_json

FORMAT = 1
TENSORS, ABOUT, CARD = "generator.safetensors", "generator.json", "README.md"
DAMAGED_HINT = "The generator is damaged: get it again, or choose another one"
_FIELDS = ("sha256", "layout", "condition", "cascade", "kernel", "base", "history", "frame")


def read_about(folder: Path) -> dict[str, Any]:
    """The description of an artifact. Raises EngineError when `folder` holds none, a newer or a damaged one."""
    if not (folder / ABOUT).is_file():
        raise EngineError("is not a generator", where=str(folder), hint=f"A generator is a folder with {ABOUT}")
    about = read_json(folder / ABOUT, DAMAGED_HINT)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        hint = "Choose another generator, or another version of this program"
        problem = f"has format {found!r}, this program reads format {FORMAT}"
        raise EngineError(problem, where=str(folder / ABOUT), hint=hint)
    for name in _FIELDS:
        if name not in about:
            raise EngineError(f"lacks {name}", where=str(folder / ABOUT), hint=DAMAGED_HINT)
    return about
