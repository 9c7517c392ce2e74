"""Importing an adapter of another tool: which, under which name, for which base.

path --(disk)--> PEFT folder or GGUF adapter, the base that it names --> name and base are proposed --> Import
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from dnd_tui.screens.dialogs import FormDialog
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.path_completion import BaseSuggester
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput, Dropped
from engine.adapter.kind import known_kind
from engine.adapter.peft_folder import CONFIG_FILE
from engine.base.catalog import DEFAULT_BASE, means_default_base
from engine.errors import EngineError
from engine.files import read_json
from engine.requests import ImportRequest, ModelChoice

if TYPE_CHECKING:
    from dnd_tui.app import DndApp


@dataclass(frozen=True)
class ImportPlan:
    """An adapter that another tool made; see `dnd_tui.screens.library.entries.Plan`."""

    source: Path
    name: str
    models: ModelChoice
    stages: tuple[str, ...] = ("import", "read", "load", "convert", "write", "check")

    @property
    def title(self) -> str:
        """What is done."""
        return f"import {self.source.name}"

    def request(self, folder: Path) -> ImportRequest:
        """The import, written to `folder`."""
        models = self.models
        if models.base == ModelChoice.base:
            # The person has seen which base it is: named, it is taken even where the adapter names another.
            models = replace(models, base=DEFAULT_BASE.name)
        return ImportRequest(models=models, source=self.source, out=folder)

    def origin(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Where it was, and what was made otherwise."""
        return {"origin": "imported", "imported": self.source, "changes": tuple(data["changes"])}


@dataclass(frozen=True)
class FoundAdapter:
    """What lies at a path.

    base: the base that it names; None where it names none. A GGUF adapter does not.
    """

    kind: Literal["peft", "gguf"]
    rank: int | None = None
    base: str | None = None

    @property
    def words(self) -> str:
        """In words."""
        if self.kind == "gguf":
            return "A GGUF adapter, which names no base."
        rank = f" of rank {self.rank}" if self.rank else ""
        base = f"made for {one_line(self.base)}" if self.base else "which names no base"
        return f"A PEFT folder{rank}, {base}."


def found_adapter(source: Path) -> FoundAdapter:
    """Look at what is to be imported. Asks the disk; reads no matrix.

    Raises:
        EngineError: there is no adapter, or its config cannot be read.
    """
    kind = known_kind(source)
    if kind == "gguf":
        return FoundAdapter(kind)
    config = read_json(source / CONFIG_FILE)
    if not isinstance(config, dict):
        raise EngineError("holds no settings", where=str(source / CONFIG_FILE))
    rank, base = config.get("r"), config.get("base_model_name_or_path")
    return FoundAdapter(kind, rank if type(rank) is int else None, base if isinstance(base, str) and base else None)


async def ask_what_to_import(app: DndApp, source: Path | None) -> ImportPlan | None:
    """Ask for adapter, name and base; None when the person thinks better of it. From a worker.

    Args:
        source: what was dropped or named already.
    """
    bases: dict[str, str] = {}
    with suppress(EngineError, TimeoutError):  # a help in typing only
        entries = await ask_disk(app.library.entries)
        bases = {entry.base_id: entry.base for entry in entries if isinstance(entry, AdapterRecord)}
    return await app.push_screen_wait(ImportDialog(source, app.models, bases))


