"""The folder that an export writes: what it is called, and what is there already. The functions ask the disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_ADAPTER_SIGN = "adapter_config.json"
# What stands beside the card in a folder of the other forms.
_CARD = "README.md"
_EXPORT_SIGNS = frozenset(
    {"adapter.gguf", "model.gguf", "Modelfile", "model.safetensors", "model.safetensors.index.json"}
)
_TOLD = 3


def folder_name(name: str, form: str, float_type: str) -> str:
    """What the folder of an export is called: the adapter's name as any file system takes it, form and number format.

    The form is left out of a PEFT folder's name.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:80]
    return "-".join([plain or "adapter", *(() if form == "peft" else (form,)), float_type])


@dataclass(frozen=True)
class Contents:
    """What a folder holds, by name; or that it is a file."""

    names: tuple[str, ...]
    is_file: bool = False

    @property
    def is_export(self) -> bool:
        """Whether it is the folder of an adapter or of another export, which a new one may replace."""
        return _ADAPTER_SIGN in self.names or (_CARD in self.names and not _EXPORT_SIGNS.isdisjoint(self.names))

    @property
    def is_other(self) -> bool:
        """Whether it holds anything else, which no export may replace."""
        return bool(self.names) and not self.is_export

    @property
    def told(self) -> str:
        """Some of the names."""
        first = ", ".join(self.names[:_TOLD])
        more = len(self.names) - _TOLD
        return f"{first} and {more} more" if more > 0 else first


def contents(folder: Path) -> Contents:
    """What is in a folder; nothing where there is none, or none that can be looked into: the engine tells why."""
    try:
        if folder.is_file():
            return Contents((), is_file=True)
        return Contents(tuple(sorted(os.listdir(folder))))
    except (OSError, ValueError):
        return Contents(())
