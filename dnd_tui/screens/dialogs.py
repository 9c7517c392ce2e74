"""Small dialogs: an error with what to do, a question with two answers, a question for a text."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from dnd_tui.text import sentence
from engine.errors import EngineError
from engine.host import Failed

FRAME = """
    { align: center middle; background: $background 60%; }
    .frame { width: 72; max-width: 95%; height: auto; max-height: 90%; padding: 1 2; background: $surface; }
    .frame > VerticalScroll { height: auto; max-height: 12; }
    .where { color: $text-muted; margin-top: 1; }
    .hint { margin-top: 1; }
    .buttons { height: auto; align-horizontal: right; margin-top: 1; }
    .buttons Button { margin-left: 2; }
"""


class ErrorDialog(ModalScreen[None]):
    """What is wrong, where, what to do next; the details can be copied."""

    AUTO_FOCUS = "#close"

    DEFAULT_CSS = f"ErrorDialog {FRAME} ErrorDialog .frame {{ border: round $error; }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "close", "Close", id="dialog.close", tooltip="Close this message"),
        Binding("c", "copy", "Copy details", id="dialog.copy", tooltip="Copy the message and its details"),
    ]

    def __init__(self, failure: Failed | EngineError) -> None:
        super().__init__()
        self._failure = failure

    @property
    def text(self) -> str:
        """All of it, for the clipboard."""
        failure = self._failure
        details = failure.details if isinstance(failure, Failed) else ""
        return "\n".join(part for part in (failure.problem, failure.where, failure.hint, details) if part)

    def compose(self) -> ComposeResult:
        """Problem, place, advice."""
        failure = self._failure
        with Vertical(classes="frame") as frame:
            frame.border_title = "Error"
            with VerticalScroll():
                yield Static(sentence(failure.problem), classes="problem", markup=False)
                if failure.where:
                    yield Static(failure.where, classes="where", markup=False)
                if failure.hint:
                    yield Static(sentence(failure.hint), classes="hint", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Copy details", id="copy")
                yield Button("Close", variant="primary", id="close")

    @on(Button.Pressed, "#copy")
    def action_copy(self) -> None:
        """Copy everything."""
        self.app.copy_text(self.text, "the details")  # type: ignore[attr-defined]

    @on(Button.Pressed, "#close")
    def action_close(self) -> None:
        """Back to where the person was."""
        self.dismiss()


class Question(ModalScreen[bool]):
    """A question; escape and the first button, which has the focus, mean no."""

    AUTO_FOCUS = "#no"

    DEFAULT_CSS = f"Question {FRAME} Question .frame {{ border: round $primary; }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "Yes", id="question.yes", tooltip="Answer yes"),
        Binding("n,escape", "no", "No", id="question.no", tooltip="Answer no"),
    ]

    def __init__(self, question: str, *, yes: str, no: str = "Cancel") -> None:
        super().__init__()
        self._question, self._yes, self._no = question, yes, no

    def compose(self) -> ComposeResult:
        """Question, two buttons."""
        with Vertical(classes="frame"):
            with VerticalScroll():
                yield Static(self._question, markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self._no, id="no")
                yield Button(self._yes, variant="warning", id="yes")

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        """Yes."""
        self.dismiss(True)

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        """No."""
        self.dismiss(False)


class TextQuestion(ModalScreen[str | None]):
    """Asks for a line of text; None when the person thinks better of it."""

    DEFAULT_CSS = f"TextQuestion {FRAME} TextQuestion .frame {{ border: round $primary; }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="text.cancel", tooltip="Leave it as it was")
    ]

    def __init__(self, label: str, text: str = "") -> None:
        super().__init__()
        self._label, self._text = label, text

    def compose(self) -> ComposeResult:
        """One field."""
        with Vertical(classes="frame") as frame:
            frame.border_title = self._label
            yield Input(self._text, id="text")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Save", variant="primary", id="save")

    @on(Button.Pressed, "#save")
    @on(Input.Submitted)
    def _save(self) -> None:
        self.dismiss(self.query_one(Input).value)

    @on(Button.Pressed, "#cancel")
    def action_leave(self) -> None:
        """Leave it as it was."""
        self.dismiss(None)
