"""Where a transcript goes: Markdown or JSON, asked before a file is replaced."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from dnd_tui.screens.compare.arms import Compared
from dnd_tui.screens.compare.options import CompareOptions
from dnd_tui.screens.compare.rows import Comparison
from dnd_tui.screens.dialogs import FRAME, Question
from dnd_tui.state.transcript import Transcript, write_transcript
from dnd_tui.widgets.path_field import PathField
from engine.errors import EngineError
from engine.events import AnswersScored


def transcript_of(
    comparison: Comparison, compared: Compared, options: CompareOptions, scored: AnswersScored | None
) -> Transcript:
    """What was answered so far, and how it was scored."""
    measured = comparison.measured(scored.metric) if scored else []
    dataset = {"dataset": str(compared.prompts.source)} if compared.prompts else {}
    return Transcript(
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        settings={"base": compared.base_id, **dataset, **options.lines()},
        rows=comparison.transcript_rows(),
        metric=measured[0].metric if measured else None,
        means={score.arm: score.mean for score in measured},
        timings=comparison.timings(),
    )


class SaveDialog(ModalScreen[Path | None]):
    """A path field; the ending of the name says the format."""

    DEFAULT_CSS = f"SaveDialog {FRAME} SaveDialog .frame {{ border: round $primary; }}"
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
        if there and not await self.app.push_screen_wait(Question(f"{path} is there. Replace it?", yes="Replace")):
            return
        try:
            await asyncio.to_thread(partial(write_transcript, self._transcript, path, replace=True))
        except EngineError as error:
            self.app.tell(error)  # type: ignore[attr-defined]
            return
        self.notify(f"Saved to {path}")
        self.dismiss(path)

    @on(Button.Pressed, "#cancel")
    def action_leave(self) -> None:
        """Do not save."""
        self.dismiss(None)
