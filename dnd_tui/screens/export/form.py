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
from textual.message import Message
from textual.widgets import Static

from dnd_tui.config import exports_folder
from dnd_tui.screens.export.choices import ExportChoices, contents, folder_name
from dnd_tui.services import app_of
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line, printable, short_path
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.stages import StageList
from engine.requests import export_target
from engine.text import readable_size

STAGES = ("import", "load", "read", "write", "check")
_DIFFERENCES = (
    ("logit_difference", "reloaded", "logits"),
    ("rounding_difference", "against float32", "logits"),
    ("tensor_difference", "read back", "values"),
)


class ExportForm(VerticalScroll, can_focus=False):
    """What is exported, in which format, to which folder."""

    DEFAULT_CSS = """
    ExportForm {
        height: 1fr;
        .caption { height: 1; margin-top: 1; color: $text-muted; }
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
        self._above: Path | None = None
        self._proposed = ""
        self._following = False
        self._choices = ExportChoices()
        self._folder = PathField(kind="folder", placeholder="The folder to write", id="folder")

    def compose(self) -> ComposeResult:
        """The adapter, format, folder; stages, result."""
        yield Facts(id="adapter")
        yield Static("Format", classes="caption", id="format-caption")
        yield self._choices
        yield Static("Folder", classes="caption")
        yield self._folder
        yield Static(id="where", markup=False)
        yield StageList(id="stages")
        yield Static(id="outcome", markup=False)
        yield Facts(id="result")

    # -- choices

    @property
    def choices(self) -> ExportChoices:
        """Form, number format, zip."""
        return self._choices

    @property
    def target(self) -> Path | None:
        """The folder to write, absolute; None while none is named."""
        path = self._folder.path
        return Path(os.path.abspath(path)) if path else None

    @target.setter
    def target(self, folder: Path) -> None:
        self._folder.value = str(folder)

    @property
    def written(self) -> Path | None:
        """What is written: that folder, or a zip file of that name."""
        return export_target(self.target, self._choices.zip) if self.target else None

    @property
    def folder_name(self) -> str:
        """What the folder should be called."""
        assert self._record
        return folder_name(self._record.name, self._choices.form, self._choices.float_type)

    def open(self, record: AdapterRecord) -> None:
        """The choices for another adapter."""
        self._record = record
        self.query_one("#adapter", Facts).set(
            [
                ("adapter", one_line(record.name)),
                ("made from", one_line(record.source_words)),
                ("base", one_line(record.base_id)),
                ("size", f"{readable_size(record.bytes)}, {record.parameters:,} parameters"),
            ]
        )
        self._choices.know({})
        self._propose()
        self.begin(())
        self.scroll_home(animate=False)

    def edit_folder(self) -> None:
        """To the folder field."""
        self._folder.focus()

    def remember(self, target: Path) -> None:
        """The next folder is proposed beside this one."""
        self._above = target.parent

    def _propose(self) -> None:
        self._proposed = short_path((self._above or exports_folder(app_of(self).settings)) / self.folder_name)
        self._folder.value = self._proposed

    @on(ExportChoices.Changed)
    def _format_changed(self, event: ExportChoices.Changed) -> None:
        event.stop()
        if self._record and self._folder.value == self._proposed:
            self._propose()
        self._show_where()
        self.post_message(self.Changed())

    @on(PathField.Changed)
    def _folder_changed(self, event: PathField.Changed) -> None:
        event.stop()
        self._show_where()
        self.post_message(self.Changed())

    def _show_where(self) -> None:
        written = self.written
        self.query_one("#where", Static).update(f"→ {printable(short_path(written))}" if written else "")

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

    def begin(self, stages: tuple[str, ...]) -> None:
        """An export begins; without stages, none has been yet."""
        self.query_one(StageList).expect(stages)
        self.show_outcome("")
        self._show_lines(())
        self.query_one(StageList).display = self._following = bool(stages)

    def watch_virtual_size(self) -> None:
        """What comes of an export is below."""
        if self._following:
            self.scroll_end(animate=False)

    @property
    def has_outcome(self) -> bool:
        """Whether it is shown how an export ended."""
        return bool(self.query_one("#outcome", Static).content)

    def show_outcome(self, outcome: str) -> None:
        """How the export ended."""
        self.query_one("#outcome", Static).update(outcome)

    def show_result(self, data: Mapping[str, Any]) -> None:
        """What the engine reports of a finished export."""
        found = [(label, what, data[key]) for key, label, what in _DIFFERENCES if data[key] is not None]
        self._show_lines(
            (
                *(
                    (label, f"{what} differ by {value:.1e} at most" if value else f"equal {what}")
                    for label, what, value in found
                ),
                ("size", f"{readable_size(data['bytes'])}, {data['float_type']}"),
                ("folder", data["adapter"]),
            )
        )
        self.show_outcome("✓ Exported, reloaded and compared")

    def _show_lines(self, lines: tuple[tuple[str, str], ...]) -> None:
        facts = self.query_one("#result", Facts)
        facts.set(lines)
        facts.display = bool(lines)  # what is not seen must not have the focus
