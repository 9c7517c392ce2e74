"""Figures as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile


def readable_size(count: float) -> str:
    """A number of bytes: `412 MB`, with powers of ten."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def shared_start(texts: Sequence[str]) -> str:
    """The characters with which all of at least one texts begin."""
    # What the first and the last in order share, all share.
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def prompt_share_words(share: float) -> str:
    """How much of a generated update these prompts make, for people; the rest is the generator's frame."""
    return f"{100 * share:.2g} % of the update; the rest is the same for all prompts"
