"""Who is to answer prompts, how many, and with which instruction.

    teacher, model, count, instruction --TeachDialog--> TeachWish --request--> TeachRequest

A key is never asked for here, shown or kept: the engine reads it from the environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from dnd_tui.screens.dialogs import FormDialog
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import FormField, WholeNumber, problem_in
from dnd_tui.widgets.path_completion import BaseSuggester
from dnd_tui.widgets.path_inputs import DropInput, Dropped
from engine.errors import EngineError
from engine.requests import ModelChoice, PromptChoice, TeachRequest
from engine.solver.plan import read_context
from engine.teacher.endpoint import is_endpoint

KEY_FROM = TeachRequest.key_from
_EXAMPLE = "http://127.0.0.1:8080/v1"
# A server that is named without its scheme would be taken for a model.
_NO_SCHEME = re.compile(r"[\w.-]+:\d+(/|$)|\w+://")


@dataclass(frozen=True)
class TeachWish:
    """What a person asks of a teacher; the fields are those of `TeachRequest`, empty where nothing was chosen."""

    teacher: str = ""
    model: str = ""
    count: int = TeachRequest.count
    instruction: str = ""

    def request(self, prompts: PromptChoice, out: Path, models: ModelChoice) -> TeachRequest:
        """The request: answers to these prompts, written to `out`; a teacher on this machine runs where `models` do."""
        return TeachRequest(
            source=prompts.source,
            column=prompts.column,
            label=prompts.label,
            template=prompts.template,
            text_files=prompts.text_files,
            out=out,
            teacher=self.teacher,
            teacher_model=(self.model or None) if is_endpoint(self.teacher) else None,
            count=self.count,
            context=self.instruction or None,
            device=models.device,
            dtype=models.dtype,
        )


def teacher_problem(teacher: str) -> str:
    """What is wrong with the text that names a teacher; "" where nothing is, as far as the text alone shows."""
    if not teacher:
        return "must be named"
    if not is_endpoint(teacher):
        return "must begin with http:// or https://" if _NO_SCHEME.match(teacher) else ""
    try:
        parts = urlsplit(teacher)
        host = parts.hostname if parts.port is None or parts.port > 0 else None
    except ValueError:
        host = None
    if not host:
        return f"must be a URL like {_EXAMPLE}"
    # The list of runs keeps what was asked of whom.
    return f"must be without a key: it is read from {KEY_FROM}" if "@" in parts.netloc or parts.query else ""


class TeachDialog(FormDialog[TeachWish]):
    """The form; None when the person thinks better of it.

    Args:
        wish: what the fields begin with.
        goes_on: the file of an earlier start, which keeps its answers and gets the others.
    """

    DEFAULT_CSS = """
    TeachDialog {
        .frame { width: 80; }
        FormField .label { width: 13; }
        FormField .problem { margin-left: 13; }
        .remark { height: auto; color: $text-muted; margin-top: 1; }
        &.-short .frame { padding: 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="teach.cancel", tooltip="Close without answers")
    ]

    def __init__(self, wish: TeachWish, goes_on: Path | None = None) -> None:
        super().__init__()
        self._goes_on = goes_on
        placeholder = f"{_EXAMPLE} or a .gguf file"
        self._teacher = DropInput(
            wish.teacher, placeholder=placeholder, suggester=BaseSuggester(), compact=True, id="teacher"
        )
        self._model = DropInput(wish.model, placeholder="the first it offers", compact=True, id="model")
        self._count = DropInput(str(wish.count), validators=WholeNumber(1), compact=True, id="count")
        self._instruction = DropInput(wish.instruction, placeholder="none", compact=True, id="instruction")

    def compose(self) -> ComposeResult:
        """Four fields, what is good to know, two buttons."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Let a model answer"
            yield FormField(
                "Teacher", self._teacher, "The URL of an OpenAI-compatible server, or a base: hub id, folder, .gguf"
            )
            yield FormField("Model name", self._model, "Its name on the server; only where the teacher is a URL")
            yield FormField("Prompts", self._count, "How many prompts it answers, at most")
            yield FormField(
                "Instruction", self._instruction,
                "What the teacher reads before each prompt, a text or a text file; it is not kept with the prompts",
            )  # fmt: skip
            yield Static(self._remark, classes="remark", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Let it answer", variant="primary", id="start")

    @property
    def _remark(self) -> str:
        words = [f"A server's key is read from the environment variable {KEY_FROM}; many servers need none."]
        if self._goes_on is not None:
            words.append(f"{self._goes_on.name} keeps the answers that it has, and gets the others.")
        return "\n".join(words)

    def on_mount(self) -> None:
        """Begin with the teacher."""
        self._model.disabled = not is_endpoint(self._teacher.value.strip())
        self._teacher.focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        """What was wrong with a field may be right now."""
        FormField.of(event.input).complain("")
        self._model.disabled = not is_endpoint(self._teacher.value.strip())

    @on(Dropped)
    def _dropped(self, event: Dropped) -> None:
        """A model file or folder that is dropped is the teacher."""
        event.stop()
        self._teacher.value = str(event.paths[0])

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    @work(exclusive=True)
    async def _start(self) -> None:
        """Hand the wish over, if nothing is wrong with it."""
        teacher, instruction = self._teacher.value.strip(), self._instruction.value.strip()
        problems = {
            self._teacher: teacher_problem(teacher),
            self._count: problem_in(self._count.validate(self._count.value)),
            self._instruction: await _instruction_problem(instruction),
        }
        for control, problem in problems.items():
            FormField.of(control).complain(problem)
        wrong = next((control for control, problem in problems.items() if problem), None)
        if wrong is not None:
            wrong.focus()
            return
        self.dismiss(TeachWish(teacher, self._model.value.strip(), int(self._count.value), instruction))


async def _instruction_problem(instruction: str) -> str:
    """Why there is no such instruction, which may be in a file; "" where there is none, or it can be read."""
    try:
        if instruction:
            await ask_disk(partial(read_context, instruction))
    except EngineError as error:
        return error.problem
    except TimeoutError:
        return "the disk does not answer"
    return ""
