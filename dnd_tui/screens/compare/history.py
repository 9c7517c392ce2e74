"""What was asked on Compare and in chats, of this run of the app and of earlier ones, searched as one types."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static

from dnd_tui.screens.dialogs import FRAME, FormDialog
from dnd_tui.services import app_of
from dnd_tui.state.histories import AskedPrompt
from dnd_tui.text import one_line, printable, when_words
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.lines import Cell, TableLine
from dnd_tui.widgets.path_inputs import DropInput
from engine.errors import EngineError

# More lines than anyone looks through; more words find what is below.
_MOST_SHOWN = 200
_LINE = 200


class HistoryDialog(FormDialog[AskedPrompt]):
    """A search field, what it finds, the newest first, and the answers of the chosen one; the result is that one."""

    AUTO_FOCUS = "#words"
    DEFAULT_CSS = f"""
    HistoryDialog {FRAME}
    HistoryDialog {{
        .frame {{ border: round $primary; width: 120; max-width: 100%; height: 1fr; max-height: 100%; padding: 0 1; }}
        OptionList {{ height: 1fr; text-wrap: nowrap; background: transparent; scrollbar-gutter: stable; }}
        .frame > VerticalScroll {{ height: 10; max-height: 10; border-top: solid $panel-lighten-2; }}
        VerticalScroll Static {{ height: auto; }}
        .buttons {{ margin-top: 0; }}
        &.-short .frame > VerticalScroll {{ height: 5; }}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", id="history.close", tooltip="Leave without a prompt"),
        Binding("down", "step(1)", "Next", id="history.next", show=False, tooltip="The next one, also while typing"),
        Binding("up", "step(-1)", "Previous", id="history.previous", show=False, tooltip="The one before"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._all: list[AskedPrompt] = []
        self._found: list[AskedPrompt] = []
        self._list = OptionList(compact=True, id="found")
        self._answers = Static(markup=False)

    def compose(self) -> ComposeResult:
        """From the field down."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "What was asked"
            yield DropInput(placeholder="Words of a prompt, an answer, a base, an adapter, a date", id="words")
            yield self._list
            with VerticalScroll(can_focus=False):
                yield self._answers
            with Horizontal(classes="buttons"):
                yield Button("Close", id="cancel")
                yield Button("Take it", variant="primary", id="take")

    def on_mount(self) -> None:
        """Read the file."""
        self._read()

    @work(exclusive=True)
    async def _read(self) -> None:
        try:
            self._all = await ask_disk(app_of(self).asked.newest_first)
        except (EngineError, TimeoutError) as error:
            self._answers.update(f"The history cannot be read: {error}")
            return
        self._show()

    @on(Input.Changed, "#words")
    def _show(self) -> None:
        words = self.query_one("#words", Input).value
        self._found = [asked for asked in self._all if asked.holds(words)][:_MOST_SHOWN]
        now = datetime.now().astimezone()
        self._list.set_options([_line(asked, now) for asked in self._found])
        self._list.highlighted = 0 if self._found else None
        self.query_one("#take", Button).disabled = not self._found
        if not self._found:
            self._answers.update("Nothing was asked so far" if not self._all else "Nothing has these words")

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index < len(self._found):
            self._answers.update(_whole(self._found[event.option_index]))

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    @on(Button.Pressed, "#take")
    def _take(self) -> None:
        at = self._list.highlighted
        if at is not None and at < len(self._found):
            self.dismiss(self._found[at])

    def action_step(self, by: int) -> None:
        """To another one."""
        if self._found:
            self._list.highlighted = min(max((self._list.highlighted or 0) + by, 0), len(self._found) - 1)


def _line(asked: AskedPrompt, now: datetime) -> TableLine:
    names = one_line(", ".join(asked.adapters)) or "base alone"
    return TableLine(
        Cell(when_words(asked.when, now), 11, "$foreground-muted"),
        Cell("chat" if asked.turn else "", 4, "$text-primary"),
        Cell(one_line(asked.prompt[:_LINE])),
        Cell(names, 24, "$foreground-muted", least=70),
    )


def _whole(asked: AskedPrompt) -> Content:
    """Base, prompt and answers."""
    parts: Sequence[Content] = [
        Content.styled(one_line(asked.words), "$foreground-muted"),
        Content.styled(printable(asked.prompt.strip()), "bold"),
        *(
            Content.assemble((f"{one_line(arm)}: ", "$text-primary"), printable(answer.strip()))
            for arm, answer in asked.answers.items()
        ),
    ]
    return Content("\n").join(parts)
