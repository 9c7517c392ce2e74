"""Prompts chosen from a set of any size: a seeded sample, those with given numbers, a few that differ."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.prompts.prompt_set import PromptRow, PromptSet, counted_rows, no_prompts

MOST_LOOKED_AT = 500
"""`diverse_places` does not look at prompts after these."""

_REPORT_EVERY = 2000
_COMPARED = 2000  # characters of a prompt
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class PromptBatch:
    """The prompts an adapter is conditioned on. No labels here.

    texts: the prompts, in file order.
    numbers: their places in the set (`PromptRow.number`).
    total: number of prompts in the set, those without text not counted.
    digest: SHA-256 of the texts and their order.
    skipped: rows that had no prompt.
    """

    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    total: int
    digest: str
    skipped: int = 0


def sample_prompts(prompts: PromptSet, count: int, seed: int, reporter: Reporter | None = None) -> PromptBatch:
    """`count` prompts drawn without repetition, each equally likely; all of them when there are no more.

    The same prompts, count and seed give the same batch everywhere. Memory: `count` prompts.
    Reports a stage "read" (unit: rows) and a note when rows were skipped.

    Raises:
        EngineError: `count` is below 1, there is no prompt, or a row cannot be read.
    """
    if count < 1:
        raise EngineError(f"{count} prompts cannot be sampled", hint="Sample at least 1")
    reporter = reporter or Reporter()
    skipped = 0
    total = 0

    with reporter.stage("read", unit="rows") as stage:

        def kept() -> Iterable[PromptRow]:
            nonlocal skipped, total
            for row in counted_rows(prompts.every_row(labels=False), stage):
                if row.prompt:
                    total += 1
                    yield row
                else:
                    skipped += 1

        rows = reservoir(kept(), count, seed)
    if not rows:
        raise no_prompts(prompts.source)
    if skipped:
        reporter.note(f"{skipped} rows without a prompt skipped")
    texts = tuple(row.prompt for row in rows)
    return PromptBatch(texts, tuple(row.number for row in rows), total, digest_json(list(texts)), skipped)


def reservoir(items: Iterable[_Item], count: int, seed: int) -> list[_Item]:
    """`count` of the items, each equally likely, in their order (algorithm R, Vitter 1985).

    Of Python's generator only `random()` is used: its values are promised to stay the same in all versions.
    """
    generator = random.Random(seed)
    kept: list[tuple[int, _Item]] = []
    for place, item in enumerate(items):
        if place < count:
            kept.append((place, item))
            continue
        slot = int(generator.random() * (place + 1))
        if slot < count:
            kept[slot] = (place, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]


def numbered_prompts(prompts: PromptSet, numbers: Sequence[int], reporter: Reporter) -> list[PromptRow]:
    """The prompts with these numbers (`PromptRow.number`), each once, in file order; the pass ends at the last.

    Reports a stage "read" (unit: rows), in which a wish to stop is heard.

    Raises:
        EngineError: there is no such row, it has no prompt, or a row before it cannot be read.
    """
    wanted = set(numbers)
    last = max(wanted, default=0)
    found: list[PromptRow] = []
    seen = 0
    with reporter.stage("read", unit="rows") as stage, closing(prompts.every_row()) as rows:
        for row in rows:
            seen = row.number
            if seen % _REPORT_EVERY == 0:
                stage.advance(_REPORT_EVERY)
            if seen in wanted:
                found.append(row)
            if seen >= last:
                break
        stage.advance(seen % _REPORT_EVERY)
    missing = sorted(wanted - {row.number for row in found})
    if missing:
        raise EngineError(
            f"there is no row {missing[0]}", where=str(prompts.source), hint=f"Its rows are numbered from 1 to {seen}"
        )
    for row in found:
        if not row.prompt:
            raise EngineError(f"row {row.number} has no prompt", where=str(prompts.source))
    return found


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
