"""How a chain of layers leaves the app: form and folder, asked before a folder is replaced."""

from __future__ import annotations

import asyncio
import os
import re
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, RadioSet, Static

from dnd_tui.screens.depth.chains import Lines
from dnd_tui.screens.dialogs import FormDialog, Question
from dnd_tui.screens.export.choices import Choice, contents
from dnd_tui.services import app_of
from dnd_tui.state.chains import CHAIN_FILE
from dnd_tui.text import one_line, printable
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_field import PathField
from engine.adapter.formats import CHAIN_FORMATS
from engine.errors import EngineError
from engine.files import tidy_after_kill
from engine.host import Failed, Finished, Outcome
from engine.requests import ChainExportRequest, ModelChoice

STAGES = ("import", "load", "write", "check")
# A folder with this one is that of a search, which goes on there.
_STATE_FILE = "search.json"
_CHECKED = (
    "What is written is read back and its logits are compared. A form that cannot hold this chain of this base is not "
    "written, and the reason is shown."
)


async def export_lines(outcome: Outcome, request: ChainExportRequest) -> Lines:
    """Label and value of what came of an export. What a broken one has left in its folder is tidied up."""
    if isinstance(outcome, Finished):
        return [(f"exported, {label}", text) for label, text in outcome.result.summary()[1:]]
    await asyncio.to_thread(tidy_after_kill, request.out)
    how = "failed" if isinstance(outcome, Failed) else "stopped"
    return [("export", f"✗ {how}; {'what was there is as it was' if request.replace else 'nothing was written'}")]


class ChainExportDialog(FormDialog[ChainExportRequest]):
    """Form and folder; the request, or None when the person thinks better of it.

    Args:
        models: the base of the chain.
        chain: as `ChainExportRequest.chain`.
        adapter: the folder of the adapter that goes with it.
        name: what the folder should be called, without the form.
        above: where the folder is proposed.
    """

    AUTO_FOCUS = "#forms"
    DEFAULT_CSS = """
    ChainExportDialog {
        .frame { width: 84; }
        RadioSet { width: 1fr; background: transparent; }
        .caption { margin-top: 1; color: $text-muted; }
        #remark { height: auto; color: $text-muted; }
        &.-short .frame { padding: 0 1; }
        &.-short .caption, &.-short .buttons { margin-top: 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="chain-export.cancel", tooltip="Do not export")
    ]

    def __init__(self, models: ModelChoice, chain: str, adapter: Path | None, name: str, above: Path) -> None:
        super().__init__()
        self._models, self._chain, self._adapter = models, chain, adapter
        self._name = re.sub(r"[^\w.-]+", "-", name).strip(".-")[:80] or "chain"
        self._above = above
        self._refused = {name: form.no_adapter if adapter else None for name, form in CHAIN_FORMATS.items()}
        first = next(form for form, refused in self._refused.items() if refused is None)
        self._forms = {
            form: Choice(CHAIN_FORMATS[form].title, value=form == first, disabled=refused is not None)
            for form, refused in self._refused.items()
        }
        self._proposed = ""
        self._folder = PathField(kind="folder", takes_drops=True, compact=True, id="folder")

    def compose(self) -> ComposeResult:
        """Forms, folder, buttons."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Export the chain"
            yield RadioSet(*self._forms.values(), compact=True, id="forms")
            yield Static("Folder", classes="caption", markup=False)
            yield self._folder
            yield Static("\n".join([*self._reasons(), _CHECKED]), id="remark", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Export", variant="primary", id="export")

    def on_mount(self) -> None:
        """A folder is proposed."""
        self._propose()

    def _reasons(self) -> list[str]:
        return [f"{form}: {one_line(refused.reason)}" for form, refused in self._refused.items() if refused]

    @property
    def form(self) -> str:
        """The chosen form."""
        return next(form for form, button in self._forms.items() if button.value)

    def _propose(self) -> None:
        self._proposed = os.path.join(self._above, f"{self._name}-{self.form}")
        self._folder.value = self._proposed

    @on(RadioSet.Changed)
    def _form_changed(self, event: RadioSet.Changed) -> None:
        event.stop()
        if self._folder.value in ("", self._proposed):
            self._propose()

    @on(PathField.Submitted)
    @on(Button.Pressed, "#export")
    @work(exclusive=True)
    async def _export(self) -> None:
        path = self._folder.path
        if path is None:
            return
        target = Path(os.path.abspath(path))
        shown = printable(str(target))
        try:
            there = await ask_disk(partial(contents, target))
        except TimeoutError:
            self._show_error(EngineError("the disk does not answer", where=shown, hint="Choose another folder"))
            return
        if there.names and (CHAIN_FILE not in there.names or _STATE_FILE in there.names):
            held = f"holds other files ({printable(there.words)}), which stay"
            self._show_error(EngineError(held, where=shown, hint="Choose another folder"))
            return
        if there.names and not await self._ask(f"Replace the chain in {shown}?"):
            return
        self.dismiss(
            ChainExportRequest(
                models=self._models,
                chain=self._chain,
                out=target,
                adapter=self._adapter,
                format=self.form,
                replace=bool(there.names),
            )
        )

    async def _ask(self, question: str) -> bool:
        answer: bool | None = await self.app.push_screen_wait(Question(question, yes="Replace"))
        return bool(answer)

    def _show_error(self, error: EngineError) -> None:
        app_of(self).show_error(error)
