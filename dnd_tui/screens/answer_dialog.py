"""A person answers a few prompts: the answers become a prompt file of their own, from which an adapter can be solved.

prompts --AnswerDialog--> (prompt, answer) pairs --save_answers--> answers-NAME.jsonl
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Input, Static

from dnd_tui.screens.dialogs import FRAME, Question
from dnd_tui.text import printable
from dnd_tui.widgets.dialog import Dialog
from engine.prompts.answer_sheet import SheetRow, write_sheet
from engine.solver.plan import FEWEST_ANSWERS

Answers = list[tuple[str, str]]
# Characters of a prompt that are shown.
_SHOWN = 1000


class AnswerDialog(Dialog[Answers | None]):
    """Prompts with a field each; the pairs of those that were answered, at least two, or None.

    Args:
        prompts: shown one below the other.
    """

    AUTO_FOCUS = ""

    DEFAULT_CSS = f"""
    AnswerDialog {FRAME}
    AnswerDialog {{
        .frame {{ width: 100; border: round $primary; }}
        .frame > VerticalScroll {{ max-height: 65vh; }}
        &.-short .frame > VerticalScroll {{ max-height: 50vh; }}
        .prompt {{ height: auto; margin-top: 1; }}
        .remark {{ color: $text-muted; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="answer.cancel", tooltip="Leave without answers"),
        Binding("ctrl+s", "save", "Use answers", id="answer.save", priority=True, tooltip="Use these answers"),
    ]

    def __init__(self, prompts: Sequence[str]) -> None:
        super().__init__()
        self._prompts = prompts

    def compose(self) -> ComposeResult:
        """A line on how, the prompts with their fields, two buttons."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Answer as the adapter should"
            yield Static("Answer at least two. Leave empty what you do not know.", classes="remark", markup=False)
            with VerticalScroll(can_focus=False):
                for number, prompt in enumerate(self._prompts, 1):
                    more = " …" if len(prompt) > _SHOWN else ""
                    yield Static(f"{number}. {printable(prompt[:_SHOWN])}{more}", classes="prompt", markup=False)
                    yield Input(placeholder="your answer", compact=True, classes="answer")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Use these answers", variant="primary", id="save", disabled=True)

    def on_mount(self) -> None:
        """Begin with the first, without scrolling its prompt away."""
        self.query(Input).first().focus(scroll_visible=False)

    @property
    def answers(self) -> Answers:
        """What was answered so far."""
        fields = self.query(".answer").results(Input)
        pairs = zip(self._prompts, (field.value.strip() for field in fields), strict=True)
        return [(prompt, answer) for prompt, answer in pairs if answer]

    @on(Input.Changed)
    def _typed(self) -> None:
        self.query_one("#save", Button).disabled = len(self.answers) < FEWEST_ANSWERS

    @on(events.DescendantFocus)
    def _show_prompt(self, event: events.DescendantFocus) -> None:
        """A field is of no use without its prompt."""
        fields = list(self.query(".answer"))
        if event.widget in fields:
            prompt = self.query(".prompt")[fields.index(event.widget)]
            self.call_after_refresh(prompt.scroll_visible, animate=False)

    @on(Input.Submitted)
    def _next(self) -> None:
        self.focus_next()

    @on(Button.Pressed, "#save")
    def action_save(self) -> None:
        """Hand the answers over, if they are enough."""
        if len(self.answers) >= FEWEST_ANSWERS:
            self.dismiss(self.answers)

    @on(Button.Pressed, "#cancel")
    @work(exclusive=True)
    async def action_leave(self) -> None:
        """Leave; what was typed is not thrown away unasked."""
        question = Question("Leave, and lose these answers?", yes="Leave", no="Go on answering")
        if not self.answers or await self.app.push_screen_wait(question):
            self.dismiss(None)


def save_answers(folder: Path, source: Path, answers: Answers) -> Path:
    """Write answers to prompts of `source` into `folder`, as a prompt file of a new name, which is returned.

    Raises:
        EngineError: the disk is full or the folder cannot be written.
    """
    file = free_answers_file(folder, source)
    write_sheet(file, (SheetRow(*pair) for pair in answers))
    return file


def free_answers_file(folder: Path, source: Path) -> Path:
    """Where in `folder` answers to prompts of `source` can go: a new name. Touches the disk."""
    name = f"answers-{source.name.partition('.')[0] or source.name}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(path for each in names if not (path := folder / f"{each}.jsonl").exists())
