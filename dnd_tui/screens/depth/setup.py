"""What is searched: the choices, the command that does the same, and whether a search goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Collapsible, Input, Select

from dnd_tui.config import data_folder
from dnd_tui.screens.depth.chains import FoundChains
from dnd_tui.screens.depth.search import kept_chains
from dnd_tui.services import app_of
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.depth import DepthChoices, RememberedDepth, in_own_folder
from dnd_tui.text import one_line
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import TEMPLATE_HELP, Form, FormField, TemplateText, WholeNumber
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput
from engine.depth.rows import FEWEST_SEARCH_ROWS
from engine.errors import EngineError
from engine.jobs.command_line import command_line
from engine.requests import DepthRequest

_MOVES = (("skip and loop", "both"), ("skip only", "skip"), ("loop only", "loop"))
_NO_ADAPTER = ("none", "")


class DepthForm(Form):
    """Prompts, adapter, size of the search."""

    DEFAULT_CSS = """
    DepthForm {
        FormField .label { width: 10; }
        FormField .problem { margin-left: 10; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._offered: list[str] = [""]
        self._source = PathField(kind="either", takes_drops=True, compact=True, id="source")
        self._held_out = PathField(
            kind="either", placeholder="rows of Prompts", takes_drops=True, compact=True, id="held-out"
        )
        self._column = DropInput(placeholder="found by its name", compact=True, id="column")
        self._label = DropInput(placeholder="found by its name", compact=True, id="label")
        self._template = DropInput(
            placeholder="none: the column as it is", validators=TemplateText(), compact=True, id="template"
        )
        self._adapter: Select[str] = Select([_NO_ADAPTER], allow_blank=False, compact=True, id="adapter")
        self._chains = DropInput(validators=WholeNumber(1), compact=True, id="chains")
        self._rows = DropInput(validators=WholeNumber(FEWEST_SEARCH_ROWS), compact=True, id="rows")
        self._moves: Select[str] = Select(_MOVES, allow_blank=False, compact=True, id="moves")
        self._seed = DropInput(validators=WholeNumber(), compact=True, id="seed")

    def compose(self) -> ComposeResult:
        """What is needed first, then what has a value already."""
        yield FormField("Prompts", self._source, "Labelled prompts: the search looks at some of them")
        yield FormField("Held out", self._held_out, "Labelled prompts to judge on; empty: other rows of Prompts")
        yield FormField("Adapter", self._adapter, "Adapter of the library that is attached to the base")
        yield FormField("Chains", self._chains, "How many chains of layers the search looks at")
        yield FormField("Rows", self._rows, "How many rows score each chain")
        yield FormField("Moves", self._moves, "What the search may do with layers")
        yield FormField("Seed", self._seed, "Seed of everything that is drawn at random")
        # No field for text files: they hold no labels.
        yield FormField("Column", self._column, "Column that holds the prompts")
        yield FormField("Labels", self._label, "Column that holds the labels")
        yield FormField("Template", self._template, TEMPLATE_HELP)

    @property
    def choices(self) -> DepthChoices:
        """What stands in the fields."""
        return DepthChoices(
            source=self._source.value,
            held_out=self._held_out.value,
            column=self._column.value,
            label=self._label.value,
            template=self._template.value,
            adapter=str(self._adapter.value),
            chains=self._chains.value,
            rows=self._rows.value,
            moves=str(self._moves.value),
            seed=self._seed.value,
        )

    def show(self, choices: DepthChoices) -> None:
        """Put choices into the fields; an adapter that is not offered is none."""
        with self.prevent(Input.Changed, Select.Changed, PathField.Changed):
            self._source.value, self._held_out.value = choices.source, choices.held_out
            for field, text in (
                (self._column, choices.column),
                (self._label, choices.label),
                (self._template, choices.template),
                (self._chains, choices.chains),
                (self._rows, choices.rows),
                (self._seed, choices.seed),
            ):
                field.value = text
            if choices.moves in [value for _, value in _MOVES]:
                self._moves.value = choices.moves
            self._choose(choices.adapter)

    def offer(self, adapters: Sequence[AdapterRecord]) -> None:
        """The adapters to choose from; the chosen one stays if it is among them."""
        chosen = str(self._adapter.value)
        with self.prevent(Select.Changed):
            self._offered = ["", *(each.id for each in adapters)]
            self._adapter.set_options([_NO_ADAPTER, *((one_line(each.name), each.id) for each in adapters)])
            self._choose(chosen)

    def drop(self, source: str, held_out: str | None) -> None:
        """Prompts that were dropped."""
        self._source.value = source
        if held_out is not None:
            self._held_out.value = held_out

    def _choose(self, adapter: str) -> None:
        self._adapter.value = adapter if adapter in self._offered else ""


# Seconds without a change after which the choices are looked at.
_SETTLED = 0.5


class SearchSetup(VerticalScroll, can_focus=False):
    """The choices, remembered from session to session.

    command: the headless command of the choices; empty while they cannot be.
    wanted: their request; None while they cannot be.
    begun: a search with these choices was begun before, and goes on.
    kept: what the last search with these choices found.
    """

    DEFAULT_CSS = """
    SearchSetup {
        Collapsible { border: none; padding: 0; margin-top: 1; background: transparent; }
        Collapsible Contents { padding: 0 0 0 2; }
    }
    """

    class Looked(Message):
        """The choices were looked at: `command`, `wanted`, `begun`, `kept` are new."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.command = ""
        self.wanted: DepthRequest | None = None
        self.begun = False
        self.kept: FoundChains | None = None
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
        models = adapter.models if adapter else app_of(self).models
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
            self.command, self.wanted = command_line(request), request
            self.kept = await kept_chains(request.out)
            self.begun = await ask_disk((request.out / "search.json").is_file)
        except (EngineError, TimeoutError, OSError):
            self.command, self.wanted, self.begun, self.kept = "", None, False, None
        self.query_one("#command", Facts).set([("command", self.command)])
        self.query_one(Collapsible).display = bool(self.command)
        self.post_message(self.Looked())

    @work(exclusive=True, group="remember")
    async def _remember(self, choices: DepthChoices) -> None:
        try:
            await asyncio.to_thread(self._remembered.save, choices)
        except EngineError as error:
            app_of(self).journal.add(str(error), warning=True)
