"""What a generator's folder says about itself. Light: read before anything heavy is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import read_json

FORMAT = 1
TENSORS, ABOUT, CARD = "generator.safetensors", "generator.json", "README.md"


def read_about(folder: Path) -> dict[str, Any]:
    """The description of an artifact. Raises EngineError when `folder` holds none or a newer one."""
    if not (folder / ABOUT).is_file():
        raise EngineError("is not a generator", where=str(folder), hint=f"A generator is a folder with {ABOUT}")
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise EngineError(f"has format {found!r}, this program reads format {FORMAT}", where=str(folder / ABOUT))
    return about
