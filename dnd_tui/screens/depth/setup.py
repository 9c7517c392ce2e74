"""What is searched: the form, the command that does the same, and whether a search goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Collapsible

from dnd_tui.folders import data_folder
from dnd_tui.screens.depth.form import DepthForm
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.depth import DepthChoices, RememberedDepth, in_own_folder
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.facts import Facts
from engine.errors import EngineError
from engine.jobs.command_line import command_line
from engine.requests import DepthRequest

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# Seconds without a change after which the choices are looked at.
_SETTLED = 0.5


class SearchSetup(VerticalScroll, can_focus=False):
    """The choices, remembered from session to session.

    command: the headless command of the choices; empty while they cannot be.
    begun: a search with these choices was begun before, and goes on.
    """

    DEFAULT_CSS = """
    SearchSetup {
        Collapsible { border: none; padding: 0; margin-top: 1; background: transparent; }
        Collapsible Contents { padding: 0 0 0 2; }
    }
    """

    class Looked(Message):
        """The choices were looked at: `command` and `begun` are new."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.command = ""
        self.begun = False
        self._remembered = RememberedDepth(data_folder())
        self._choices = DepthChoices()
        self._adapters: dict[str, AdapterRecord] = {}
        self._timer: Timer | None = None
        self._loaded = False

    def compose(self) -> ComposeResult:
        """Form, command."""
        yield DepthForm()
        yield Collapsible(Facts(id="command"), title="The same without the app")

    def on_mount(self) -> None:
        """Nothing is named yet."""
        self.query_one(Collapsible).display = False

    @property
    def form(self) -> DepthForm:
        """The fields."""
        return self.query_one(DepthForm)

    async def load(self) -> None:
        """What was chosen last; prompts that were dropped meanwhile stay."""
        try:
            remembered = await ask_disk(self._remembered.load)
        except TimeoutError:
            remembered = None
        chosen, dropped = remembered or DepthChoices(), self.form.choices
        self._choices = chosen
        if dropped.source:
            chosen = replace(chosen, source=dropped.source, held_out=dropped.held_out)
        self.form.show(chosen)
        self._loaded = True

    def offer(self, adapters: Sequence[AdapterRecord]) -> None:
        """The adapters to choose from."""
        self._adapters = {each.id: each for each in adapters}
        self.form.offer(adapters)

    def adapter_in(self, folder: Path | None) -> AdapterRecord | None:
        """The adapter of the library in this folder."""
        return next((each for each in self._adapters.values() if each.folder == folder), None)

    async def request(self) -> DepthRequest:
        """The request of what stands in the fields.

        Raises:
            EngineError: a field holds what cannot be, or the disk does not answer.
        """
        choices = self.form.choices
        adapter = self._adapters.get(choices.adapter)
        # An adapter is of use on its own base only.
        models = adapter.models if adapter else cast("DndApp", self.app).models
        request = choices.request(models, adapter.folder if adapter else None)
        try:
            return await ask_disk(partial(in_own_folder, request, data_folder() / "depth"))
        except TimeoutError:
            hint = "Choose another file of prompts"
            raise EngineError("the disk does not answer", where=str(request.source), hint=hint) from None

    @on(DepthForm.Changed)
    def _changed(self, message: DepthForm.Changed) -> None:
        message.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_SETTLED, self.look)

    async def look(self) -> None:
        """Remember the choices; find out their command, and whether a search goes on. `Looked` follows."""
        choices = self.form.choices
        if choices != self._choices and self._loaded:
            self._choices = choices
            self._remember(choices)
        try:
            request = await self.request()
            self.command = command_line(request)
            self.begun = await ask_disk((request.out / "search.json").is_file)
        except (EngineError, TimeoutError, OSError):
            self.command, self.begun = "", False
        self.query_one("#command", Facts).set([("command", self.command)])
        self.query_one(Collapsible).display = bool(self.command)
        self.post_message(self.Looked())

    @work(exclusive=True, group="remember")
    async def _remember(self, choices: DepthChoices) -> None:
        try:
            await asyncio.to_thread(self._remembered.save, choices)
        except EngineError as error:
            cast("DndApp", self.app).journal.add(str(error), warning=True)
