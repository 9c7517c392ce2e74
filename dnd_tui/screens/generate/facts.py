"""What is shown of runs: what the adapter is made from, what a query costs, seconds; of training its curves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from dnd_tui.state.adapter_record import MADE_FROM_WORDS, REFINED, AdapterRecord
from dnd_tui.text import answers_words, duration, figure, one_line, when_words
from dnd_tui.widgets.loss_plot import LossPlot
from dnd_tui.widgets.table import Table
from engine.adapter.peft_folder import CONFIG_FILE, read_peft_layout
from engine.adapter.provenance import Trained, read_provenance
from engine.errors import EngineError
from engine.events import Event, Note, StageAdvanced, StageFinished, StageStarted
from engine.solver.plan import GENERATOR
from engine.text import prompt_share_words, readable_size

_STAGE = "train"
STOPPED = "stopped"
"""Why a training ended that the person stopped."""


class TrainingPlot(LossPlot):
    """The loss of each step, and that of the watched rows."""

    def handle(self, event: Event) -> None:
        """Take in an event of the run."""
        if isinstance(event, StageAdvanced) and event.stage == _STAGE:
            for name, curve in (("loss", "loss"), ("watched_nats", "watched rows")):
                if name in event.figures:
                    self.add(curve, event.step, event.figures[name])


class TrainingFacts:
    """Steps so far, what the watched rows show of them, and how long it will take."""

    def __init__(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._began = False
        self._will_take = ""
        # Right answers and likelihood of the watched rows: more is better.
        self._looks: list[tuple[float, float]] = []

    def handle(self, event: Event) -> None:
        """Take in an event of the run."""
        if isinstance(event, StageStarted) and event.stage == _STAGE:
            self._began = True
        elif isinstance(event, Note) and self._began and not event.warning:
            self._will_take = event.text
        elif isinstance(event, StageAdvanced) and event.stage == _STAGE:
            self.steps, self.seconds = event.step, event.seconds
            if "watched_right" in event.figures:
                self._looks.append((event.figures["watched_right"], -event.figures["watched_nats"]))

    @property
    def gained(self) -> bool:
        """Whether there is something to keep: the watched rows show it, or, without any, a step was taken."""
        return max(self._looks) > self._looks[0] if self._looks else self.steps > 0

    def lines(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Label and value of each fact; `data` is what the job answered, empty before that."""
        lines = []
        if "steps" in data:
            watched = f"{data['watched']} watched" if data["watched"] else "too few to watch some"
            lines.append(("rows", f"{data['rows']} trained on, {watched}"))
            lines.append(("steps", f"{data['steps']}, the best after {data['best_step']}; {data['ended']}"))
        if self._looks:
            at_first, best = (_look_words(look) for look in (self._looks[0], max(self._looks)))
            now = "" if data else f", now {_look_words(self._looks[-1])}"
            lines.append(("watched rows", f"at first {at_first}{now}, at best {best}"))
        if self._will_take and not data:
            lines.append(("will take", self._will_take))
        return lines


def _look_words(look: tuple[float, float]) -> str:
    right, likelihood = look
    return f"{right:.0f} right ({figure(-likelihood)} nats a token)"