class ImportDialog(FormDialog[ImportPlan]):
    """The form; None when the person thinks better of it.

    Args:
        bases: how the bases of the library's adapters were chosen, by their ids.
    """

    DEFAULT_CSS = """
    ImportDialog {
        FormField .label { width: 10; }
        FormField .problem { margin-left: 10; }
        PathField { width: 1fr; }
        .remark { height: auto; color: $text-muted; margin-top: 1; }
    }
    """
    # Over the app's own style sheet, which the default styles of a widget are not.
    CSS = "ImportDialog PathField Button { min-width: 8; height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="import.cancel", tooltip="Import nothing")
    ]

    def __init__(self, source: Path | None, models: ModelChoice, bases: Mapping[str, str]) -> None:
        super().__init__()
        self._models = models
        self._bases = bases
        # What was proposed; another text is the person's own.
        self._proposed = ("", models.base)
        self._source = PathField(
            str(source or ""), placeholder="a PEFT folder or a .gguf file", takes_drops=True, compact=True, id="source"
        )
        self._called = DropInput(compact=True, id="name")
        suggester = BaseSuggester(self._bases.values())
        self._base = DropInput(models.base, placeholder=ModelChoice.base, suggester=suggester, compact=True, id="base")

    def compose(self) -> ComposeResult:
        """Adapter, name, base; what was found."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Import an adapter"
            yield FormField("Adapter", self._source, "A PEFT folder, or a GGUF adapter of llama.cpp, of any tool")
            yield FormField("Name", self._called, "What it is called in the library")
            yield FormField("Base", self._base, 'Checked on: "default", a hub id, a model folder or a .gguf file')
            yield Static(id="remark", classes="remark", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Import", variant="primary", id="import")

    async def on_mount(self) -> None:
        """Look at what was dropped."""
        if self._source.value:
            self._source_changed()
            self.query_one("#import").focus()
        else:
            self._show_remark("It is checked on its base, brought to one rank and alpha, and kept in the library.")
            self._source.focus()

    # -- what lies there

    @on(PathField.Changed)
    @work(exclusive=True, group="look")
    async def _source_changed(self) -> None:
        """See what the path is."""
        await self._look()

    async def _look(self) -> bool:
        """Whether what is named can be imported, else why not; propose a name and a base."""
        path, problem = self._source.path, ""
        if path is None:
            return False
        found = None
        try:
            found = await ask_disk(partial(found_adapter, path))
        except EngineError as error:
            problem = error.problem
        except TimeoutError:
            problem = "the disk does not answer"
        if path != self._source.path:
            return False  # another one was named meanwhile
        self._field("source").complain(problem)
        self._show_remark(found.words if found else "")
        if found:
            self._propose(path, found)
        return found is not None

    def _propose(self, path: Path, found: FoundAdapter) -> None:
        name = path.stem if found.kind == "gguf" else path.absolute().name
        base = self._base_for(found.base)
        before, self._proposed = self._proposed, (name, base)
        for one, old, new in zip((self._called, self._base), before, self._proposed, strict=True):
            if one.value == old:
                one.value = new

    def _base_for(self, named: str | None) -> str:
        """How the person would choose the base that an adapter names; without a name, the one in use."""
        if named is None:
            return self._models.base
        return ModelChoice.base if means_default_base(named) else self._bases.get(named, named)

    def _show_remark(self, text: str) -> None:
        self.query_one("#remark", Static).update(text)

    def _field(self, id: str) -> FormField:
        return FormField.of(self.query_one(f"#{id}"))

    @on(PathField.Submitted)
    async def _decided(self) -> None:
        """A path was typed, chosen or dropped: what was proposed can be looked at."""
        if await self._look():
            self.query_one("#import").focus()

    @on(Dropped)
    def _dropped(self, event: Dropped) -> None:
        """The field takes a drop; so does everything around it."""
        event.stop()
        self._source.value = str(event.paths[0])

    # -- the end

    @on(Input.Submitted)
    @on(Button.Pressed, "#import")
    @work(exclusive=True, group="import")
    async def _import(self) -> None:
        source = self._source.path
        if source is None or not await self._look():
            self._field("source").complain(self._field("source").problem or "must be named")
            self._source.focus()
            return
        models = replace(
            self._models, base=self._base.value.strip() or ModelChoice.base, generator=ModelChoice.generator
        )
        name = self._called.value.strip() or self._proposed[0]
        self.dismiss(ImportPlan(source.absolute(), name, models))
