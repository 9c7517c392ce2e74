"""What a teacher answered, for a person to look through and to change.

    ╭─ Look through the answers ──────────────────────────────────╮
    │ 64 answers, 63 by qwen; ✓ yours, ! no answer                │
    │      no.  prompt                       answer               │
    │        1  Name a colour.               Blue                 │
    │   ✓    2  Name an animal.              A fox                │
    │ ─────────────────────────────────────────────────────────── │
    │ Name an animal.                                             │
    │ ▌A fox                                                      │
    ╰─────────────────────────────────────────────────────────────╯

One editor for all rows: a field each would be slow with a few dozen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, OptionList, Static, TextArea

from dnd_tui.screens.dialogs import FRAME, Question
from dnd_tui.screens.drop.rows import common_beginning
from dnd_tui.services import app_of
from dnd_tui.text import answers_words, one_line, printable, short_path
from dnd_tui.widgets.bars import KeyBar
from dnd_tui.widgets.dialog import Dialog
from dnd_tui.widgets.lines import Cell, TableLine
from dnd_tui.widgets.path_inputs import Dropped, DropTextArea
from engine.errors import EngineError
from engine.prompts.answer_sheet import SheetRow, write_sheet
from engine.solver.plan import FEWEST_ANSWERS

_YOURS, _MISSING = "✓", "!"
# Characters of a text that a line of the list can show.
_LINE = 600


class SheetEdits:
    """The rows of a sheet, and what a person makes of them."""

    def __init__(self, rows: Sequence[SheetRow]) -> None:
        self._before = tuple(rows)
        self.rows = list(rows)

    def change(self, place: int, text: str) -> bool:
        """Put in another response, which then is the person's own; whether anything is different now.

        An empty one leaves the prompt unanswered. The first one is the teacher's again.
        """
        now, first = self.rows[place], self._before[place]
        self.rows[place] = first if text == first.response else SheetRow(first.prompt, text.strip())
        return self.rows[place] != now

    @property
    def edited(self) -> bool:
        """Whether anything is otherwise than at first."""
        return tuple(self.rows) != self._before

    @property
    def answered(self) -> int:
        """How many rows have a response."""
        return sum(bool(row.response) for row in self.rows)

    @property
    def words(self) -> str:
        """How many answers there are, and whose."""
        missing = len(self.rows) - self.answered
        taught = Counter(row.answered_by for row in self.rows if row.response and row.answered_by)
        return answers_words(self.answered, taught) + (f", {missing} missing" if missing else "")


class TaughtDialog(Dialog[bool]):
    """The answers in a table with an editor; whether they are to be used, in which case they are in their file.

    Args:
        file: what they were read from, and are written to.
        rows: one for each prompt.
    """

    AUTO_FOCUS = "#answers"
    DEFAULT_CSS = f"""
    TaughtDialog {FRAME}
    TaughtDialog {{
        .frame {{ border: round $primary; width: 120; max-width: 100%; height: 1fr; max-height: 100%; padding: 0 1; }}
        .line {{ height: 1; }}
        .legend {{ width: 1fr; text-align: right; color: $text-muted; }}
        #remark {{ width: auto; }}
        .head {{ height: 1; padding-right: 2; color: $text-muted; text-style: bold; text-wrap: nowrap; }}
        OptionList {{ height: 1fr; text-wrap: nowrap; background: transparent; scrollbar-gutter: stable; }}
        .frame > VerticalScroll {{ max-height: 6; border-top: solid $panel-lighten-2; }}
        VerticalScroll Static {{ height: auto; }}
        .editor {{ height: 7; border-left: outer $primary-muted; }}
        .editor:focus-within {{ border-left: outer $primary; }}
        .editor TextArea {{ padding: 0; }}
        .buttons {{ margin-top: 0; }}
        &.-short .frame > VerticalScroll {{ max-height: 4; }}
        &.-short .editor {{ height: 3; }}
        &.-narrow .legend {{ display: none; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Use answers", id="taught.save", priority=True, tooltip="Use these answers"),
        Binding("ctrl+down", "step(1)", "Next", id="taught.next", tooltip="The next answer, also while typing"),
        Binding("ctrl+up", "step(-1)", "Previous", id="taught.previous", tooltip="The one before, also while typing"),
        Binding("escape", "back", "Back", id="taught.back", tooltip="From the answer to the list; from there, leave"),
    ]

    def __init__(self, file: Path, rows: Sequence[SheetRow]) -> None:
        super().__init__()
        self._file = file
        self._edits = SheetEdits(rows)
        self._common = common_beginning([row.prompt for row in rows])
        self._place = 0
        # What was put into the editor, and what it made of it: some line ends are not its own.
        self._shown = self._loaded = ""
        self._list = OptionList(compact=True, id="answers")
        self._prompt = Static(markup=False)
        self._whole = VerticalScroll(self._prompt, can_focus=False)
        self._editor = DropTextArea(compact=True, placeholder="no answer", highlight_cursor_line=False, id="answer")

    def compose(self) -> ComposeResult:
        """Counts, list, the whole prompt, its answer, two buttons, keys."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Look through the answers"
            frame.border_subtitle = Content(one_line(short_path(self._file)))
            with Horizontal(classes="line"):
                yield Static(id="remark", markup=False)
                yield Static(f"{_YOURS} yours  {_MISSING} no answer", classes="legend", markup=False)
            common = f", each begins: {one_line(self._common)}" if self._common else ""
            yield Static(_line(" ", "no.", f"prompt{common}", "answer", head=True), classes="head")
            yield self._list
            yield self._whole
            with Vertical(classes="editor"):
                yield self._editor
            with Horizontal(classes="buttons"):
                yield Button("Leave", id="leave")
                yield Button("Use these answers", variant="primary", id="save")
        yield KeyBar(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin with the first."""
        self._list.add_options([self._drawn(place) for place in range(len(self._edits.rows))])
        self._list.highlighted = 0
        self._show(0)
        self._show_counts()

    # -- rows

    def _drawn(self, place: int) -> TableLine:
        row = self._edits.rows[place]
        sign = _MISSING if not row.response else " " if row.answered_by else _YOURS
        same = self._common and row.prompt.startswith(self._common)
        prompt = f"… {row.prompt[len(self._common) :]}" if same else row.prompt
        return _line(sign, str(place + 1), one_line(prompt[:_LINE]), one_line(row.response[:_LINE]))

    def _show(self, place: int) -> None:
        self._place = place
        row = self._edits.rows[place]
        self._prompt.update(printable(row.prompt))
        # Where all begin alike, what differs stands at the end.
        (self._whole.scroll_end if self._common else self._whole.scroll_home)(animate=False)
        self._shown = row.response
        with self.prevent(TextArea.Changed):
            self._editor.load_text(printable(row.response))
        self._loaded = self._editor.text

    def _take(self) -> None:
        """What stands in the editor becomes the response of its row; untouched, that stays as the teacher wrote it."""
        text = self._shown if self._editor.text == self._loaded else self._editor.text
        if self._edits.change(self._place, text):
            self._list.replace_option_prompt_at_index(self._place, self._drawn(self._place))
            self._show_counts()

    def _show_counts(self) -> None:
        self.query_one("#remark", Static).update(self._edits.words)
        self.query_one("#save", Button).disabled = self._edits.answered < FEWEST_ANSWERS

    @on(TextArea.Changed)
    def _typed(self) -> None:
        self._take()

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index != self._place:
            self._take()  # of a key that was pressed just before
            self._show(event.option_index)

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        """Enter on the list goes into the answer."""
        self._editor.focus()

    def action_step(self, by: int) -> None:
        """To another row; the focus stays where it is."""
        self._list.highlighted = min(max(self._place + by, 0), len(self._edits.rows) - 1)

    # -- the end

    @on(Button.Pressed, "#save")
    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        """Use them, if they are enough. What was changed is in the file by then."""
        self._take()
        if self._edits.answered < FEWEST_ANSWERS:
            return
        try:
            await asyncio.to_thread(partial(write_sheet, self._file, tuple(self._edits.rows)))
        except EngineError as error:
            app_of(self).show_error(error)
            return
        self.dismiss(True)

    def action_back(self) -> None:
        """To the list; from there, leave."""
        if self.focused is self._editor:
            self._list.focus()
        else:
            self.leave()

    @on(Button.Pressed, "#leave")
    @work(exclusive=True, group="leave")
    async def leave(self) -> None:
        """Leave. What was changed is not thrown away unasked, what the teacher wrote not at all."""
        self._take()
        question = f"Leave, and lose what you changed? {self._file.name} keeps the model's answers."
        if self._edits.edited and not await self.app.push_screen_wait(Question(question, yes="Leave", no="Go on")):
            return
        self.notify(f"The model's answers stay in {short_path(self._file)}")
        self.dismiss(False)

    @on(Dropped)
    def _dropped(self, event: Dropped) -> None:
        """Answers are not lost by a slip."""
        event.stop()
        self.notify("Use these answers or leave them first", severity="warning")


def _line(sign: str, number: str, prompt: str, answer: str, *, head: bool = False) -> TableLine:
    style = "" if head else "$text-success"
    numbered = Cell(number, 4, "dim", right=True)
    return TableLine(Cell(sign, 1, "$primary"), numbered, Cell(prompt), Cell(answer, style=style))
