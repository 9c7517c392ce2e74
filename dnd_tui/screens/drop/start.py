"""What the Drop screen shows before anything is dropped: the drop zone, a path field, sources used lately.

┌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┐
╎   Drop a prompt file here     ╎
╎   [ Browse ]   [ Example ]    ╎
└╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┘
path ....................
Drop     a file of prompts            at the first start
topics.jsonl      40 rows  jsonl
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Center, Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.state.histories import RecentSource
from dnd_tui.text import printable, short_path, when_words
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import Cell, TableLine
from dnd_tui.widgets.path_field import PathField

ACCEPTED = ".jsonl .json .csv .tsv .parquet .txt .md, gzipped too, or a folder of them"
_TAGLINE = (
    "[b]Prompts in, LoRA adapter out.[/b] What you would put in front of every query, examples or an instruction, "
    "goes into the weights once."
)
FOUR_STEPS = """\
Drop     a file of prompts; a CSV with answers will do
Check    what was read, and what goes into the adapter
Make     press Enter; rows kept back show its worth
Compare  its answers with the base's, then export it"""
"""What a person does here, for whoever has not done it yet."""
_TRAY = """\
██
██
▀█▄██▄█▀
▀██▀
█▄          ▄█
▀████████████▀"""


class DropZone(Vertical, can_focus=True):
    """Where to drop. A drop reaches the app wherever the focus is; the zone shows it, and opens a dialog."""

    DEFAULT_CSS = """
    DropZone {
        height: auto; padding: 1 2; border: dashed $primary; background: $surface; align: center middle;
        &:hover { background: $boost; }
        &:focus { border: dashed $accent; background: $boost; }
        Static { width: 1fr; text-align: center; }
        .tray { color: $primary; margin-bottom: 1; }
        .title { text-style: bold; }
        Horizontal { width: auto; height: auto; margin-top: 1; }
        Button { margin: 0 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.browse", "Browse", id="drop.zone", show=False, tooltip="Choose a file or folder"),
    ]

    def compose(self) -> ComposeResult:
        """A tray, what to do, two buttons."""
        yield Static(_TRAY, classes="tray", markup=False)
        yield Static("Drop a prompt file or dataset folder here", classes="title")
        yield Static("Drag it from your file manager onto this terminal", classes="muted hint")
        with Center(), Horizontal():
            yield KeyButton("Browse", "drop.browse", id="browse")
            yield KeyButton("Example", "drop.example", id="example")

    async def on_click(self) -> None:
        """A click beside the buttons browses."""
        await self.run_action("screen.browse")

    def on_mount(self) -> None:
        """A browser hands no paths over: nothing can be dropped there."""
        if self.app.is_web:
            self.query_one(".title", Static).update("Choose a prompt file or dataset folder")
            self.query_one(".hint", Static).update("Files of the machine that serves this page")


class SourceOption(Option):
    """A line of the list that knows its source."""

    def __init__(self, source: RecentSource, line: TableLine) -> None:
        super().__init__(line)
        self.source = source


class StartView(VerticalScroll, can_focus=False):
    """The empty state."""

    DEFAULT_CSS = """
    StartView {
        align: center middle; padding: 0 2;
        & > Vertical { width: 100%; max-width: 96; height: auto; }
        .tagline { width: 1fr; text-align: center; margin-bottom: 1; }
        .accepted { width: 1fr; text-align: center; color: $text-muted; }
        .label { margin-top: 1; color: $text-muted; }
        PathField { height: 3; }
        #tour { display: none; width: auto; height: auto; margin-top: 1; padding: 0 1; border-left: thick $accent; }
        #recent { height: auto; max-height: 12; text-wrap: nowrap; }
    }
    """

    class Chosen(Message):
        """A source was typed or taken from the list; it need not be there."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path

    def compose(self) -> ComposeResult:
        """One column in the middle."""
        with Vertical():
            yield Static(_TAGLINE, classes="tagline")
            yield DropZone()
            yield Static(ACCEPTED, classes="accepted", markup=False)
            yield Static("Or type a path [b]/[/b]", classes="label")
            yield PathField(placeholder="~/data/prompts.jsonl", id="path")
            with Center():
                yield Static(FOUR_STEPS, id="tour", markup=False)
            yield Static("Recent", classes="label", id="recent-label")
            yield OptionList(id="recent", compact=True)

    def on_mount(self) -> None:
        """Nothing is known of recent sources yet."""
        self.show_recent([])

    def show_recent(self, sources: Sequence[tuple[RecentSource, bool]]) -> None:
        """List sources, the newest first.

        Args:
            sources: each with whether it is missing.
        """
        today = datetime.now().astimezone()
        options = self.query_one("#recent", OptionList)
        options.set_options(SourceOption(source, _line(source, missing, today)) for source, missing in sources)
        for widget in (options, self.query_one("#recent-label")):
            widget.display = bool(sources)

    @property
    def touring(self) -> bool:
        """Whether the four steps are shown."""
        return bool(self.query_one("#tour").display)

    def show_tour(self, shown: bool) -> None:
        """Show the four steps of a first start, or not."""
        self.query_one("#tour").display = shown

    def focus_zone(self) -> None:
        """Where Enter browses and every key of the screen works."""
        self.query_one(DropZone).focus(scroll_visible=False)

    @on(PathField.Submitted)
    def _submitted(self, message: PathField.Submitted) -> None:
        message.stop()
        self.post_message(self.Chosen(message.path.absolute()))

    @on(OptionList.OptionSelected, "#recent")
    def _selected(self, message: OptionList.OptionSelected) -> None:
        message.stop()
        if isinstance(message.option, SourceOption):
            self.post_message(self.Chosen(message.option.source.path))


def _line(source: RecentSource, missing: bool, today: datetime) -> TableLine:
    rows = "" if source.rows is None else f"{source.rows:,} rows"
    style = "dim" if missing else ""
    return TableLine(
        Cell(printable(source.path.name), style=style or "bold"),
        Cell(printable(short_path(source.path.parent)), style="dim", least=90),
        Cell("missing" if missing else rows, 14, "$text-warning" if missing else "", right=True),
        Cell(source.format, 8, style, least=50),
        Cell(when_words(source.when, today), 12, "dim"),
    )
