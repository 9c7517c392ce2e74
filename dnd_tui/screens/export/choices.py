"""What an export writes: the form, the number format, whether as one zip file; and into which folder.

▐●▌ PEFT folder: 10 MB
▐ ▌ Merged model: 541 MB
▐ ▌ GGUF adapter: no, a base of type gemma2 is not ...
▐●▌ float32 ▐ ▌ float16 ▐ ▌ bfloat16  ▐ ▌ as .zip
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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

_ADAPTER_SIGN = "adapter_config.json"
# What stands beside the card in a folder of the other forms.
_CARD = "README.md"
_EXPORT_SIGNS = frozenset(
    {"adapter.gguf", "model.gguf", "Modelfile", "model.safetensors", "model.safetensors.index.json"}
)
_SHOWN = 3


def folder_name(name: str, form: str, float_type: str) -> str:
    """What the folder of an export is called: the adapter's name as any file system takes it, form and number format.

    The form is left out of a PEFT folder's name.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:80]
    return "-".join([plain or "adapter", *(() if form == "peft" else (form,)), float_type])


@dataclass(frozen=True)
class Contents:
    """What a folder holds, by name; or that it is a file."""

    names: tuple[str, ...]
    is_file: bool = False

    @property
    def is_export(self) -> bool:
        """Whether it is the folder of an adapter or of another export, which a new one may replace."""
        return _ADAPTER_SIGN in self.names or (_CARD in self.names and not _EXPORT_SIGNS.isdisjoint(self.names))

    @property
    def is_other(self) -> bool:
        """Whether it holds anything else, which no export may replace."""
        return bool(self.names) and not self.is_export

    @property
    def words(self) -> str:
        """Some of the names."""
        first = ", ".join(self.names[:_SHOWN])
        more = len(self.names) - _SHOWN
        return f"{first} and {more} more" if more > 0 else first


def contents(folder: Path) -> Contents:
    """What is in a folder; nothing where there is none, or none that can be looked into: the engine explains why."""
    try:
        if folder.is_file():
            return Contents((), is_file=True)
        return Contents(tuple(sorted(os.listdir(folder))))
    except (OSError, ValueError):
        return Contents(())


class Choice(RadioButton):
    """One of several; whether it is chosen is shown by a sign, besides the colour."""

    def render(self) -> Content:
        """Sign and label."""
        self.BUTTON_INNER = "●" if self.value else " "
        return super().render()


class Switch(Checkbox):
    """Yes or no, shown by the same sign."""

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
        """Show what is known of each form: sizes, or why it cannot be written; empty while nothing is known."""
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
            words = f"no, {one_line(known['refused'])}" if known.get("refused") else size and readable_size(size)
            button.label = f"{title}: {words}" if words else title
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
