"""A few prompts that differ from each other: what a person answers when they answer only a few. Pure.

prompts --(letters in threes)--> sets --(each time the prompt farthest from those chosen)--> places
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_LOOKED_AT = 500
"""Prompts after these are not looked at."""

# Characters of a prompt that are compared.
_COMPARED = 2000


def diverse_places(prompts: Sequence[str], count: int) -> list[int]:
    """Places of up to `count` prompts that differ, in the order of the prompts; always the same for the same prompts.

    The first is the one that is most like all others, so that a stray prompt does not begin; each next one shares the
    smallest part of its letter triples (Jaccard) with the one most like it among those chosen. Of equal prompts at most
    one is chosen, and none that is empty.
    """
    triples: dict[int, frozenset[str]] = {}
    seen: set[str] = set()
    for place, prompt in enumerate(prompts[:MOST_LOOKED_AT]):
        text = " ".join(prompt.split()).casefold()
        if text and text not in seen:
            seen.add(text)
            triples[place] = _triples(text[:_COMPARED])
    if count < 1 or not triples:
        return []
    common: dict[str, int] = {}
    for each in triples.values():
        for triple in each:
            common[triple] = common.get(triple, 0) + 1
    first = max(triples, key=lambda place: sum(common[triple] for triple in triples[place]) / len(triples[place]))
    chosen = [first]
    nearest = {place: _shared(triples[first], each) for place, each in triples.items() if place != first}
    while nearest and len(chosen) < count:
        farthest = min(nearest, key=lambda place: nearest[place])
        chosen.append(farthest)
        del nearest[farthest]
        nearest = {place: max(near, _shared(triples[farthest], triples[place])) for place, near in nearest.items()}
    return sorted(chosen)


def _triples(text: str) -> frozenset[str]:
    return frozenset(text[at : at + 3] for at in range(max(len(text) - 2, 1)))


def _shared(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard: 1 for equal sets, 0 for sets with nothing in common."""
    return len(one & other) / len(one | other)
