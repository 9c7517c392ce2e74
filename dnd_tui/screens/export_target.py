"""The folder that an export writes: what it is called, and what is there already. The functions ask the disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_ADAPTER_SIGN = "adapter_config.json"
_TOLD = 3


def folder_name(name: str, float_type: str) -> str:
    """What the folder of an export is called: the adapter's name as any file system takes it, and the number format."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:80]
    return f"{plain or 'adapter'}-{float_type}"


@dataclass(frozen=True)
class Contents:
    """What a folder holds, by name."""

    names: tuple[str, ...]

    @property
    def is_adapter(self) -> bool:
        """Whether it is the folder of an adapter, which another one may replace."""
        return _ADAPTER_SIGN in self.names

    @property
    def is_other(self) -> bool:
        """Whether it holds anything else, which no export may replace."""
        return bool(self.names) and not self.is_adapter

    @property
    def told(self) -> str:
        """Some of the names."""
        first = ", ".join(self.names[:_TOLD])
        more = len(self.names) - _TOLD
        return f"{first} and {more} more" if more > 0 else first


def contents(folder: Path) -> Contents:
    """What is in a folder; nothing where there is none, or none that can be looked into: the engine tells why."""
    try:
        return Contents(tuple(sorted(os.listdir(folder))))
    except (OSError, ValueError):
        return Contents(())
