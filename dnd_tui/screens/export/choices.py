"""What an export writes: the form, the number format, and whether as one zip file; with sizes.

▐●▌ PEFT folder: 10 MB
▐ ▌ Merged model: 541 MB
▐ ▌ GGUF adapter: no, a base of type gemma2 is not ...
▐●▌ float32 ▐ ▌ float16 ▐ ▌ bfloat16  ▐ ▌ as .zip
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Checkbox, RadioButton, RadioSet

from dnd_tui.text import one_line
from engine.adapter.formats import FORMATS, NUMBER_SIZES
from engine.text import readable_size


class Choice(RadioButton):
    """One of several; whether it is chosen is told by a sign, besides the colour."""

    def render(self) -> Content:
        """Sign and label."""
        self.BUTTON_INNER = "●" if self.value else " "
        return super().render()


class Switch(Checkbox):
    """Yes or no, told by the same sign."""

    def render(self) -> Content:
        """Sign and label."""
        self.BUTTON_INNER = "●" if self.value else " "
        return super().render()


class ExportChoices(Vertical):
    """Form, number format, zip."""

    DEFAULT_CSS = """
    ExportChoices {
        height: auto;
        RadioSet { width: 1fr; background: transparent; }
        Horizontal { height: auto; }
        #numbers { layout: horizontal; width: auto; }
        #numbers Choice { width: auto; }
    }
    """

    class Changed(Message):
        """Another choice."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._forms = {name: Choice(form_title(name), value=name == "peft") for name in FORMATS}
        self._numbers = {name: Choice(name, value=name == "float32") for name in NUMBER_SIZES}
        self._zip = Switch(".zip", compact=True, id="zip")
        self._known: Mapping[str, Mapping[str, Any]] = {}

    def compose(self) -> ComposeResult:
        """The forms one below the other; the rest in a line."""
        yield RadioSet(*self._forms.values(), compact=True, id="formats")
        with Horizontal():
            yield RadioSet(*self._numbers.values(), compact=True, id="numbers")
            yield self._zip

    @property
    def form(self) -> str:
        """Name of the chosen form."""
        return next(name for name, button in self._forms.items() if button.value)

    @property
    def float_type(self) -> str:
        """Name of the chosen number format."""
        return next(name for name, button in self._numbers.items() if button.value)

    @property
    def zip(self) -> bool:
        """Whether one zip file is written."""
        return self._zip.value

    def know(self, formats: Mapping[str, Mapping[str, Any]]) -> None:
        """Show what the engine says of each form: sizes, or why it cannot be written; empty while nothing is known."""
        self._known = formats
        for name, button in self._forms.items():
            button.disabled = bool(formats.get(name, {}).get("refused"))
        if self._forms[self.form].disabled:
            self._forms["peft"].value = True
        self._show()

    def _show(self) -> None:
        for name, button in self._forms.items():
            known, title = self._known.get(name, {}), form_title(name)
            sizes = known.get("bytes", {})
            size = sizes.get(self.float_type) or sizes.get(FORMATS[name].float_types[-1])
            told = f"no, {one_line(known['refused'])}" if known.get("refused") else size and readable_size(size)
            button.label = f"{title}: {told}" if told else title
        for name, button in self._numbers.items():
            button.disabled = name not in FORMATS[self.form].float_types

    @on(RadioSet.Changed)
    @on(Checkbox.Changed)
    def _changed(self, event: RadioSet.Changed | Checkbox.Changed) -> None:
        event.stop()
        if self.float_type not in FORMATS[self.form].float_types:
            # Another message comes of this.
            self._numbers["float16"].value = True
            return
        self._show()
        self.post_message(self.Changed())


def form_title(name: str) -> str:
    """What a form is called on the screen."""
    title = FORMATS[name].title
    return title[0].upper() + title[1:]
