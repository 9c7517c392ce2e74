"""Streamed answers to one prompt, an arm a column; in a narrow terminal, an arm a tab.

    ▌ What is 17 * 23?
    ▌ reference: 391
    ╭─ base ──────────────────────╮ ╭─ adapter ───────────────────╮
    │ ✗ wrong  0.21 s to first …  │ │ ● streaming                 │
    │ 17 * 23 is 401.             │ │ 17 * 20 is 340, and 17 * 3  │

Pieces of text are collected and drawn every 100 ms, not one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import HorizontalScroll, Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static, Tab, Tabs

from dnd_tui.screens.compare.answer_text import AnswerText, word_differences
from dnd_tui.screens.compare.rows import Answer, ComparedPrompt
from dnd_tui.services import app_of
from dnd_tui.text import duration, one_line, printable

# Seconds between two drawings of new text.
_PAUSE = 0.1
_NOT_ASKED = "not answered yet"
# Columns are at least so wide; where two do not fit they are tabs, where more do not fit they scroll.
_COLUMN = 34


class StateLine(Widget):
    """How an answer stands, with as many of its figures as there is room for; all of them in the tooltip."""

    DEFAULT_CSS = """
    StateLine { height: 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._head = Content()
        self._figures: Sequence[str] = ()

    def show_state(self, head: Content, figures: Sequence[str]) -> None:
        """Show these, the first figures rather than the last."""
        self._head, self._figures = head, figures
        self.tooltip = self._line(len(figures)).plain.strip()
        self.refresh()

    def render(self) -> Content:
        """One line."""
        many = len(self._figures)
        while many > 1 and self._line(many).cell_length > self.size.width:
            many -= 1
        return self._line(many)

    def _line(self, many: int) -> Content:
        return Content.assemble(self._head, "  ", ", ".join(self._figures[:many]))


class AnswerPane(Vertical):
    """The answer of one arm."""

    DEFAULT_CSS = """
    AnswerPane {
        width: 1fr; height: 1fr; border: round $panel-lighten-2; padding: 0 0 0 1;
        border-title-color: $foreground; border-title-style: bold;
        &:focus-within { border: round $primary; }
        &.-picked { border: double $accent; border-title-color: $text-accent; }
    }
    """

    def __init__(self, arm: str) -> None:
        super().__init__()
        self.arm = arm
        self.answer = AnswerText()
        self.done = False
        self._sign = "·"
        self._picked = False
        self._state = StateLine()
        self._pieces: list[str] = []
        self._show_state("·", _NOT_ASKED)

    def compose(self) -> ComposeResult:
        """How it went, the text."""
        yield self._state
        yield self.answer

    def on_mount(self) -> None:
        """The arm's name is the title."""
        self.border_title = Content(self.title)

    @property
    def title(self) -> str:
        """Sign and name."""
        return f"{'◆ picked: ' if self._picked else ''}{one_line(self.arm)}"

    @property
    def label(self) -> str:
        """For a tab: how it stands, and the name."""
        return f"{self._sign} {self.title}"

    def begin(self, *, waiting: bool) -> None:
        """No answer yet; `waiting` for one that was asked for."""
        self._pieces.clear()
        self.answer.clear()
        self.done = False
        self.pick(picked=False)
        self._show_state("·", "waiting" if waiting else _NOT_ASKED)

    def keep(self, text: str) -> None:
        """Keep a piece until `flush`."""
        if not self._pieces and self._sign != "●":
            self._show_state("●", "streaming")
        self._pieces.append(text)

    def flush(self) -> None:
        """Show the pieces."""
        if self._pieces:
            self.answer.append("".join(self._pieces))
            self._pieces.clear()

    def finish(self, answer: Answer) -> None:
        """The answer is complete."""
        self.flush()
        self.done = True
        figures = []
        if answer.first_seconds is not None:
            # These two fit in two panes of 120 columns.
            figures.append(f"{duration(answer.first_seconds)} to first")
        if answer.tokens_per_second is not None:
            figures.append(f"{answer.tokens_per_second:.1f} tokens/s")
        if answer.asked:
            figures.append(f"{answer.asked} tokens a query")
        score = answer.score
        if answer.right:
            self._show_state("✓", "right", figures, "$text-success bold")
        elif score == 0:
            self._show_state("✗", "wrong", figures, "$text-error bold")
        else:
            self._show_state("■", "done" if score is None else f"score {score:.2f}", figures, "$foreground bold")

    def say(self, message: str) -> None:
        """What was asked next, in a chat; its answer follows."""
        self.flush()
        self.done = False
        self.answer.append("\n\n" if self.answer.text else "")
        self.answer.append("".join(f"▌ {line}\n" for line in message.split("\n")), "bold $text-primary")
        self._show_state("·", "waiting")

    def remark(self, text: str) -> None:
        """Something about the answer that follows."""
        self.flush()
        self.answer.append(f"({text})\n", "italic $foreground-muted")

    def pick(self, *, picked: bool) -> None:
        """Mark this arm as the one the person preferred."""
        self._picked = picked
        self.set_class(picked, "-picked")
        self.border_title = Content(self.title)

    def _show_state(self, sign: str, word: str, figures: Sequence[str] = (), style: str = "$text-primary bold") -> None:
        self._sign = sign
        self._state.show_state(Content.styled(f"{sign} {word}", style), figures)


class AnswerColumns(HorizontalScroll, can_focus=False, inherit_bindings=False):
    """The panes side by side; the arrow keys go from pane to pane, and what has the focus is scrolled to."""


class AnswerPanes(Vertical):
    """The answers of all arms to one prompt; or to all messages of a chat, which stand between them.

    Args:
        differences: mark the words in which answers differ.
    """

    DEFAULT_CSS = """
    AnswerPanes {
        height: 1fr;
        .prompt { height: auto; max-height: 6; border-left: outer $primary; padding: 0 1; margin-bottom: 1; }
        .prompt Static { height: auto; }
        .nothing { height: 1fr; content-align: center middle; color: $text-muted; }
        Tabs { display: none; }
        Tab.-active { text-style: bold underline; }
        AnswerColumns { height: 1fr; }
        &.-tabs {
            Tabs { display: block; }
            .prompt { max-height: 4; margin-bottom: 0; }
            AnswerPane, AnswerPane:focus-within, AnswerPane.-picked { border: none; width: 1fr; padding: 0; }
        }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "other(-1)", "Arm before", id="answers.left", show=False, tooltip="Go to the arm before"),
        Binding("right", "other(1)", "Next arm", id="answers.right", show=False, tooltip="Go to the next arm"),
        Binding("c", "copy", "Copy answer", id="answers.copy", tooltip="Copy the answer that has the focus"),
    ]

    def __init__(self, *, id: str | None = None, differences: bool = True) -> None:
        super().__init__(id=id)
        self._prompt = ""
        self._question = Content()
        self._panes: dict[str, AnswerPane] = {}
        self._asked: Static | None = None
        self._waiting: Timer | None = None
        self._highlight = differences

    def compose(self) -> ComposeResult:
        """Prompt, tabs, panes."""
        if not self._panes:
            yield Static("No answers yet", classes="nothing")
            return
        with VerticalScroll(classes="prompt") as prompt:
            prompt.display = bool(self._prompt)
            self._asked = Static(self._question)
            yield self._asked
        yield Tabs(*(Tab(Content(pane.label), id=f"arm-{at}") for at, pane in enumerate(self._panes.values())))
        with AnswerColumns():
            yield from self._panes.values()

    # -- what is shown

    def show_prompt(self, prompt: ComparedPrompt, arms: Sequence[str], *, waiting: bool) -> None:
        """Show a prompt with its answers, as far as they are there."""
        self.begin(prompt.prompt, prompt.arms or arms, prompt.references, waiting=waiting, words=prompt.words)
        for arm, answer in prompt.answers.items():
            self.append(arm, answer.text)
            if answer.done:
                self.finish(arm, answer)
        self.set_picked(prompt.pick)

    def begin(
        self,
        prompt: str,
        arms: Sequence[str],
        references: tuple[str, ...] = (),
        *,
        waiting: bool = False,
        words: str = "",
    ) -> None:
        """Show another prompt, whose answers by `arms` come later.

        Args:
            references: known right answers.
            waiting: the answers have been asked for.
            words: what else there is to say of the prompt.
        """
        self._prompt, self._question = prompt, asked_text(prompt, references, words)
        if list(self._panes) == list(arms):
            for pane in self._panes.values():
                pane.begin(waiting=waiting)
            # It may be made and not mounted yet.
            if self._asked is not None:
                self._asked.update(self._question)
            for question in self.query(".prompt"):
                question.display = bool(prompt)
                question.scroll_home(animate=False)
            self._label_tabs()
        else:
            self._panes = {arm: AnswerPane(arm) for arm in arms}
            for pane in self._panes.values():
                pane.begin(waiting=waiting)
            self.refresh(recompose=True)
            self.call_after_refresh(self._display)

    def append(self, arm: str, text: str) -> None:
        """Add a piece to the answer of `arm`."""
        self._panes[arm].keep(text)
        if self._waiting is None:
            self._waiting = self.set_timer(_PAUSE, self._flush)

    def say(self, message: str) -> None:
        """The next message of a chat; it is answered by all arms."""
        for pane in self._panes.values():
            pane.say(message)
        self._label_tabs()

    def remark(self, arm: str, text: str) -> None:
        """Something about the next answer of `arm`."""
        self._panes[arm].remark(text)

    def finish(self, arm: str, answer: Answer) -> None:
        """The answer of `arm` is complete; its text has been appended."""
        self._panes[arm].finish(answer)
        self._label_tabs()
        self._mark_differences()

    def set_picked(self, arm: str | None) -> None:
        """Mark the arm that the person preferred, or none."""
        for name, pane in self._panes.items():
            pane.pick(picked=name == arm)
        self._label_tabs()

    def toggle_differences(self) -> None:
        """Mark the words in which the answers differ from the first arm's, once all are complete; or mark none."""
        self._highlight = not self._highlight
        self._mark_differences()

    def answer(self, arm: str) -> str:
        """The text of `arm` so far, as it is shown."""
        self._panes[arm].flush()
        return self._panes[arm].answer.text

    @property
    def current(self) -> str | None:
        """The arm that has the focus or is in the front tab."""
        for name, pane in self._panes.items():
            if pane.has_focus_within or (self.has_class("-tabs") and pane.display):
                return name
        return None

    # -- keys and mouse

    def action_other(self, by: int) -> None:
        """Go to another arm."""
        names = list(self._panes)
        if names:
            at = names.index(self.current) + by if self.current in names else 0
            at = min(max(at, 0), len(names) - 1)
            self.query_one(Tabs).active = f"arm-{at}"
            self._panes[names[at]].display = True
            self._panes[names[at]].answer.focus()

    def action_copy(self) -> None:
        """Copy the answer in front."""
        if self.current is not None:
            app_of(self).copy_text(self.answer(self.current), f"the answer of {self.current}")

    def on_resize(self, event: events.Resize) -> None:
        """Columns or tabs."""
        self.set_class(event.size.width < 2 * _COLUMN, "-tabs")
        self._display()

    @on(Tabs.TabActivated)
    def _activated(self, event: Tabs.TabActivated) -> None:
        event.stop()
        self._display()

    # -- drawing

    def _display(self) -> None:
        """All panes, or the one whose tab is in front."""
        tabs = self.has_class("-tabs")
        active = next((found.active for found in self.query(Tabs)), "")
        room = tabs or len(self._panes) * _COLUMN <= self.size.width
        for at, pane in enumerate(self._panes.values()):
            pane.display = not tabs or active == f"arm-{at}"
            pane.styles.width = "1fr" if room else _COLUMN

    def _flush(self) -> None:
        self._waiting = None
        for pane in self._panes.values():
            pane.flush()
        self._label_tabs()

    def _label_tabs(self) -> None:
        for tab, pane in zip(self.query(Tab), self._panes.values(), strict=False):
            if tab.label_text != pane.label:
                tab.label = Content(pane.label)

    def _mark_differences(self) -> None:
        panes = list(self._panes.values())
        marked = self._highlight and all(pane.done for pane in panes)
        for pane in panes:
            # The first arm is compared only where there is one other: else it would not be clear with which.
            other = panes[0] if pane is not panes[0] else panes[1] if len(panes) == 2 else pane
            spans = word_differences(other.answer.text, pane.answer.text) if marked else []
            pane.answer.highlight(spans)


def asked_text(prompt: str, references: Sequence[str], words: str = "") -> Content:
    """A whole prompt, with its known right answers and other words about it."""
    parts = [Content(printable(prompt.strip()))]
    if references:
        known = " | ".join(map(one_line, references))
        parts.append(Content.assemble(("reference: ", "$foreground-muted"), known))
    if words:
        parts.append(Content.styled(one_line(words), "$foreground-muted"))
    return Content("\n").join(parts)
