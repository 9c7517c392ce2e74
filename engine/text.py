"""Figures as people say them."""

from __future__ import annotations


def readable_size(count: float) -> str:
    """A number of bytes: `412 MB`, with powers of ten."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
