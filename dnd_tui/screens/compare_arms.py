"""What a comparison is of: adapters of the library, or a chain of layers, beside their base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnd_tui.screens.compare_options import CompareOptions
from dnd_tui.state.adapter_record import AdapterRecord
from engine.requests import CompareRequest, ModelChoice, PromptChoice

BASE = "base"


@dataclass(frozen=True)
class Compared:
    """The arms and the prompts of a comparison.

    prompts: those that are listed: the adapters' own, else those that the person chose; None before that.
    labels: of the arms, as the screen names them; the base first.
    base_id: what the base is. name: what a file of the answers is called.
    adapters: PEFT folders. chain: as `CompareRequest.chain`.
    records: the adapters in the library, where figures are kept; none for a chain.
    """

    models: ModelChoice
    prompts: PromptChoice | None
    labels: tuple[str, ...]
    base_id: str
    name: str
    adapters: tuple[Path, ...] = ()
    chain: str | None = None
    records: tuple[AdapterRecord, ...] = ()

    @classmethod
    def of_records(cls, records: Sequence[AdapterRecord]) -> Compared:
        """Adapters of one base, on the prompts of the first that has prompts of its own."""
        first = records[0]
        return cls(
            models=first.models,
            prompts=next((record.prompts for record in records if record.prompts), None),
            labels=(BASE, *map(_label, records)),
            base_id=first.base_id,
            name=first.name,
            adapters=tuple(record.folder for record in records),
            records=tuple(records),
        )

    @property
    def key(self) -> tuple[object, ...]:
        """Equal where an open comparison goes on: names and figures in a record may change meanwhile."""
        ids = tuple(record.id for record in self.records)
        return ids or (self.models, self.prompts, self.adapters, self.chain)

    def request(self, numbers: Sequence[int], texts: Sequence[str], options: CompareOptions) -> CompareRequest:
        """Answers to the prompts of these numbers, and to these texts."""
        return CompareRequest(
            models=self.models,
            prompts=self.prompts if numbers else None,
            adapters=self.adapters,
            chain=self.chain,
            numbers=tuple(numbers),
            texts=tuple(texts),
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            sampling_seed=options.seed,
            metric=options.metric,
        )


def _label(record: AdapterRecord) -> str:
    return record.name if record.name != BASE else f"{BASE} (adapter)"
