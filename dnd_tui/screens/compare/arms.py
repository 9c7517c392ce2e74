"""What a comparison is of, adapters of the library or a chain of layers beside their base; how answers are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dnd_tui.judged import verdict_text
from dnd_tui.screens.compare.rows import Comparison
from dnd_tui.settings import Settings
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore
from engine.events import AnswersScored
from engine.requests import CompareRequest, ModelChoice, PromptChoice

BASE = "base"
EXAMPLES = "examples in the prompt"
_ADAPTED = "adapted"
# Of a metric that fits the labels.
BY_ITSELF = "chosen by itself"


@dataclass(frozen=True)
class CompareOptions:
    """As in `engine.requests.CompareRequest`; without a metric it is chosen by itself.

    chat_tokens: of the longest answer in a chat.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    metric: str | None = None
    examples: int = 0
    chat_tokens: int = 256

    @classmethod
    def of(cls, settings: Settings) -> CompareOptions:
        """The person's defaults."""
        return cls(settings.max_new_tokens, metric=settings.metric)

    def lines(self) -> dict[str, str]:
        """Name and value of each, for a transcript."""
        drawn = f"temperature {self.temperature:g}, seed {self.seed}" if self.temperature else "the likeliest token"
        shown = {"examples in the prompt": str(self.examples)} if self.examples else {}
        return {
            "longest answer": f"{self.max_new_tokens} tokens",
            "chosen": drawn,
            "metric": self.metric or BY_ITSELF,
            **shown,
        }


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

    def arms(self, examples: int) -> tuple[str, ...]:
        """The labels of all arms, with the base that has examples in its prompt after the base."""
        return (self.labels[0], EXAMPLES, *self.labels[1:]) if examples else self.labels

    def verdict(self, comparison: Comparison, scored: AnswersScored) -> str:
        """What the scores show of the first adapter, or of the chain; nothing before anything is scored."""
        base, subject = self.labels[:2]
        many = f"{scored.examples} example{'' if scored.examples == 1 else 's'}"
        titles = {base: "the base alone", EXAMPLES: f"the base with {many} in the prompt"}
        if len(self.labels) == 2:
            titles[subject] = "the chain" if self.chain is not None else "the adapter"
        arms = dict.fromkeys((subject, *comparison.arms))
        return verdict_text(comparison.judged(), list(arms), scored, titles)

    @property
    def earlier_picks(self) -> dict[str, int]:
        """Picks of earlier comparisons by label: kept for one adapter of the library against its base."""
        if len(self.records) != 1:
            return {}
        picks = self.records[0].picks
        return {self.labels[0]: picks.get(BASE, 0), self.labels[1]: picks.get(_ADAPTED, 0)}

    def kept(
        self, measured: Sequence[AdapterScore], picks: Mapping[str, int]
    ) -> tuple[str, list[AdapterScore], dict[str, int]] | None:
        """What the library keeps of a comparison: id, scores and picks of one adapter and its base; else None."""
        if len(self.records) != 1:
            return None
        names = {self.labels[0]: BASE, self.labels[1]: _ADAPTED}
        scores = [replace(score, arm=names[score.arm]) for score in measured if score.arm in names]
        return self.records[0].id, scores, {name: picks[label] for label, name in names.items()}

    def request(self, numbers: Sequence[int], texts: Sequence[str], options: CompareOptions) -> CompareRequest:
        """Answers to the prompts of these numbers, and to these texts."""
        return CompareRequest(
            models=self.models,
            prompts=self.prompts if numbers or options.examples else None,
            adapters=self.adapters,
            chain=self.chain,
            numbers=tuple(numbers),
            texts=tuple(texts),
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            sampling_seed=options.seed,
            metric=options.metric,
            examples=options.examples,
        )


def _label(record: AdapterRecord) -> str:
    return f"{record.name} (adapter)" if record.name in (BASE, EXAMPLES) else record.name
