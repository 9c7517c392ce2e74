"""What is said of one run: what the adapter is made from, what a query costs, seconds, and LoRA training beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnd_tui.jobs import Job
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import duration, figure
from engine.events import Event, StageAdvanced, StageFinished
from engine.host import Finished, Outcome
from engine.solver.plan import GENERATOR, KIND_WORDS
from engine.text import readable_size

# From prompts to an adapter in memory: what every further generation costs.
OWN_STAGES = ("read", "answer", "context", "solve", "fit", "encode", "decode", "detokenise")
_LOADING = ("import", "load")
_ARMS = {
    "base": "base alone",
    "examples": "examples in prompt",
    "instruction": "instruction in prompt",
    "solved": "this adapter",
}
NOT_CHECKED = "Not checked: too few rows to keep some back. Compare it with its base before you rely on it."


class RunFacts:
    """Collected from the events of a run, or from its record."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.prompts = 0
        self.memory = 0
        self._loaded = False
        self._cached = False
        self._data: Mapping[str, Any] = {}
        self._made_from = ""
        self._verdict = ""

    @classmethod
    def of(cls, record: AdapterRecord) -> RunFacts:
        """The facts of an earlier run."""
        facts = cls()
        facts.seconds = dict(record.seconds)
        facts._loaded = not record.warm
        facts.finish({"parameters": record.parameters, "bytes": record.bytes, "made_from": record.made_from})
        facts._verdict = record.verdict
        return facts

    @property
    def warm(self) -> bool:
        """Whether libraries and models were in memory before."""
        return not self._loaded

    @property
    def own_seconds(self) -> float:
        """From prompts to the adapter in memory."""
        return sum(self.seconds.get(stage, 0.0) for stage in OWN_STAGES)

    def handle(self, event: Event) -> None:
        """Take in an event of the run."""
        if isinstance(event, StageAdvanced) and event.stage == "encode":
            self.prompts = event.step
        elif isinstance(event, StageFinished):
            self.seconds[event.stage] = self.seconds.get(event.stage, 0.0) + event.seconds
            self.memory = max(self.memory, event.memory or 0)
            if event.stage == "load" and not event.note:
                self._loaded = True
            if event.stage == "encode":
                self._cached = bool(event.note)

    def finish(self, data: Mapping[str, Any]) -> None:
        """The run ended well; `data` is what it answered."""
        self._data = data
        self._made_from = data["made_from"]
        self._verdict = (data.get("held_out") or {}).get("sentence", "")

    @property
    def verdict(self) -> str:
        """What held-out rows said of the adapter; empty where it was not checked."""
        return self._verdict

    @property
    def unchecked(self) -> bool:
        """Whether the adapter was solved and nothing is known of how well it does."""
        return self._made_from not in ("", GENERATOR) and not self._verdict

    def lines(self) -> list[tuple[str, str]]:
        """Label and value of each fact that is known so far."""
        if not self.seconds:
            return []
        every = sum(self.seconds.values())
        loading = sum(self.seconds.get(stage, 0.0) for stage in _LOADING)
        kind = f"cold: {duration(loading)} to load libraries and models" if self._loaded else "warm"
        lines = [
            *self._solved_lines(),
            ("prompts to adapter", duration(self.own_seconds)),
            ("whole run", f"{duration(every)}, {kind}"),
        ]
        encode = self.seconds.get("encode", 0.0)
        if self._cached:
            lines.append(("throughput", "these prompts were encoded before"))
        elif self.prompts and encode:
            lines.append(("throughput", f"{figure(self.prompts / encode)} prompts/s encoded"))
        if self.memory:
            lines.append(("memory", readable_size(self.memory)))
        if self._data:
            size = readable_size(self._data["bytes"])
            lines.append(("adapter", f"{self._data['parameters']:,} parameters, {size}"))
        return lines

    def _solved_lines(self) -> list[tuple[str, str]]:
        """What the adapter holds, and what a query costs and earns, asked in each way."""
        if not self._made_from:
            return []
        reason = self._data.get("reason")
        words = KIND_WORDS.get(self._made_from, self._made_from)
        lines = [("made from", f"{words} ({reason})" if reason else words)]
        rows, examples, steps = (self._data.get(name, 0) for name in ("rows", "examples", "fit_steps"))
        if rows:
            told = [f"{rows:,}", *([f"{examples} examples a context"] if examples else [])]
            lines.append(("rows", ", ".join([*told, *([f"{steps} gradient steps"] if steps else [])])))
        if self._data.get("start") == GENERATOR:
            lines.append(("added to", "the generator's own adapter"))
        return [*lines, *self._arm_lines()]

    def _arm_lines(self) -> list[tuple[str, str]]:
        checked = self._data.get("held_out") or {}
        scores, metric = checked.get("scores", {}), checked.get("metric", "").replace("_", " ")
        lines = []
        for arm, cost in checked.get("arms", {}).items():
            asked = f"{cost['tokens_per_query']:,.0f} tokens, {cost['seconds_per_query']:.2f} s a query"
            scored = f"{scores[arm]:.2f} by {metric}, " if arm in scores else ""
            lines.append((_ARMS.get(arm, arm), f"{scored}{asked}"))
        return [*lines, *(("difference", told) for told in checked.get("differences", ()))]


class LoraTraining:
    """The time that LoRA training on the same rows takes: measured, or not."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._data: Mapping[str, Any] | None = None

    @property
    def running(self) -> bool:
        """Whether it is being measured."""
        return self.job is not None and self.job.outcome is None

    def end(self, outcome: Outcome) -> None:
        """The measuring ended."""
        if isinstance(outcome, Finished):
            self._data = outcome.result.to_json()

    def lines(self, facts: RunFacts) -> list[tuple[str, str]]:
        """One line, when there is a generation to compare with."""
        if not facts.seconds:
            return []
        return [("LoRA training", self._value(facts))]

    def _value(self, facts: RunFacts) -> str:
        if self.running:
            return "being measured"
        if self._data is None:
            return "not measured yet (m measures it)"
        epoch = self._data["epoch_seconds"]
        ratio = f", {epoch / facts.own_seconds:,.0f} times as long" if facts.own_seconds else ""
        steps = self._data["measured_steps"]
        return f"{duration(epoch)} an epoch of {self._data['rows']:,} rows{ratio} (from {steps} steps measured)"
