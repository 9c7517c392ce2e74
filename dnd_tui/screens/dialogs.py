"""Small dialogs: an error with what to do, questions, letters that move the focus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Button, Input, Static, TextArea

from dnd_tui.services import app_of
from dnd_tui.text import sentence
from dnd_tui.widgets.dialog import Dialog
from dnd_tui.widgets.path_inputs import DropTextArea
from engine.host import Failed

Answer = TypeVar("Answer")

FRAME = """
    { align: center middle; background: $background 60%; }
    .frame { width: 72; max-width: 95%; height: auto; max-height: 90%; padding: 1 2; background: $surface; }
    .frame > VerticalScroll { height: auto; max-height: 12; }
    .where { color: $text-muted; margin-top: 1; }
    .hint { margin-top: 1; }
    .buttons { height: auto; align-horizontal: right; margin-top: 1; }
    .buttons Button { margin-left: 2; }
"""


class ErrorDialog(Dialog[str | None]):
    """What is wrong, where, what to do next; the details can be copied.

    Args:
        ways: what can be done next at once, by the name that the dialog gives back; the first has the focus.
    """

    AUTO_FOCUS = ".-primary"

    DEFAULT_CSS = f"ErrorDialog {FRAME} ErrorDialog .frame {{ border: round $error; }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "close", "Close", id="dialog.close", tooltip="Close this message"),
        Binding("c", "copy", "Copy details", id="dialog.copy", tooltip="Copy the message and its details"),
    ]

    def __init__(self, failure: Failed, ways: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._failure = failure
        self._ways = dict(ways or {})

    @property
    def text(self) -> str:
        """All of it, for the clipboard."""
        failure = self._failure
        return "\n".join(filter(None, (failure.problem, failure.where, failure.hint, failure.details)))

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
                for number, (way, title) in enumerate(self._ways.items()):
                    yield Button(title, variant="default" if number else "primary", id=way, classes="way")
                yield Button("Copy details", id="copy")
                yield Button("Close", variant="default" if self._ways else "primary", id="close")

    @on(Button.Pressed, "#copy")
    def action_copy(self) -> None:
        """Copy everything."""
        app_of(self).copy_text(self.text, "the details")

    @on(Button.Pressed, ".way")
    def _go_on(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id)

    @on(Button.Pressed, "#close")
    def action_close(self) -> None:
        """Back to where the person was."""
        self.dismiss(None)


class Question(Dialog[bool]):
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


class FormDialog(Dialog[Answer | None]):
    """A form in a frame; None when the person thinks better of it, by the button "cancel" or by `action_leave`."""

    DEFAULT_CSS = f"FormDialog {FRAME} FormDialog .frame {{ border: round $primary; }}"

    @on(Button.Pressed, "#cancel")
    def action_leave(self) -> None:
        """Leave everything as it was."""
        self.dismiss(None)


class TextQuestion(FormDialog[str]):
    """Asks for a line of text; None when the person thinks better of it."""

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


class LongTextQuestion(Dialog[str | None]):
    """Asks for a text of any number of lines; None when the person thinks better of it.

    Args:
        label: stands above. text: what there is so far.
        placeholder: shown while there is none.
    """

    DEFAULT_CSS = f"""
    LongTextQuestion {FRAME}
    LongTextQuestion {{
        .frame {{ border: round $primary; }}
        TextArea {{ height: 10; max-height: 50vh; }}
        .remark {{ color: $text-muted; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="long_text.cancel", tooltip="Leave it as it was"),
        Binding("ctrl+s", "save", "Save", id="long_text.save", priority=True, tooltip="Keep this text"),
    ]

    def __init__(self, label: str, text: str = "", placeholder: str = "") -> None:
        super().__init__()
        self._label, self._text, self._placeholder = label, text, placeholder

    def compose(self) -> ComposeResult:
        """The text, how to leave."""
        with Vertical(classes="frame") as frame:
            frame.border_title = self._label
            yield DropTextArea(self._text, placeholder=self._placeholder, id="text")
            yield Static("Ctrl+S saves, Esc leaves it as it was", classes="remark", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Save", variant="primary", id="save")

    def on_mount(self) -> None:
        """Go on at the end."""
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)

    @on(Button.Pressed, "#cancel")
    @work(exclusive=True)
    async def action_leave(self) -> None:
        """Leave; what was typed is not thrown away unasked."""
        question = Question("Leave, and lose what you typed?", yes="Leave", no="Go on writing")
        if self.query_one(TextArea).text == self._text or await self.app.push_screen_wait(question):
            self.dismiss(None)

    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        """Hand the text over."""
        self.dismiss(self.query_one(TextArea).text.strip())


# Those under the fingers first; all of them are one key on every keyboard.
LETTERS = "asdfghjklqwertyuiopzxcvbnm1234567890"


class JumpLetter(Static):
    """The letter of one widget, on its upper left corner."""

    def __init__(self, letter: str, target: Widget) -> None:
        super().__init__(f" {letter} ", markup=False)
        self.target = target

    def on_click(self) -> None:
        """Go there."""
        self.screen.dismiss(self.target)


class JumpDialog(Dialog[Widget | None]):
    """The letters over the screen below; the result is the chosen widget."""

    DEFAULT_CSS = """
    JumpDialog {
        background: $background 50%;
        JumpLetter {
            position: absolute; width: 3; height: 1;
            background: $accent; color: $background; text-style: bold;
        }
        JumpLetter:hover { text-style: bold reverse; }
        #jump-hint { dock: bottom; width: 1fr; height: 1; background: $panel; color: $foreground; padding: 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+o", "close", "Close", id="jump.close", tooltip="Leave the focus where it is"),
    ]

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._targets = targets(screen)

    def compose(self) -> ComposeResult:
        """One letter a target."""
        for letter, target in self._targets.items():
            sign = JumpLetter(letter, target)
            sign.styles.offset = target.region.offset
            yield sign
        yield Static("Press a letter or click on it; Esc leaves the focus where it is", id="jump-hint", markup=False)

    def on_key(self, event: events.Key) -> None:
        """A letter moves the focus."""
        target = self._targets.get(event.character or "")
        if target:
            event.stop()
            self.dismiss(target)

    def on_click(self, event: events.Click) -> None:
        """Beside the letters: close."""
        if event.widget is self:
            self.dismiss(None)

    def on_resize(self, event: events.Resize) -> None:
        """The screen below moves, and the letters would stand at the wrong places."""
        if self.is_mounted and event.size != self._at_first:
            self.dismiss(None)

    def on_mount(self) -> None:
        """Remember for what size the letters are placed."""
        self._at_first = self.app.size

    def action_close(self) -> None:
        """Back."""
        self.dismiss(None)


def targets(screen: Screen[Any]) -> Mapping[str, Widget]:
    """What can have the focus and is in view, by letter, in the order of the Tab key."""
    inside = [widget for widget in screen.focus_chain if screen.find_widget(widget).visible_region]
    return dict(zip(LETTERS, inside, strict=False))
