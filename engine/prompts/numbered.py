"""The prompts with given numbers, in one pass that ends at the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from engine.errors import EngineError
from engine.events import Reporter
from engine.prompts.prompt_set import PromptRow, PromptSet

_REPORT_EVERY = 2000


def numbered_prompts(prompts: PromptSet, numbers: Sequence[int], reporter: Reporter) -> list[PromptRow]:
    """The prompts with these numbers (`PromptRow.number`), each once, in file order.

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
