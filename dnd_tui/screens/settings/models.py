"""Which base and generator new drops use, what models there are, and fetching those that are not here."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui import jobs
from dnd_tui.screens.settings.field import SettingField
from dnd_tui.screens.settings.model_rows import KINDS, ModelRow, base_looked_up, generator_looked_up, listed, own
from dnd_tui.services import app_of
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import Cell, Facts, TableLine
from dnd_tui.widgets.stages import StageList, ending
from engine.errors import EngineError
from engine.events import Note
from engine.host import Failed, Finished
from engine.requests import ModelsRequest
from engine.text import readable_size


class ModelsPane(VerticalScroll, can_focus=False):
    """Two fields, a table, the chosen line's details, a fetch under way."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#model-lines"

    DEFAULT_CSS = """
    ModelsPane {
        #model-lines { height: auto; max-height: 14; text-wrap: nowrap; background: $surface; }
        #other { color: $text-warning; display: none; }
        Horizontal.buttons { height: auto; margin-top: 1; }
        Horizontal.buttons Button { margin-right: 1; }
        #fetch-stages { height: auto; margin-top: 1; display: none; }
        #model-facts { margin-top: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "fetch", "Fetch", id="settings.fetch", tooltip="Fetch the chosen model now"),
        Binding("u", "use", "Use", id="settings.use", tooltip="Use the chosen model for new drops"),
        Binding("s", "stop", "Stop", id="settings.stop", tooltip="Stop fetching; Fetch goes on from there"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: list[dict[str, Any]] | None = None
        self._rows: list[ModelRow] = []
        self._listing: jobs.Job | None = None
        self._job: jobs.Job | None = None

    def compose(self) -> ComposeResult:
        """Fields above, table below."""
        yield Static(id="other", markup=False)
        yield SettingField("base", look_up=base_looked_up)
        yield SettingField("generator", look_up=generator_looked_up)
        yield Static(_line("", "model", "kind", "size", "state", "licence", "where"), classes="titles")
        yield OptionList(id="model-lines", compact=True)
        with Horizontal(classes="buttons"):
            yield KeyButton("Use", "settings.use", id="use", variant="primary")
            yield KeyButton("Fetch", "settings.fetch", id="fetch")
            yield KeyButton("Stop", "settings.stop", id="stop", variant="error")
        yield StageList(id="fetch-stages")
        yield Facts(id="model-facts")

    def on_mount(self) -> None:
        """Ask the engine what is here."""
        self._listing = app_of(self).engine.start(ModelsRequest(), "list the models", self, light=True)
        self.show()

    def show(self) -> None:
        """Show the settings as they are now."""
        for field in self.query(SettingField):
            field.show()
        settings, models = app_of(self).settings, app_of(self).models
        other = self.query_one("#other", Static)
        other.display = (settings.base, settings.generator) != (models.base, models.generator)
        generator = models.generator or "the released one"
        other.update(f"! Until the app ends, new drops use: base {models.base}, generator {generator}")
        self._show_rows()

    @property
    def chosen(self) -> ModelRow | None:
        """The model under the cursor."""
        at = self.query_one("#model-lines", OptionList).highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    @property
    def fetching(self) -> bool:
        """Whether a model is being fetched."""
        return self._job is not None and self._job.outcome is None

    # -- the table

    @work(exclusive=True, group="models")
    async def _show_rows(self) -> None:
        """Draw the table: what the engine listed, and what is the person's own."""
        settings = app_of(self).settings
        try:
            records = await asyncio.to_thread(app_of(self).library.entries)
        except EngineError:
            records = []
        mine = await asyncio.to_thread(own, settings, records)
        if not self.children:
            return  # the app ended meanwhile
        options = self.query_one("#model-lines", OptionList)
        at = options.highlighted or 0
        self._rows = sorted(listed(self._entries or []) + mine, key=lambda row: KINDS.index(row.kind))
        lines = [_line_of(row, row.is_chosen(settings)) for row in self._rows]
        options.set_options(Option(line) for line in lines)
        if self._entries is None:
            options.add_option(Option("Looking at what is here …", disabled=True))
        options.highlighted = min(at, len(lines) - 1) if lines else None
        self._settle()

    @on(OptionList.OptionHighlighted, "#model-lines")
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        self._settle()

    @on(SettingField.Kept)
    def _kept(self, event: SettingField.Kept) -> None:
        self.show()

    def _settle(self) -> None:
        """Details and buttons of the chosen line."""
        row = self.chosen
        self.query_one(Facts).set(row.facts() if row else [])
        self.query_one("#use", Button).disabled = row is None or row.kind == "encoder"
        self.query_one("#fetch", Button).disabled = row is None or not row.can_be_fetched or self.fetching
        self.query_one("#stop", Button).display = self.fetching
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are shown grey; that for stopping only where there is something to stop."""
        if action == "stop":
            return self.fetching
        if action in ("use", "fetch"):
            return None if any(button.disabled for button in self.query(f"#{action}").results(Button)) else True
        return True

    @on(OptionList.OptionSelected, "#model-lines")
    @on(Button.Pressed, "#use")
    def action_use(self) -> None:
        """New drops use the chosen model."""
        row = self.chosen
        if row is None or row.kind == "encoder":
            return
        app_of(self).change_settings(**{row.kind: row.choice})
        self.notify(f"New drops use {row.name}", timeout=3)
        self.show()

    # -- fetching

    @on(Button.Pressed, "#fetch")
    def action_fetch(self) -> None:
        """Fetch the chosen model; what an earlier attempt brought is gone on with."""
        row = self.chosen
        if row is None or not row.can_be_fetched or self.fetching:
            return
        self._job = app_of(self).engine.start(ModelsRequest(fetch=(row.name,)), f"fetch {row.name}", self)
        stages = self.query_one(StageList)
        stages.display = True
        stages.expect(("import", "fetch"))
        self._settle()

    @on(Button.Pressed, "#stop")
    def action_stop(self) -> None:
        """Stop fetching."""
        if self._job:
            app_of(self).engine.stop(self._job)

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        for event in message.events:
            self.query_one(StageList).handle(event)
            if isinstance(event, Note):
                self.notify(event.text, severity="warning" if event.warning else "information", markup=False)

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job and message.job is not self._listing:
            return
        outcome = message.outcome
        if isinstance(outcome, Finished):
            self._entries = list(outcome.result.to_json()["models"])
        elif isinstance(outcome, Failed):
            app_of(self).show_error(outcome)
        if message.job is self._job:
            self.query_one(StageList).stop(ending(outcome))
            self._settle()
        self._show_rows()


def _line_of(row: ModelRow, chosen: bool) -> TableLine:
    size = readable_size(row.size) if row.size is not None else ""
    return _line("✓" if chosen else "", row.name, row.kind, size, row.state, row.licence, row.where)


def _line(mark: str, name: str, kind: str, size: str, state: str, licence: str, where: str) -> TableLine:
    return TableLine(
        Cell(mark, 1, "bold"),
        Cell(name),
        Cell(kind, 9),
        Cell(size, 8, right=True, least=50),
        Cell(state, 10),
        Cell(licence, 12, "$foreground-muted", least=80),
        Cell(where, None, "$foreground-muted", least=120),
    )
