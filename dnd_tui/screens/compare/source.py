"""Prompts for adapters that have none of their own: chosen in a dialog, or dropped on the Compare screen."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from dnd_tui.screens.dialogs import FRAME
from dnd_tui.screens.drop.sources import source_of
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import Dropped
from engine.errors import EngineError

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


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


class PromptsDialog(ModalScreen[Path | None]):
    """A path field."""

    DEFAULT_CSS = f"PromptsDialog {FRAME} PromptsDialog .frame {{ border: round $primary; }}"
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

    @on(Button.Pressed, "#cancel")
    def action_leave(self) -> None:
        """Leave the prompts as they were."""
        self.dismiss(None)
