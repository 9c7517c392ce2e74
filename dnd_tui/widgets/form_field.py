"""Forms. A line of one is a label, a control, and below it, when there is something, what is wrong with the value.

Prompts        0
               ✗ must be a whole number, 1 or more
"""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.validation import ValidationResult, Validator
from textual.widget import Widget
from textual.widgets import Input, Select, Static

from dnd_tui.widgets.path_field import PathField
from engine.prompts.templates import parse_template


class WholeNumber(Validator):
    """A whole number.

    Args:
        least: the smallest one accepted; None accepts all.
        empty: nothing at all is accepted too.
    """

    def __init__(self, least: int | None = None, *, empty: bool = False) -> None:
        super().__init__("must be a whole number" + ("" if least is None else f", {least} or more"))
        self._least = least
        self._empty = empty

    def validate(self, value: str) -> ValidationResult:
        """Whether the text is such a number."""
        if self._empty and not value.strip():
            return self.success()
        try:
            number = int(value)
        except ValueError:
            return self.failure()
        return self.success() if self._least is None or number >= self._least else self.failure()


TEMPLATE_HELP = "Makes prompts of columns, such as Classify: {ticket}\\nTopic:"


class TemplateText(Validator):
    """A template of prompts, or nothing."""

    def validate(self, value: str) -> ValidationResult:
        """Whether the text is one."""
        try:
            if value.strip():
                parse_template(value)
        except ValueError as error:
            return self.failure(str(error))
        return self.success()


def problem_in(result: ValidationResult | None) -> str:
    """What is wrong with a text, as its validators put it; "" where nothing is."""
    return "; ".join(result.failure_descriptions) if result else ""


class FormField(Vertical):
    """A label and a control."""

    DEFAULT_CSS = """
    FormField {
        height: auto;
        Horizontal { height: auto; }
        .label { width: 15; color: $text-muted; }
        .problem { display: none; margin-left: 15; color: $text-error; }
        &:focus-within .label { color: $primary; text-style: bold; }
        &.-wrong .problem { display: block; }
    }
    """

    def __init__(self, label: str, control: Widget, help: str) -> None:
        super().__init__()
        self._label = label
        self._control = control
        self._control.tooltip = help
        self.problem = ""

    def compose(self) -> ComposeResult:
        """Label beside control, the problem below."""
        with Horizontal():
            yield Static(self._label, classes="label", markup=False)
            yield self._control
        yield Static(classes="problem", markup=False)

    def focus_control(self) -> None:
        """Focus what can be changed."""
        self._control.focus()

    def complain(self, problem: str) -> None:
        """Show what is wrong; an empty text clears it."""
        self.problem = problem
        self.query_one(".problem", Static).update(f"✗ {problem}")
        self.set_class(bool(problem), "-wrong")

    @staticmethod
    def of(control: Widget) -> FormField:
        """The line that holds a control."""
        return next(node for node in control.ancestors if isinstance(node, FormField))


class Form(Vertical):
    """Lines one below another. What is wrong with a text is shown as it is typed."""

    DEFAULT_CSS = """
    Form {
        height: auto;
        DropInput, Select, PathField { width: 1fr; }
    }
    """

    class Changed(Message):
        """A choice was changed; perhaps to one that cannot be."""

    def focus_problem(self) -> bool:
        """Focus the first field with a problem, which is shown beside it; False where there is none."""
        wrong = next((field for field in self.query(FormField) if field.problem), None)
        if wrong is not None:
            wrong.focus_control()
        return wrong is not None

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        message.stop()
        if message.validation_result is not None:
            FormField.of(message.input).complain(problem_in(message.validation_result))
        self.post_message(self.Changed())

    @on(Select.Changed)
    @on(PathField.Changed)
    def _changed(self, message: Message) -> None:
        message.stop()
        self.post_message(self.Changed())

    @on(PathField.Submitted)
    def _decided(self, message: PathField.Submitted) -> None:
        message.stop()
