"""What somebody dropped: prompts, a generator, an adapter or a base model. Asks the disk: call it in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.adapter.kind import adapter_kind
from engine.prompts.places import file_format

Kind = Literal["prompts", "generator", "adapter", "base", "adapter among others"]


@dataclass(frozen=True)
class Source:
    """What is opened of a drop.

    kind: what `path` is; everything that is not clearly something else is taken for prompts. An adapter goes alone.
    others: how many paths were dropped besides.
    folder: holds all that was dropped, if these are several prompt files of one folder.
    """

    path: Path
    kind: Kind
    others: int = 0
    folder: Path | None = None


def source_of(paths: Sequence[Path]) -> Source:
    """What to open of a drop of at least one path: the first, or an adapter."""
    first = paths[0]
    if len(paths) > 1 and (adapter := next(filter(adapter_kind, paths), None)):
        return Source(adapter, "adapter among others", len(paths) - 1)
    folders = {path.parent for path in paths}
    together = len(paths) > 1 and len(folders) == 1 and all(map(_is_prompt_file, paths))
    return Source(first, _kind(first), len(paths) - 1, folders.pop() if together else None)


def _kind(path: Path) -> Kind:
    if adapter_kind(path):
        return "adapter"
    if path.suffix.lower() == ".gguf":
        return "base"
    if (path / "generator.json").is_file():
        return "generator"
    if (path / "config.json").is_file() and any(path.glob("*.safetensors")):
        return "base"
    return "prompts"


def _is_prompt_file(path: Path) -> bool:
    return file_format(path) is not None and path.is_file()
