"""The data set's own prompts in a list, read page by page, with a sign for each arm's answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from dnd_tui import jobs
from dnd_tui.judged import kept_as_examples
from dnd_tui.screens.compare.arms import CompareOptions
from dnd_tui.screens.compare.rows import Comparison
from dnd_tui.services import app_of
from dnd_tui.text import one_line
from engine.host import Failed, Finished
from engine.requests import PreviewRequest, PromptChoice
from engine.text import shared_start

_PAGE = 200
# Rows below the cursor that should be there before it comes to them.
_AHEAD = 20
_SHOWN = 200
_SHORTEST_COMMON = 20


@dataclass(frozen=True)
class ListedPrompt:
    """A prompt of the list; numbers below 0 were typed."""

    number: int
    prompt: str
    references: tuple[str, ...] = ()


class PromptList(Vertical):
    """A table of prompts."""

    DEFAULT_CSS = """
    PromptList {
        height: 1fr;
        DataTable { height: 1fr; overflow-x: hidden; }
        #problem { height: auto; color: $text-warning; }
    }
    """

    class Highlighted(Message):
        """The cursor is on this prompt."""

        def __init__(self, row: ListedPrompt) -> None:
            super().__init__()
            self.row = row

    class Chosen(Highlighted):
        """The person wants this prompt answered."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: dict[str, ListedPrompt] = {}
        self._prompts: PromptChoice | None = None
        self._job: jobs.Job | None = None
        self._read = 0
        self._more = False

    @property
    def rows(self) -> list[ListedPrompt]:
        """All prompts read so far, the typed ones too."""
        return list(self._rows.values())

    @property
    def answered(self) -> dict[int, tuple[str, ...]]:
        """By number, the known answers of the prompts that have any."""
        return {row.number: row.references for row in self.rows if row.references}

    def unanswered(self, comparison: Comparison) -> list[int]:
        """The prompts of the source that `comparison` has no whole answers to; it knows all of the list from now on."""
        prompts = [comparison.prompt(row.number, row.prompt, row.references) for row in self.rows]
        return [prompt.number for prompt in prompts if prompt.number > 0 and not prompt.done]

    def kept_as_examples(self, numbers: Collection[int], options: CompareOptions) -> set[int]:
        """Which of `numbers` are not run now, so that there are examples for the others; none while there is more."""
        if self._more or not options.examples:
            return set()
        return kept_as_examples(self.answered, numbers, options.examples, options.seed)

    def compose(self) -> ComposeResult:
        """The table; a line for what went wrong."""
        yield Static("Choose an adapter in the Library (key 5), or generate one", id="problem", markup=False)
        yield DataTable(cursor_type="row", show_header=False, id="prompts-table")

    def on_mount(self) -> None:
        """Its columns."""
        self._table.add_column("", key="signs")
        self._table.add_column("", key="prompt")

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    def open(self, prompts: PromptChoice) -> None:
        """List the prompts of this source."""
        self._prompts, self._rows, self._read, self._more = prompts, {}, 0, False
        self._table.clear()
        self._problem("")
        self._fetch()

    def ask(self) -> None:
        """There are no prompts yet: show where they come from."""
        self._prompts, self._rows, self._read, self._more = None, {}, 0, False
        self._job = None  # what is still read is of another source
        self._table.clear()
        self._problem("Type a prompt (i), choose a prompt file (p), or drop one here")

    def focus_table(self) -> None:
        """Where Enter answers the prompt under the cursor."""
        self._table.focus()

    def add_typed(self, number: int, text: str) -> None:
        """A prompt that was typed comes last, under the cursor."""
        self._add(ListedPrompt(number, text))
        self._table.move_cursor(row=self._table.row_count - 1)

    def choose(self) -> None:
        """As Enter on the table."""
        row = self._under_cursor
        if row:
            self.post_message(self.Chosen(row))

    def step(self, by: int) -> None:
        """Move the cursor."""
        if self._table.row_count:
            row = min(max(self._table.cursor_row + by, 0), self._table.row_count - 1)
            self._table.move_cursor(row=row)

    def show_signs(self, numbers: Iterable[int], comparison: Comparison) -> None:
        """A sign an arm, for these prompts."""
        for number in numbers:
            if str(number) in self._rows and number in comparison.prompts:
                prompt = comparison.prompts[number]
                signs = Text("".join(prompt.sign(arm) for arm in comparison.arms))
                # Drawing a table is dear, and pieces of text come many times a second.
                if signs != self._table.get_cell(str(number), "signs"):
                    self._table.update_cell(str(number), "signs", signs)

    @property
    def _under_cursor(self) -> ListedPrompt | None:
        if not self._table.row_count:
            return None
        return self._rows.get(self._table.coordinate_to_cell_key(self._table.cursor_coordinate).row_key.value or "")

    def _add(self, row: ListedPrompt, common: int = 0) -> None:
        """`common`: so many characters are those of every prompt, and mean nothing in a list."""
        self._rows[str(row.number)] = row
        name = f"{row.number}" if row.number > 0 else "typed"
        beginning = "…" if common else ""
        shown = Text.assemble((f"{name:>4} ", "dim"), beginning, one_line(row.prompt[common : common + _SHOWN]))
        self._table.add_row(Text("··"), shown, key=str(row.number))

    def _fetch(self) -> None:
        assert self._prompts
        request = PreviewRequest(prompts=self._prompts, sample=False, start=self._read, rows=_PAGE)
        title = f"read prompts of {self._prompts.source.name}"
        self._more = False
        self._job = app_of(self).engine.start(request, title, self, light=True)

    @on(jobs.JobEnded)
    def _arrived(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        if isinstance(message.outcome, Failed):
            where = f"{message.outcome.where}: " if message.outcome.where else ""
            self._problem(f"{where}{message.outcome.problem}. You can still type prompts (i)")
        elif isinstance(message.outcome, Finished):
            page = message.outcome.result.data["page"]
            self._read += len(page["rows"])
            self._more = page["more"]
            rows = [row for row in page["rows"] if row["prompt"]]
            common = _common_beginning([row["prompt"] for row in rows])
            for row in rows:
                self._add(ListedPrompt(row["number"], row["prompt"], tuple(row["references"])), common)

    def _problem(self, text: str) -> None:
        problem = self.query_one("#problem", Static)
        problem.update(text)
        problem.display = bool(text)

    @on(DataTable.RowHighlighted)
    def _highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        row = self._under_cursor
        if row:
            self.post_message(self.Highlighted(row))
        if self._more and event.cursor_row >= self._table.row_count - _AHEAD:
            self._fetch()

    @on(DataTable.RowSelected)
    def _selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self.choose()


def _common_beginning(prompts: list[str]) -> int:
    """Length of the instruction that all of several prompts begin with, up to the end of a word."""
    common = shared_start(prompts) if len(prompts) > 1 else ""
    end = max(common.rfind(" "), common.rfind("\n")) + 1
    return end if end >= _SHORTEST_COMMON else 0
