"""The data set's own prompts in a list, read page by page, with a sign for each arm's answer and for the pick.

◆✗ ✓     1 …He finished the marathon in under three hours.
 ✗◆✓     2 …A warm wind from the south dried the fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import DataTable, Static

from dnd_tui import jobs
from dnd_tui.judged import kept_as_examples
from dnd_tui.screens.compare.answers import asked_text
from dnd_tui.screens.compare.arms import CompareOptions
from dnd_tui.screens.compare.rows import ComparedPrompt, Comparison
from dnd_tui.services import app_of
from dnd_tui.text import one_line
from engine.host import Failed, Finished
from engine.requests import PreviewRequest, PromptChoice
from engine.text import shared_start

_PAGE = 200
# Rows below the cursor that should be there before it comes to them.
_AHEAD = 20
# Characters of a prompt; terminal cells of a line of the list, more than any terminal shows.
_SHOWN, _WIDEST = 200, 250
_SHORTEST_COMMON = 20


@dataclass(frozen=True)
class ListedPrompt:
    """A prompt of the list; numbers below 0 were typed.

    past: it is out of the history, with its answers of that time.
    common: so many characters are those of every prompt around it, and mean nothing in a list.
    """

    number: int
    prompt: str
    references: tuple[str, ...] = ()
    common: int = 0
    past: bool = False


@dataclass
class Listed:
    """What a list holds, to be shown again.

    prompts: where they are from; None where all were typed. read: rows of that source so far, those without a prompt
    too. more: there are further ones. row: where the cursor is.
    """

    prompts: PromptChoice | None = None
    rows: dict[str, ListedPrompt] = field(default_factory=dict)
    read: int = 0
    more: bool = False
    row: int = 0


class PromptList(Vertical):
    """A table of prompts."""

    DEFAULT_CSS = """
    PromptList {
        height: 1fr;
        DataTable { height: 1fr; overflow-x: hidden; }
        #problem { height: auto; color: $text-warning; }
        #whole { display: none; height: auto; max-height: 8; border-left: outer $primary; padding: 0 1; margin-top: 1; }
        #whole Static { height: auto; }
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
        self._listed = Listed()
        self._comparison = Comparison()
        self._job: jobs.Job | None = None

    @property
    def rows(self) -> list[ListedPrompt]:
        """All prompts read so far, the typed ones too."""
        return list(self._listed.rows.values())

    @property
    def current(self) -> ListedPrompt | None:
        """The prompt under the cursor."""
        if not self._table.row_count:
            return None
        key = self._table.coordinate_to_cell_key(self._table.cursor_coordinate).row_key.value or ""
        return self._listed.rows.get(key)

    @property
    def answered(self) -> dict[int, tuple[str, ...]]:
        """By number, the known answers of the prompts that have any."""
        return {row.number: row.references for row in self.rows if row.references}

    def unanswered(self) -> list[ComparedPrompt]:
        """The prompts that have no whole answers; the comparison knows all of the list from now on."""
        prompts = [self._comparison.prompt(row.number, row.prompt, row.references) for row in self.rows if not row.past]
        return [prompt for prompt in prompts if not prompt.done]

    def kept_as_examples(self, numbers: Collection[int], options: CompareOptions) -> set[int]:
        """Which of `numbers` are not run now, so that there are examples for the others; none while there is more."""
        if self._listed.more or not options.examples:
            return set()
        return kept_as_examples(self.answered, numbers, options.examples, options.seed)

    def compose(self) -> ComposeResult:
        """The table; a line for what went wrong."""
        yield Static("Choose an adapter in the Library (key 5), or generate one", id="problem", markup=False)
        yield DataTable(cursor_type="row", show_header=False, id="prompts-table")
        with VerticalScroll(id="whole", can_focus=False):
            yield Static()

    def on_mount(self) -> None:
        """Its column. Were it measured by Textual, rows painted before that would stay blank."""
        self._table.add_column("", key="prompt", width=_WIDEST)

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    def open(self, listed: Listed, comparison: Comparison) -> None:
        """List the prompts of a source, as far as they were read before, with their answers in `comparison`.

        Without a source, show where prompts come from.
        """
        self._close()
        self._listed, self._comparison = listed, comparison
        self._table.clear()
        self.query_one("#whole").remove_class("-some")
        for row in listed.rows.values():
            self._show(row)
        if listed.rows:
            self._table.move_cursor(row=listed.row)
        self._problem("" if listed.prompts else "Type a prompt (i), choose a prompt file (p), or drop one here")
        if listed.prompts and not listed.read:
            self._fetch()

    def _close(self) -> None:
        """What is still being read is read again when this is opened again."""
        self._listed.row = self._table.cursor_row
        if self._job is not None:
            self._listed.more, self._job = True, None

    def focus_table(self) -> None:
        """Where Enter answers the prompt under the cursor."""
        self._table.focus()

    def add_typed(self, number: int, text: str, *, past: bool = False) -> None:
        """A prompt that was typed, or comes out of the history, comes last, under the cursor."""
        self._add(ListedPrompt(number, text, past=past))
        self.point_at(number)

    def ask_anew(self, number: int) -> None:
        """A prompt out of the history is asked again: it is as if it had been typed."""
        self._listed.rows[str(number)] = replace(self._listed.rows[str(number)], past=False)

    def point_at(self, number: int) -> None:
        """Move the cursor to the prompt of this number, if it is listed."""
        if str(number) in self._listed.rows:
            self._table.move_cursor(row=self._table.get_row_index(str(number)))

    def choose(self) -> None:
        """As Enter on the table."""
        if row := self.current:
            self.post_message(self.Chosen(row))

    def step(self, by: int) -> None:
        """Move the cursor."""
        if self._table.row_count:
            row = min(max(self._table.cursor_row + by, 0), self._table.row_count - 1)
            self._table.move_cursor(row=row)

    def show_signs(self, numbers: Iterable[int] | None = None) -> None:
        """How these prompts stand in the comparison; None for all."""
        for key in self._listed.rows if numbers is None else map(str, numbers):
            if key in self._listed.rows:
                line = self._line(self._listed.rows[key])
                # Drawing a table is dear, and pieces of text come many times a second.
                if line != self._table.get_cell(key, "prompt"):
                    self._table.update_cell(key, "prompt", line)

    def _add(self, row: ListedPrompt) -> None:
        self._listed.rows[str(row.number)] = row
        self._show(row)

    def _show(self, row: ListedPrompt) -> None:
        self._table.add_row(self._line(row), key=str(row.number))

    def _line(self, row: ListedPrompt) -> Text:
        prompt = self._comparison.prompts.get(row.number) or ComparedPrompt(row.number, row.prompt)
        name = "past" if row.past else f"{row.number}" if row.number > 0 else "typed"
        beginning = "…" if row.common else ""
        shown = one_line(row.prompt[row.common : row.common + _SHOWN])
        return Text.assemble(prompt.signs(self._comparison.arms), (f" {name:>4} ", "dim"), beginning, shown)

    def _fetch(self) -> None:
        listed = self._listed
        assert listed.prompts
        request = PreviewRequest(prompts=listed.prompts, sample=False, start=listed.read, rows=_PAGE)
        title = f"read prompts of {listed.prompts.source.name}"
        listed.more = False
        self._job = app_of(self).engine.start(request, title, self, light=True)

    @on(jobs.JobEnded)
    def _arrived(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        self._job = None
        if isinstance(message.outcome, Failed):
            where = f"{message.outcome.where}: " if message.outcome.where else ""
            self._problem(f"{where}{message.outcome.problem}. You can still type prompts (i)")
        elif isinstance(message.outcome, Finished):
            page = message.outcome.result.data["page"]
            self._listed.read += len(page["rows"])
            self._listed.more = page["more"]
            rows = [row for row in page["rows"] if row["prompt"]]
            common = _common_beginning([row["prompt"] for row in rows])
            for row in rows:
                self._add(ListedPrompt(row["number"], row["prompt"], tuple(row["references"]), common))

    def _problem(self, text: str) -> None:
        problem = self.query_one("#problem", Static)
        problem.update(text)
        problem.display = bool(text)

    @on(DataTable.RowHighlighted)
    def _highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        if row := self.current:
            self.query_one("#whole").add_class("-some")
            self.query_one("#whole Static", Static).update(asked_text(row.prompt, row.references))
            self.post_message(self.Highlighted(row))
        if self._listed.more and event.cursor_row >= self._table.row_count - _AHEAD:
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
