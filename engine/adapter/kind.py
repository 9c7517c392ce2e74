"""Whether a path is an adapter. Light, and safe on anything: asked of every path that is dropped on the app."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from engine.adapter.formats import ADAPTER_GGUF
from engine.adapter.peft_folder import CONFIG_FILE, missing_hint
from engine.base.gguf_header import read_field
from engine.errors import EngineError

_FIRST_BYTES = 2**16


def adapter_path(source: Path) -> Path:
    """Where the adapter of a path is: of a folder as our own GGUF exports make it, its file; else the path itself."""
    file = source / ADAPTER_GGUF
    try:
        return file if file.is_file() and not (source / CONFIG_FILE).is_file() else source
    except (OSError, ValueError):  # ValueError: no path at all, such as one with a zero byte
        return source


def adapter_kind(path: Path) -> Literal["peft", "gguf"] | None:
    """What kind of adapter lies at `path`: a folder with adapter_config.json, or a GGUF file that states it is one.

    A folder with such a file, named as our exports name it, is one too. Only looks at the beginning of a GGUF file;
    None for anything else, and for what cannot be read.
    """
    path = adapter_path(path)
    try:
        if path.is_dir():
            return "peft" if (path / CONFIG_FILE).is_file() else None
        if path.suffix.lower() != ".gguf" or not path.is_file():
            return None
        with open(path, "rb") as file:
            kind = read_field(file.read(_FIRST_BYTES), "general.type")
    except (OSError, ValueError):
        return None
    return "gguf" if kind == "adapter" else None


def known_kind(source: Path) -> Literal["peft", "gguf"]:
    """The kind of adapter at `source`.

    Raises:
        EngineError: there is none; names what is there instead.
    """
    kind = adapter_kind(source)
    if kind is not None:
        return kind
    where, hint = str(source), f"Name a PEFT folder, which has {CONFIG_FILE}, or a GGUF adapter"
    if not source.exists():
        raise EngineError("no such file or folder", where=where, hint=hint)
    if source.is_dir():
        raise EngineError(f"has no {CONFIG_FILE}", where=where, hint=missing_hint(source))
    if source.suffix.lower() == ".gguf":
        raise EngineError("is a GGUF file, but states nowhere that it is an adapter", where=where, hint=hint)
    raise EngineError("is neither a PEFT folder nor a GGUF adapter", where=where, hint=hint)
