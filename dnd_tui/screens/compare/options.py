"""How answers are made and scored on the Compare screen: a form in a dialog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.validation import Number
from textual.widgets import Button, Input, Select

from dnd_tui.options import OPTIONS
from dnd_tui.screens.dialogs import FRAME
from dnd_tui.settings import Settings
from dnd_tui.widgets.form_field import FormField, WholeNumber
from dnd_tui.widgets.path_inputs import DropInput

_CHOSEN = "chosen by itself"
# What is offered where the prompts have answers.
_EXAMPLES = 8


@dataclass(frozen=True)
class CompareOptions:
    """As in `engine.requests.CompareRequest`; without a metric it is chosen by itself."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    metric: str | None = None
    examples: int = 0

    @classmethod
    def of(cls, settings: Settings) -> CompareOptions:
        """The person's defaults."""
        return cls(settings.max_new_tokens, metric=settings.metric)

    def lines(self) -> dict[str, str]:
        """Name and value of each, for a transcript."""
        drawn = f"temperature {self.temperature:g}, seed {self.seed}" if self.temperature else "the likeliest token"
        shown = {"examples in the prompt": str(self.examples)} if self.examples else {}
        return {
            "longest answer": f"{self.max_new_tokens} tokens",
            "chosen": drawn,
            "metric": self.metric or _CHOSEN,
            **shown,
        }


class OptionsDialog(ModalScreen[CompareOptions | None]):
    """The form; None when the person thinks better of it.

    Args:
        answered: the prompts have known answers, so that there can be examples.
    """

    DEFAULT_CSS = f"OptionsDialog {FRAME} OptionsDialog .frame {{ border: round $primary; }}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="options.cancel", tooltip="Leave the options as they were")
    ]

    def __init__(self, options: CompareOptions, *, answered: bool) -> None:
        super().__init__()
        self._options = options
        self._answered = answered

    def compose(self) -> ComposeResult:
        """Five fields."""
        old = self._options
        metrics = ((_CHOSEN, ""), *((name, name) for name in OPTIONS["metric"].choices))
        offered = f"none; {_EXAMPLES} are usual" if self._answered else "none: the prompts have no answers"
        with Vertical(classes="frame") as frame:
            frame.border_title = "Answers"
            yield FormField(
                "Longest",
                DropInput(str(old.max_new_tokens), id="max", validators=WholeNumber(1), compact=True),
                "Longest answer, in tokens",
            )
            yield FormField(
                "Temperature",
                DropInput(f"{old.temperature:g}", id="temperature", validators=Number(0, 10), compact=True),
                "0 takes the likeliest token; more draws tokens, with the same random numbers for base and adapters",
            )
            yield FormField(
                "Seed",
                DropInput(str(old.seed), id="seed", validators=WholeNumber(), compact=True),
                "Of the drawn tokens",
            )
            yield FormField(
                "Metric",
                Select(metrics, value=old.metric or "", allow_blank=False, id="metric", compact=True),
                "How an answer is scored against its label; chosen by itself, the way that fits the labels",
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
                "Examples in the prompt: the base also answers with so many other prompts and their answers before "
                "each prompt, as an arm of its own",
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
            self.notify("Not a number that can be used here", severity="error")
            return
        value = {one.id: one.value for one in inputs}
        metric = str(self.query_one("#metric", Select).value) or None
        examples = int(value["examples"].strip() or 0)
        self.dismiss(
            CompareOptions(int(value["max"]), float(value["temperature"]), int(value["seed"]), metric, examples)
        )

    @on(Button.Pressed, "#cancel")
    def action_leave(self) -> None:
        """Leave the options as they were."""
        self.dismiss(None)
