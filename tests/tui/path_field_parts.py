"""A host app with one path field, and files for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual import events, on
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Button, Input, Label

from dnd_tui.widgets.path_completion import PathCompletion
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropApp, Dropped


class Host(DropApp[None]):
    """One field, and what it tells."""

    def __init__(self, **named: Any) -> None:
        super().__init__()
        self._named = named
        self.submitted: list[Path] = []
        self.changed: list[str] = []
        self.drops: list[tuple[Path, ...]] = []
        self.leaked: list[object] = []

    def compose(self) -> ComposeResult:
        self.field = PathField(**self._named)
        yield self.field
        yield Button("Other", id="other")
        yield Label("below " * 200)

    def on_mount(self) -> None:
        self.field.focus()

    @on(PathField.Submitted)
    def _submitted(self, message: PathField.Submitted) -> None:
        assert message.control is self.field
        self.submitted.append(message.path)

    @on(PathField.Changed)
    def _changed(self, message: PathField.Changed) -> None:
        assert message.control is self.field
        self.changed.append(message.value)

    @on(Dropped)
    def _dropped(self, message: Dropped) -> None:
        self.drops.append(message.paths)

    @on(Input.Changed)
    @on(Input.Submitted)
    @on(Button.Pressed, "PathField Button")
    def _leak(self, message: Input.Changed | Input.Submitted | Button.Pressed) -> None:
        self.leaked.append(message)

    @property
    def offered(self) -> list[str]:
        """The rows of the completion, as far as it is shown."""
        completion = self.query_one(PathCompletion)
        rows = completion.option_list.options
        return [str(row.prompt) for row in rows] if completion.display else []

    @property
    def complaint(self) -> str:
        return str(self.query_one("PathField Input").border_subtitle or "")


def make_tree(folder: Path) -> Path:
    """A few files and folders with tempting names."""
    for name in ("alpha folder", "Beta", ".hidden"):
        (folder / name).mkdir(parents=True)
    for name in ("prompts.jsonl", "prompts.jsonl.bak", "a b.txt", ".env", "alpha folder/inside.txt", "bad\x1b[2Jname"):
        (folder / name).touch()
    return folder


async def type_text(pilot: Pilot[Any], text: str) -> None:
    for character in text:
        pilot.app.post_message(events.Key(character, character))
    await pilot.pause()
