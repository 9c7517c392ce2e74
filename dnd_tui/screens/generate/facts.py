"""What is said of one run: what the adapter is made from, what a query costs, seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnd_tui.screens.generate.training import TrainingFacts
from dnd_tui.state.adapter_record import MADE_FROM_WORDS, REFINED, AdapterRecord
from dnd_tui.text import answers_words, duration, figure
from engine.events import Event, StageAdvanced, StageFinished
from engine.solver.plan import GENERATOR
from engine.text import readable_size

# From prompts to an adapter in memory: what every further generation costs.
OWN_STAGES = ("read", "answer", "context", "solve", "fit", "train", "encode", "decode", "detokenise")
_LOADING = ("import", "load")
_ARMS = {
    "base": "base alone",
    "examples": "examples in prompt",
    "instruction": "instruction in prompt",
    "before": "adapter before",
    "solved": "this adapter",
    REFINED: "this adapter",
}
_TOO_FEW = "too few rows to keep some back"
_STOPPED = "training was stopped, or there were too few rows to keep some back"


class RunFacts:
    """Collected from the events of a run, or from its record."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.prompts = 0
        self.memory = 0
        self.training = TrainingFacts()
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
        told = ("parameters", "bytes", "made_from", "rows", "taught_by")
        facts.finish({name: getattr(record, name) for name in told})
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
        self.training.handle(event)
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

    def stop(self) -> None:
        """The run was stopped in training, whose seconds nobody has told."""
        self.seconds["train"] = self.training.seconds

    @property
    def verdict(self) -> str:
        """What held-out rows said of the adapter; empty where it was not checked."""
        return self._verdict

    @property
    def unchecked(self) -> bool:
        """Whether the adapter was solved or trained and nothing is known of how well it does."""
        return self._made_from not in ("", GENERATOR) and not self._verdict

    @property
    def told(self) -> str:
        """What stands above the run: what held-out rows said, or why they said nothing."""
        if not self.unchecked:
            return self._verdict and f"Held out: {self._verdict}"
        why = _STOPPED if self._made_from == REFINED else _TOO_FEW
        return f"! Not checked: {why}. Compare it with its base before you rely on it."

    def lines(self) -> list[tuple[str, str]]:
        """Label and value of each fact that is known so far."""
        if not self.seconds:
            return []
        every = sum(self.seconds.values())
        loading = sum(self.seconds.get(stage, 0.0) for stage in _LOADING)
        kind = f"cold: {duration(loading)} to load libraries and models" if self._loaded else "warm"
        lines = [
            *self._origin_lines(),
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

    def _origin_lines(self) -> list[tuple[str, str]]:
        """What the adapter holds, and what a query costs and earns, asked in each way."""
        if not self._made_from:
            return self.training.lines({})
        reason = self._data.get("reason")
        words = MADE_FROM_WORDS.get(self._made_from, self._made_from)
        lines = [("made from", f"{words} ({reason})" if reason else words)]
        taught_by = self._data.get("taught_by")
        if taught_by:
            lines.append(("answers", answers_words(self._data["rows"], taught_by)))
        if self._made_from == REFINED:
            return [*lines, *self.training.lines(self._data), *self._arm_lines()]
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
