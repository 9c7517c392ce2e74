"""Training an adapter on from the app: on Generate, from Library and Compare, stopped, and once more."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, DataTable

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.screens.generate.facts import TrainingPlot
from dnd_tui.screens.generate.screen import GenerateScreen
from dnd_tui.screens.library.screen import LibraryScreen
from dnd_tui.state.adapter_record import REFINED, AdapterRecord
from engine.adapter.card import Subject, card_files
from engine.adapter.peft_folder import peft_files, write_files
from engine.adapter.provenance import Trained
from engine.events import Event, StageAdvanced, StageFinished, StageStarted
from engine.host import Finished, JobEnded, JobEvent, JobStarted, Message, Stopped
from engine.jobs.checks import STATE_FILE
from engine.jobs.results import Result
from engine.requests import ModelChoice, RefineRequest, Request
from engine.weights.layout import Layout, LayoutModule, LoraSpec
from tests.tui.conftest import until
from tests.tui.test_screen_generate import facts, generated, headline, screen, solved, stage_names, verdict
from tests.tui.test_screen_library import recorded
from tests.unit.adapter_parts import random_adapter

LAYOUT = Layout((LayoutModule("model.layers.0.self_attn.o_proj", 4, 4),), LoraSpec(2, 2, ("o_proj",)))


@pytest.fixture
def many_prompts(tmp_path: Path) -> Path:
    """Enough labelled rows that some are watched and some are kept back."""
    file = tmp_path / "letters.jsonl"
    rows = [{"prompt": f"How long is {'a' * (number % 9 + 1)}{number}?", "response": "12"[number % 2]}
            for number in range(40)]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def test_an_adapter_is_trained_on_and_once_more_from_the_same_start(
    app_folders: Path, tiny_models: ModelChoice, many_prompts: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        start = await generated(pilot, app, many_prompts, solved(tiny_models))
        await pilot.press("t")
        await until(pilot, lambda: screen(app).record not in (None, start), "the new adapter")
        record = screen(app).record
        assert record and headline(app) == f"{start.name}, trained on {many_prompts.name} → {record.name}"
        assert record.id != start.id and record.name == f"{start.name}, trained"
        assert (record.made_from, record.start, record.start_name) == (REFINED, start.id, start.name)
        assert record.prompts == start.prompts and set(record.norms) == set(start.norms)
        assert app.library.record(record.id) == record
        assert stage_names(app) == ["import", "read", "load", "train", "check", "attach", "write"]
        # They are drawn a moment after the record is there.
        await until(pilot, lambda: "made from" in facts(app), "the facts")
        told = facts(app)
        assert told["made from"] == "training on answers"
        assert "trained on" in told["rows"] and "watched" in told["rows"] and "the best after" in told["steps"]
        assert "at first" in told["watched rows"] and "at best" in told["watched rows"]
        assert "tokens" in told["adapter before"] and "tokens" in told["this adapter"]
        assert record.verdict and verdict(app) == f"Held out: {record.verdict}"
        curves = screen(app).query_one(TrainingPlot)._curves
        assert curves["loss"].points()[0].size and curves["watched rows"].points()[0].size
        # Again means from the same start, as long as it is there.
        app.library.delete(start.id)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the reason")
        assert isinstance(app.screen, ErrorDialog) and f"{start.name}, the adapter that" in app.screen.text
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, GenerateScreen), "the screen")
        assert screen(app).record == record


class TrainingEngine:
    """Stands where `engine.host.EngineProcess` does: a training goes on until it is stopped.

    heard: it is stopped between two steps, and so writes what it had gained; else only its state is left.
    gains: whether the second look at the watched rows is better than the first.
    """

    pid = None

    def __init__(self, on_message: Callable[[Message], None], *, heard: bool = True, gains: bool = True) -> None:
        self._on_message, self._heard, self._gains = on_message, heard, gains
        self.requests: list[RefineRequest] = []

    def submit(self, request: Request) -> int:
        """Begin; a run with fewer steps than are usual ends by itself."""
        if not isinstance(request, RefineRequest):
            return 0
        self.requests.append(request)
        job = len(self.requests)
        self._on_message(JobStarted(job, warm=True))
        for event in self._events(request):
            self._on_message(JobEvent(job, event))
        if request.steps < RefineRequest.steps:
            self._on_message(JobEnded(job, Finished(Result(self._written(request), ()))))
        return job

    def _events(self, request: RefineRequest) -> list[Event]:
        worse = 1.0 if self._gains else 3.0
        looks = [{"watched_nats": 2.0, "watched_right": 1.0}, {"watched_nats": worse, "watched_right": 1.0}]
        return [
            StageStarted("load"),
            StageFinished("load", 1.0),
            StageStarted("train", request.steps),
            StageAdvanced("train", 0, request.steps, 0.0, looks[0]),
            StageAdvanced("train", 8, request.steps, 4.0, {"loss": 1.5}),
            StageAdvanced("train", 8, request.steps, 4.5, looks[1]),
        ]

    def cancel(self, job: int) -> None:
        """It ends."""
        request = self.requests[job - 1]
        if self._heard and self._gains:
            self._written(request)
        else:
            request.out.mkdir(exist_ok=True)
            (request.out / STATE_FILE).write_bytes(b"")
        self._on_message(JobEnded(job, Stopped()))

    def close(self) -> None:
        """There is nothing to end."""

    def _written(self, request: RefineRequest) -> dict[str, object]:
        told = Trained(
            start="topics", start_digest="", instruction="", prompts_name="a", prompts_digest="", rows=30, watched=8,
            steps=9, best_step=8, ended="stopped", rate=1e-3, seed=0, command="", timings={},
        )  # fmt: skip
        request.out.mkdir(exist_ok=True)
        cards = card_files(Subject(base_id="tiny", architecture="llama", layout=LAYOUT, provenance=told))
        write_files(request.out, peft_files(random_adapter(LAYOUT), "tiny"), cards)
        return {"parameters": 16, "bytes": 1, "rows": 30, "watched": 8, "steps": 8, "best_step": 8, "ended": "all",
                "held_out": {"sentence": "7 of 8 right"}}  # fmt: skip


def with_engine(monkeypatch: pytest.MonkeyPatch, **how: bool) -> list[TrainingEngine]:
    """Apps get such engines; the list holds them once they are there."""
    made: list[TrainingEngine] = []

    def engine(on_message: Callable[[Message], None], log: Path) -> TrainingEngine:
        made.append(TrainingEngine(on_message, **how))
        return made[-1]

    monkeypatch.setattr("dnd_tui.engine_link.EngineProcess", engine)
    return made


async def stopped(pilot: Pilot[None], app: DndApp) -> None:
    """Train an adapter of the library, and stop it when the watched rows have been looked at twice."""
    await app.go("library")
    await until(pilot, lambda: app.screen.query_one("#table", DataTable).row_count == 1, "the adapter")
    app.screen.query_one("#table").focus()
    await pilot.press("t")
    await until(pilot, lambda: isinstance(app.screen, GenerateScreen) and "now 1 right" in str(facts(app)), "two looks")
    await pilot.press("s")


def kept(app: DndApp) -> AdapterRecord | None:
    return screen(app).record


def told(app: DndApp) -> str:
    return " ".join(notification.message for notification in app._notifications)


async def test_stopping_keeps_what_was_gained(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = recorded("topics", made_from="examples", base_id="tiny")
    with_engine(monkeypatch)
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await stopped(pilot, app)
        await until(pilot, lambda: kept(app), "the best state")
        record = kept(app)
        assert record and (record.name, record.start, record.verdict) == ("topics, trained", start.id, "")
        assert record.base_id == "tiny" and record.parameters == 16 and record.bytes > 100
        assert record.seconds == {"load": 1.0, "train": 4.5}
        assert facts(app)["steps"] == "9, the best after 8; stopped"
        assert verdict(app).startswith("! Not checked: training was stopped") and "best state so far" in told(app)


async def test_stopped_in_the_middle_of_a_step_a_run_of_so_many_steps_writes_what_was_gained(
    app_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded("topics", made_from="examples")
    engines = with_engine(monkeypatch, heard=False)
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await stopped(pilot, app)
        await until(pilot, lambda: kept(app), "the best state")
        first, second = engines[0].requests
        assert second == replace(first, steps=8)
        record = kept(app)
        assert record and record.verdict == "7 of 8 right" and record.seconds["train"] == 4.5
        assert facts(app)["steps"].endswith("; stopped") and "being written" in told(app)


async def test_stopped_without_a_gain_nothing_is_kept(app_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("topics", made_from="examples")
    engines = with_engine(monkeypatch, gains=False)
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await stopped(pilot, app)
        await until(pilot, lambda: headline(app) == "Stopped; nothing was written", "the end")
        assert len(engines[0].requests) == 1 and len(app.library.entries()) == 1


async def test_without_answers_there_is_a_reason_instead(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        record = await generated(pilot, app, prompt_file, tiny_models)
        button = screen(app).query_one("#train", Button)
        reason = f"The prompts of {record.name} were read without answers"
        assert record.made_from == "generator"
        # The button is drawn a moment after the record is there.
        await until(pilot, lambda: button.disabled and str(button.tooltip).startswith(reason), "the button's reason")
        await pilot.press("t")
        await until(pilot, lambda: reason in told(app), "the reason")
        recorded("both", origin="combined", source=None)
        await app.go("library")
        await until(pilot, lambda: app.screen.query_one("#table", DataTable).row_count == 2, "the adapters")
        app.screen.query_one("#table").focus()
        await pilot.press("t")
        await until(pilot, lambda: "both was combined, so it has no prompts" in told(app), "the other reason")
        assert isinstance(app.screen, LibraryScreen) and app.engine.jobs == []


async def test_compare_trains_on_the_prompts_that_are_compared(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        # Its own prompts were read without answers; on Compare they are seen.
        start = await generated(pilot, app, prompt_file, tiny_models)
        await app.compare([start])
        await until(pilot, lambda: app.screen.query_one("#prompts-table", DataTable).row_count == 12, "the prompts")
        assert isinstance(app.screen, CompareScreen)
        await pilot.press("T")
        await until(pilot, lambda: isinstance(app.screen, GenerateScreen) and screen(app).running, "the training")
        await pilot.press("s")
        await until(pilot, lambda: not screen(app).running, "its end")
