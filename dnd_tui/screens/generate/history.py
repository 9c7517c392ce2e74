"""Earlier runs: the adapters of the library that were generated, with their times, newest first."""

from __future__ import annotations

import asyncio
from datetime import datetime

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from dnd_tui.screens.generate.facts import RunFacts
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import duration, one_line, when_words
from engine.errors import EngineError


class History(Vertical):
    """A table; choosing a run shows its times and picture again."""

    DEFAULT_CSS = """
    History { height: 1fr; DataTable { height: 1fr; } Static { color: $text-muted; } }
    """

    class Chosen(Message):
        """The person wants to see this run again."""

        def __init__(self, record: AdapterRecord) -> None:
            super().__init__()
            self.record = record

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._records: dict[str, AdapterRecord] = {}

    def compose(self) -> ComposeResult:
        """The table, or a line that says there is nothing yet."""
        yield Static(id="none", markup=False)
        yield DataTable(cursor_type="row", id="runs")

    async def on_mount(self) -> None:
        """Fill it."""
        table = self.query_one(DataTable)
        table.add_columns("Adapter", "Made", "To adapter", "Whole run", "Start", "Prompts")
        await self.refresh_rows()

    async def refresh_rows(self) -> None:
        """Read the library again."""
        none = "No adapter has been made yet"
        try:
            records = await asyncio.to_thread(self.app.library.entries)  # type: ignore[attr-defined]
        except EngineError as error:
            records, none = [], f"✗ {one_line(str(error))}"
        generated = (record for record in records if isinstance(record, AdapterRecord) and record.prompts)
        self._records = {record.id: record for record in generated}
        table = self.query_one(DataTable)
        table.clear()
        today = datetime.now().astimezone()
        for record in self._records.values():
            facts = RunFacts.of(record)
            cells = (
                one_line(record.name),
                when_words(record.made, today),
                duration(facts.own_seconds),
                duration(sum(facts.seconds.values())),
                "warm" if record.warm else "cold",
                one_line(record.dataset),
            )
            table.add_row(*map(Text, cells), key=record.id)
        self.query_one("#none", Static).update(none)
        self.query_one("#none").display = not self._records
        table.display = bool(self._records)

    @on(DataTable.RowSelected)
    def _selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.row_key.value in self._records:
            self.post_message(self.Chosen(self._records[event.row_key.value]))
