"""Entries of the library: how one is shown and found, and how a new one gets there.

plan --new place--> request --> device process --> events: stages, remarks
                                               --> Finished: the record is added, `Added`
                                               --> Failed, Stopped: nothing is left behind
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.generate.facts import RunFacts
from dnd_tui.screens.generate.plan import plan_of
from dnd_tui.services import app_of
from dnd_tui.state.adapter_record import MADE_FROM_WORDS, AdapterRecord, DamagedAdapter
from dnd_tui.state.stored import now
from dnd_tui.text import answers_words, duration, one_line, short_path, when_words
from dnd_tui.widgets.lines import fitted
from dnd_tui.widgets.stages import StageList
from engine.errors import EngineError
from engine.events import Note
from engine.host import Failed, Finished
from engine.jobs.command_line import command_line
from engine.requests import ModelChoice, Request
from engine.solver.plan import GENERATOR
from engine.text import readable_size

Entry = AdapterRecord | DamagedAdapter


# Sums can be long; the facts have all of it.
_WIDEST_FROM = 24
COLUMNS = ("Name", "Score, base → adapter", "Made", "From", "Time", "Base")


def cells(entry: Entry, today: datetime) -> tuple[str, ...]:
    """What stands under `COLUMNS`."""
    if isinstance(entry, DamagedAdapter):
        return (entry.id, "damaged", "", "", "", "")
    return (
        one_line(entry.name),
        entry.score_words,
        when_words(entry.made, today),
        fitted(one_line(entry.source_words), _WIDEST_FROM).rstrip(),
        duration(sum(entry.seconds.values())),
        one_line(entry.base_id.rpartition("/")[2]),
    )


def facts(entry: Entry) -> list[tuple[str, str]]:
    """Everything that is known of it."""
    if isinstance(entry, DamagedAdapter):
        return [("damaged", entry.problem), ("folder", short_path(entry.folder))]
    chosen = [name for name in (entry.device, entry.dtype) if name != "auto"]
    rank = f"rank {entry.rank}, " if entry.rank else ""
    lines = [
        ("name", entry.name),
        *_origin(entry),
        ("base", entry.base_id),
        ("made", ", ".join([entry.made[:16].replace("T", " "), *chosen])),
        ("time", f"{duration(sum(entry.seconds.values()))}, {'warm' if entry.warm else 'cold'}"),
        ("adapter", f"{rank}{entry.parameters:,} parameters, {readable_size(entry.bytes)}"),
    ]
    for metric in dict.fromkeys(score.metric for score in entry.scores):
        means = [score for score in entry.scores if score.metric == metric]
        words = ", ".join(f"{score.arm} {score.mean:.3f}" for score in means)
        lines.append((metric, f"{words} on {means[0].rows} row{'' if means[0].rows == 1 else 's'}"))
    if any(entry.picks.values()):
        lines.append(("picks", ", ".join(f"{arm} {count}" for arm, count in entry.picks.items())))
    if entry.note:
        lines.append(("note", entry.note))
    return [*lines, ("folder", short_path(entry.folder))]


def _origin(record: AdapterRecord) -> list[tuple[str, str]]:
    """What it was made of."""
    if record.source is not None:
        column = f", column {record.column}" if record.column else ""
        column += f", template {one_line(record.template)}" if record.template else ""
        prompts = f"{record.count or 'as many as fit'}, seed {record.seed}{column}"
        dataset = ("dataset", short_path(record.source))
        if record.made_from == GENERATOR:
            generator = f"{record.generator or 'released'}, {record.generator_digest[:12]}"
            return [dataset, ("prompts", prompts), ("generator", generator)]
        labels = f", labels {record.label}" if record.label else ""
        made_from = MADE_FROM_WORDS.get(record.made_from, record.made_from)
        return [
            dataset,
            ("made from", f"{made_from}, seed {record.seed}{column}{labels}"),
            *([("answers", answers_words(record.rows or 0, record.taught_by))] if record.taught_by else []),
            *([("trained from", record.start_name)] if record.start else []),
            *([("instruction", one_line(record.context))] if record.context else []),
            ("held out", record.verdict or "not checked"),
        ]
    if record.imported is not None:
        return [("imported from", short_path(record.imported)), *(("changed", each) for each in record.changes)]
    return [("sum of", record.source_words), ("kept", kept_words(record.kept))]


def kept_words(kept: Mapping[str, float]) -> str:
    """How much of a sum its rank keeps; see `AdapterRecord.kept`."""
    if not kept:
        return "all, the sum is exact"
    kinds = {kind: share for kind, share in kept.items() if kind != "all"}
    least = min(kinds, key=lambda kind: kinds[kind], default="")
    words = f"; least of {least}, {kinds[least]:.2%}" if len(kinds) > 1 else ""
    return f"{kept['all']:.2%} of the squared norm{words}"


def finished_words(record: AdapterRecord) -> str:
    """What is shown of an adapter that has just been made."""
    if record.origin == "imported":
        return " ".join([f"Imported as {record.name}.", *record.changes])
    return f"Added {record.name}, rank {record.rank}; kept {kept_words(record.kept)}"


class Search:
    """Finds entries by words. What is known of an entry is put together once: a library has thousands."""

    def __init__(self) -> None:
        self._texts: dict[str, tuple[Entry, str]] = {}

    def found(self, entries: Iterable[Entry], wanted: str) -> list[Entry]:
        """Those of which every word of `wanted` stands somewhere in what is known."""
        words = wanted.casefold().split()
        return [entry for entry in entries if not words or all(word in self._text(entry) for word in words)]

    def _text(self, entry: Entry) -> str:
        known, text = self._texts.get(entry.id, (None, ""))
        if known is not entry:
            text = "\n".join(value for _, value in facts(entry)).casefold()
            self._texts[entry.id] = entry, text
        return text


# Where the command that makes an adapter again writes it, beside the places of the library.
AGAIN = "again"


def command_of(record: AdapterRecord, library: Path) -> str:
    """The headless command that makes the same adapter, beside the places of the library."""
    plan = plan_of(record)
    return command_line(plan.request(library / AGAIN)) if plan else record.command


class Plan(Protocol):
    """An adapter that is to be made.

    name: what it will be called. title: of the job, a verb first. stages: of the job, in order.
    models: base and device.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def title(self) -> str: ...  # noqa: D102

    @property
    def stages(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def models(self) -> ModelChoice: ...  # noqa: D102

    def request(self, folder: Path) -> Request:
        """What makes it, at `folder`."""

    def origin(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fields of its record on what it was made of; `data` is what the job answered."""


class LibraryJob(Vertical):
    """One such job at a time; shown only while there is one."""

    DEFAULT_CSS = """
    LibraryJob {
        display: none; height: auto; padding: 0 1; border: round $primary;
        &.-running { display: block; }
        Horizontal { height: auto; }
        #doing { width: 1fr; height: 1; text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
        StageList { max-height: 6; }
    }
    """

    class Added(Message):
        """The adapter is in the library."""

        def __init__(self, record: AdapterRecord) -> None:
            super().__init__()
            self.record = record

    class Changed(Message):
        """A job began or ended."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plan: Plan | None = None
        self._place = ""
        self._job: jobs.Job | None = None
        self._facts = RunFacts()

    def compose(self) -> ComposeResult:
        """What is done, a button; the stages."""
        with Horizontal():
            yield Static(id="doing", markup=False)
            yield Button("Stop", id="stop", variant="error")
        yield StageList()

    @property
    def running(self) -> bool:
        """Whether an adapter is being made."""
        return self._plan is not None

    def begin(self, plan: Plan) -> None:
        """Make an adapter."""
        if self.running:
            self.notify("Stop the running job first", severity="warning")
            return
        self._plan = plan
        self._start(plan)

    def stop(self) -> None:
        """Stop it; nothing is left of it."""
        if self._job is not None:
            app_of(self).engine.stop(self._job)

    @work(exclusive=True, group="library-job")
    async def _start(self, plan: Plan) -> None:
        try:
            self._place, folder = await asyncio.to_thread(app_of(self).library.new_place)
        except EngineError as error:
            self._end()
            app_of(self).show_error(error)
            return
        self._facts = RunFacts()
        before = app_of(self).engine.jobs
        waits = f", after the job before it: {before[-1].title}" if before else ""
        self._show_headline(f"{plan.title}{waits}")
        self.query_one(StageList).expect(plan.stages)
        self._job = app_of(self).engine.start(plan.request(folder), plan.title, self)
        self.add_class("-running")
        self.post_message(self.Changed())

    def _show_headline(self, text: str) -> None:
        self.query_one("#doing", Static).update(one_line(text[:1].upper() + text[1:]))

    @on(jobs.JobBegan)
    def _began(self, message: jobs.JobBegan) -> None:
        if message.job is self._job:
            self._show_headline(message.job.title)

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        for event in message.events:
            self.query_one(StageList).handle(event)
            self._facts.handle(event)
            if isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        plan, outcome = self._plan, message.outcome
        if message.job is not self._job or plan is None:
            return
        record = None
        if isinstance(outcome, Finished):
            try:
                record = await asyncio.to_thread(app_of(self).library.add, self._record(plan, outcome.result.data))
            except EngineError as error:
                app_of(self).show_error(error)
        if record is None:
            # Stopped a moment too late, the adapter may be there; killed, half of it.
            await asyncio.to_thread(app_of(self).library.give_up, self._place)
        self._end()
        if record is not None:
            self.post_message(self.Added(record))
        elif isinstance(outcome, Failed):
            app_of(self).show_error(outcome)
        else:
            self.notify("Stopped; nothing was added")

    def _end(self) -> None:
        self._plan = self._job = None
        self.remove_class("-running")
        self.post_message(self.Changed())

    def _record(self, plan: Plan, data: Mapping[str, Any]) -> AdapterRecord:
        library, models = app_of(self).library, plan.models
        return AdapterRecord(
            id=self._place,
            name=plan.name,
            folder=Path(data["adapter"]),
            base_id=data["base"],
            base=models.base,
            device=models.device,
            dtype=models.dtype,
            made=now(),
            seconds=dict(data["seconds"]),
            warm=self._facts.warm,
            rank=data["rank"],
            parameters=data["parameters"],
            bytes=data["bytes"],
            command=command_line(plan.request(library.folder / AGAIN)),
            **plan.origin(data),
        )

    @on(Button.Pressed, "#stop")
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.stop()
