"""A seeded sample of prompts, in one pass over a set of any size."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.prompts.prompt_set import PromptRow, PromptSet, counted_rows, no_prompts

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
