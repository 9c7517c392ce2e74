"""The choices of an export: format and folder. Below them its stages and its result."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from textual import on, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import RadioButton, RadioSet, Static

from dnd_tui.screens.export_target import contents, folder_name
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line, printable, short_path
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.facts import Facts
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.stages import StageList
from engine.text import readable_size

STAGES = ("import", "load", "read", "write", "check")
# Bytes of a number, by the name that the engine gives the format.
_NUMBER_SIZES = {"float32": 4, "float16": 2}
_REMARKS = {"float32": "as generated", "float16": "half the size, rounded"}


class FormatChoice(RadioButton):
    """One format; whether it is chosen is told by a sign, besides the colour."""

    def render(self) -> Content:
        """Sign and label."""
        self.BUTTON_INNER = "●" if self.value else " "
        return super().render()


class ExportForm(VerticalScroll, can_focus=False):
    """What is exported, in which format, to which folder."""

    DEFAULT_CSS = """
    ExportForm {
        height: 1fr;
        .caption { height: 1; margin-top: 1; color: $text-muted; }
        RadioSet { width: 1fr; background: transparent; }
        #where { height: auto; color: $text-muted; }
        #outcome { height: auto; text-style: bold; }
        StageList { margin-top: 1; }
        Facts { min-height: 0; }
    }
    """

    class Changed(Message):
        """Another format or another folder."""

    class Decided(Message):
        """The folder is decided on."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._record: AdapterRecord | None = None
        self._above = os.curdir
        self._proposed = ""
        self._following = False
        self._formats = {name: FormatChoice(name, value=name == "float32") for name in _NUMBER_SIZES}
        self._folder = PathField(kind="folder", placeholder="The folder to write", id="folder")

    def compose(self) -> ComposeResult:
        """The adapter, format, folder; stages, result."""
        yield Facts(id="adapter")
        yield Static("Format", classes="caption")
        yield RadioSet(*self._formats.values(), compact=True, id="formats")
        yield Static("Folder", classes="caption")
        yield self._folder
        yield Static(id="where", markup=False)
        yield StageList(id="stages")
        yield Static(id="outcome", markup=False)
        yield Facts(id="result")

    # -- choices

    @property
    def float_type(self) -> str:
        """Number format of the written matrices."""
        return next(name for name, button in self._formats.items() if button.value)

    @property
    def target(self) -> Path | None:
        """The folder to write, absolute; None while none is named."""
        path = self._folder.path
        return Path(os.path.abspath(path)) if path else None

    @target.setter
    def target(self, folder: Path) -> None:
        self._folder.value = str(folder)

    @property
    def folder_name(self) -> str:
        """What the folder should be called."""
        assert self._record
        return folder_name(self._record.name, self.float_type)

    def open(self, record: AdapterRecord) -> None:
        """The choices for another adapter."""
        self._record = record
        self.query_one("#adapter", Facts).set(
            [
                ("adapter", one_line(record.name)),
                ("data set", one_line(record.dataset)),
                ("base", one_line(record.base_id)),
                ("size", f"{readable_size(record.bytes)}, {record.parameters:,} parameters"),
            ]
        )
        for name, button in self._formats.items():
            button.label = f"PEFT folder, {name}: {readable_size(size_as(record, name))}, {_REMARKS[name]}"
        self._propose()
        self.begin(())
        self.scroll_home(animate=False)

    def edit_folder(self) -> None:
        """To the folder field."""
        self._folder.focus()

    def remember(self, target: Path) -> None:
        """The next folder is proposed beside this one."""
        self._above = str(target.parent)

    def _propose(self) -> None:
        self._proposed = os.path.join(self._above, self.folder_name)
        self._folder.value = self._proposed

    @on(RadioSet.Changed)
    def _format_changed(self, event: RadioSet.Changed) -> None:
        event.stop()
        if self._record and self._folder.value == self._proposed:
            self._propose()
        self.post_message(self.Changed())

    @on(PathField.Changed)
    def _folder_changed(self, event: PathField.Changed) -> None:
        event.stop()
        self.query_one("#where", Static).update(f"→ {printable(short_path(self.target))}" if self.target else "")
        self.post_message(self.Changed())

    @on(PathField.Submitted)
    @work(exclusive=True, group="folder")
    async def _folder_submitted(self, event: PathField.Submitted) -> None:
        """A folder that holds other things is where the new one goes."""
        event.stop()
        folder = Path(os.path.abspath(event.path))
        try:
            there = await ask_disk(partial(contents, folder))
        except TimeoutError:
            return
        if self._record and there.is_other:
            self.target = folder / self.folder_name
        self.post_message(self.Decided())

    # -- stages and result

    def begin(self, stages: tuple[str, ...] = STAGES) -> None:
        """An export begins; without stages, none has been yet."""
        self.query_one(StageList).expect(stages)
        self.tell("")
        self._show_lines(())
        self.query_one(StageList).display = self._following = bool(stages)

    def watch_virtual_size(self) -> None:
        """What comes of an export is below."""
        if self._following:
            self.scroll_end(animate=False)

    def tell(self, outcome: str) -> None:
        """How the export ended."""
        self.query_one("#outcome", Static).update(outcome)

    def show_result(self, data: Mapping[str, Any]) -> None:
        """What the engine says of a finished export."""
        rounding = data["rounding_difference"]
        self._show_lines(
            (
                ("reloaded", f"largest logit difference {data['logit_difference']:.1e}"),
                ("rounding", f"largest logit difference to float32 {rounding:.1e}"),
                ("size", f"{readable_size(data['bytes'])}, {data['float_type']}"),
                ("folder", data["adapter"]),
            )
        )
        self.tell("✓ Exported, reloaded and compared")

    def _show_lines(self, lines: tuple[tuple[str, str], ...]) -> None:
        facts = self.query_one("#result", Facts)
        facts.set(lines)
        facts.display = bool(lines)  # what is not seen must not have the focus


def size_as(record: AdapterRecord, float_type: str) -> int:
    """Bytes of an adapter of the library in a number format; the library has float32."""
    return record.bytes - record.parameters * (_NUMBER_SIZES["float32"] - _NUMBER_SIZES[float_type])
