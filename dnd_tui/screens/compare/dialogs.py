"""Dialogs of the Compare screen: how answers are made and scored, prompts for adapters without any, transcripts."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.validation import Number
from textual.widgets import Button, Input, Select, Static

from dnd_tui.options import OPTIONS
from dnd_tui.screens.compare.arms import BY_ITSELF, Compared, CompareOptions
from dnd_tui.screens.compare.rows import Comparison
from dnd_tui.screens.dialogs import FormDialog, Question
from dnd_tui.screens.drop.sources import source_of
from dnd_tui.services import app_of
from dnd_tui.state.stored import now
from dnd_tui.state.transcript import Transcript, write_transcript
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import FormField, WholeNumber
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput, Dropped
from engine.errors import EngineError
from engine.events import AnswersScored

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


# What is offered where the prompts have answers.
_EXAMPLES = 8


class OptionsDialog(FormDialog[CompareOptions]):
    """The form; None when the person thinks better of it.

    Args:
        answered: the prompts have known answers, so that there can be examples.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="options.cancel", tooltip="Leave the options as they were")
    ]

    def __init__(self, options: CompareOptions, *, answered: bool) -> None:
        super().__init__()
        self._options = options
        self._answered = answered

    def compose(self) -> ComposeResult:
        """Six fields."""
        old = self._options
        metrics = ((BY_ITSELF, ""), *((name, name) for name in OPTIONS["metric"].choices))
        offered = f"none; {_EXAMPLES} are usual" if self._answered else "none: the prompts have no answers"
        with Vertical(classes="frame") as frame:
            frame.border_title = "Answers"
            yield FormField(
                "Longest",
                DropInput(str(old.max_new_tokens), id="max", validators=WholeNumber(1), compact=True),
                "Longest answer, in tokens",
            )
            yield FormField(
                "In a chat",
                DropInput(str(old.chat_tokens), id="chat", validators=WholeNumber(1), compact=True),
                "Longest answer in a chat, in tokens",
            )
            yield FormField(
                "Temperature",
                DropInput(f"{old.temperature:g}", id="temperature", validators=Number(0, 10), compact=True),
                "0 takes the likeliest token; more draws tokens, with the same random numbers for base and adapters",
            )
            yield FormField(
                "Seed",
                DropInput(str(old.seed), id="seed", validators=WholeNumber(), compact=True),
                "Seed of the drawn tokens",
            )
            yield FormField(
                "Metric",
                Select(metrics, value=old.metric or "", allow_blank=False, id="metric", compact=True),
                "How an answer is scored against its label; by default the metric that fits the labels",
            )
            yield FormField(
                "Examples",
                DropInput(
                    str(old.examples) if old.examples else "",
                    placeholder=offered,
                    id="examples",
                    validators=WholeNumber(0, empty=True),
                    valid_empty=True,
                    compact=True,
                ),
                "How many answered prompts the base also gets before each prompt, as an arm of its own",
            )
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Use", variant="primary", id="use")

    @on(Input.Submitted)
    @on(Button.Pressed, "#use")
    def _use(self) -> None:
        inputs = list(self.query(DropInput))
        wrong = [one for one in inputs if (found := one.validate(one.value)) and not found.is_valid]
        if wrong:
            wrong[0].focus()
            self.notify("Correct the marked number first", severity="error")
            return
        value = {one.id: one.value for one in inputs}
        metric = str(self.query_one("#metric", Select).value) or None
        examples = int(value["examples"].strip() or 0)
        self.dismiss(
            CompareOptions(
                int(value["max"]),
                float(value["temperature"]),
                int(value["seed"]),
                metric,
                examples,
                int(value["chat"]),
            )
        )


async def ask_for_prompts(app: DndApp) -> Path | None:
    """Ask for a prompt file, the one used last at hand; None when the person thinks better of it. From a worker."""
    last = ""
    try:
        used = await ask_disk(app.recent.newest_first)
        last = next((str(source.path) for source in used if not source.missing), "")
    except (EngineError, TimeoutError) as error:
        app.journal.add(f"recent sources: {error}", warning=True)
    return await app.push_screen_wait(PromptsDialog(last))


async def dropped_prompts(app: DndApp, paths: tuple[Path, ...]) -> Path | None:
    """The prompts that were dropped; None if it is something else, which goes on to the app."""
    with suppress(TimeoutError):
        source = await ask_disk(partial(source_of, paths))
        if source.kind == "prompts":
            return source.path
    app.post_message(Dropped(paths))
    return None


class PromptsDialog(FormDialog[Path]):
    """A path field."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="prompts.cancel", tooltip="Leave the prompts as they were")
    ]

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def compose(self) -> ComposeResult:
        """One path, one remark."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Prompts to answer"
            yield PathField(self._path, placeholder="~/data/prompts.jsonl", takes_drops=True, id="path")
            yield Static("A prompt file, or a folder of them. With labels, answers are scored.", classes="hint")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Use", variant="primary", id="use")

    def on_mount(self) -> None:
        """Ready for typing."""
        self.query_one(PathField).focus()

    @on(PathField.Submitted)
    @on(Button.Pressed, "#use")
    def _use(self) -> None:
        path = self.query_one(PathField).path
        if path is not None:
            self.dismiss(path)


def transcript_of(
    comparison: Comparison, compared: Compared, options: CompareOptions, scored: AnswersScored | None
) -> Transcript:
    """What was answered so far, and how it was scored."""
    measured = comparison.measured(scored.metric) if scored else []
    dataset = {"dataset": str(compared.prompts.source)} if compared.prompts else {}
    decoder = {"decoder": comparison.decoder} if comparison.decoder else {}
    return Transcript(
        made=now(),
        settings={"base": compared.base_id, **dataset, **options.lines(), **decoder},
        rows=comparison.transcript_rows(),
        metric=measured[0].metric if measured else None,
        means={score.arm: score.mean for score in measured},
        timings=comparison.timings(),
    )


class SaveDialog(FormDialog[Path]):
    """A path field; the ending of the name chooses the format."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="save.cancel", tooltip="Do not save")
    ]

    def __init__(self, transcript: Transcript, name: str) -> None:
        super().__init__()
        self._transcript = transcript
        safe = re.sub(r"[^\w.-]+", "-", name)
        self._path = Path.cwd() / f"{safe}-answers.md"

    def compose(self) -> ComposeResult:
        """One path, one remark."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Save the transcript"
            yield PathField(str(self._path), kind="file", id="path")
            yield Static(f"{len(self._transcript.rows)} prompts. A name with .json is written as JSON, else Markdown")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Save", variant="primary", id="save")

    @on(PathField.Submitted)
    @on(Button.Pressed, "#save")
    @work(exclusive=True)
    async def _save(self) -> None:
        path = self.query_one(PathField).path
        if path is None:
            return
        there = await asyncio.to_thread(path.exists)
        if there and not await self.app.push_screen_wait(Question(f"Replace {path}?", yes="Replace")):
            return
        try:
            await asyncio.to_thread(partial(write_transcript, self._transcript, path, replace=True))
        except EngineError as error:
            app_of(self).show_error(error)
            return
        self.notify(f"Saved to {path}")
        self.dismiss(path)