def what_was_kept(folder: Path) -> dict[str, Any] | None:
    """What a training that was stopped has written to `folder`, in the words of one that ends; None for nothing.

    Touches the disk.

    Raises:
        EngineError: what stands there cannot be read.
    """
    if not (folder / CONFIG_FILE).is_file():
        return None
    kept = read_provenance(folder)
    if not isinstance(kept, Trained):
        return None
    layout, _ = read_peft_layout(folder)
    return {
        "parameters": layout.parameters,
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "rows": kept.rows,
        "taught_by": dict(kept.taught_by),
        "watched": kept.watched,
        "steps": kept.steps,
        "best_step": kept.best_step,
        "ended": kept.ended,
    }


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
        known = ("parameters", "bytes", "made_from", "rows", "taught_by", "prompt_share")
        facts.finish({name: getattr(record, name) for name in known})
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
        """The run was stopped in training, whose seconds nobody has reported."""
        self.seconds["train"] = self.training.seconds

    @property
    def verdict(self) -> str:
        """What held-out rows showed of the adapter; empty where it was not checked."""
        return self._verdict

    @property
    def unchecked(self) -> bool:
        """Whether the adapter was solved or trained and nothing is known of how well it does."""
        return self._made_from not in ("", GENERATOR) and not self._verdict

    @property
    def words(self) -> str:
        """What stands above the run: what held-out rows showed, or why they showed nothing."""
        if not self.unchecked:
            return self._verdict and f"Held out: {self._verdict}"
        why = _STOPPED if self._made_from == REFINED else _TOO_FEW
        return f"! Not checked: {why}. Compare it with its base before you rely on it."

    def lines(self) -> list[tuple[str, str]]:
        """Label and value of each fact that is known so far."""
        if not self.seconds:
            return []
        lines = [*self._origin_lines(), *self._time_lines()]
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

    def _time_lines(self) -> list[tuple[str, str]]:
        """What the run took: nothing before it has ended, for a part of a time reads like the whole."""
        if not self._data:
            return []
        loading = sum(self.seconds.get(stage, 0.0) for stage in _LOADING)
        kind = f"cold: {duration(loading)} to load libraries and models" if self._loaded else "warm"
        every = duration(sum(self.seconds.values()))
        return [("prompts to adapter", duration(self.own_seconds)), ("whole run", f"{every}, {kind}")]

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
            text = [f"{rows:,}", *([f"{examples} examples a context"] if examples else [])]
            lines.append(("rows", ", ".join([*text, *([f"{steps} gradient steps"] if steps else [])])))
        share = self._data.get("prompt_share")
        if share is not None:
            lines.append(("from your prompts", prompt_share_words(share)))
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
        return [*lines, *(("difference", words) for words in checked.get("differences", ()))]


class History(Vertical):
    """A table; choosing a run shows its times and picture again."""

    DEFAULT_CSS = """
    History { height: 1fr; Table { height: 1fr; } Static { color: $text-muted; } }
    """

    class Chosen(Message):
        """The person wants to see this run again."""

        def __init__(self, record: AdapterRecord) -> None:
            super().__init__()
            self.record = record

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._records: dict[str, AdapterRecord] = {}

    def compose(self) -> ComposeResult:
        """The table, or a line where there is nothing yet."""
        yield Static(id="none", markup=False)
        yield Table(("Adapter", "Made", "To adapter", "Whole run", "Start", "Prompts"), id="runs")

    async def on_mount(self) -> None:
        """Fill it."""
        await self.refresh_rows()

    async def refresh_rows(self) -> None:
        """Read the library again."""
        none = "No adapter has been made yet"
        try:
            records = await asyncio.to_thread(self.app.library.entries)  # type: ignore[attr-defined]
        except EngineError as error:
            records, none = [], f"✗ {one_line(str(error))}"
        generated = (record for record in records if isinstance(record, AdapterRecord) and record.prompts)
        self._records = {record.id: record for record in generated}
        today = datetime.now().astimezone()
        rows = {}
        for record in self._records.values():
            facts = RunFacts.of(record)
            rows[record.id] = (
                one_line(record.name),
                when_words(record.made, today),
                duration(facts.own_seconds),
                duration(sum(facts.seconds.values())),
                "warm" if record.warm else "cold",
                one_line(record.dataset),
            )
        self.query_one("#none", Static).update(none)
        self.query_one("#none").display = not self._records
        table = self.query_one(Table)
        table.fill(rows)
        table.display = bool(self._records)

    @on(DataTable.RowSelected)
    def _selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.row_key.value in self._records:
            self.post_message(self.Chosen(self._records[event.row_key.value]))
