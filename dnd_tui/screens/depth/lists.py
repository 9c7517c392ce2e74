"""The chains to choose from, and the chains accepted so far: two lists of lines that fit any width."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Self

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.config import data_folder
from dnd_tui.screens.depth.chain_view import small_strip
from dnd_tui.screens.depth.chains import FoundChain, FoundChains, Subject
from dnd_tui.state.chains import AcceptedChain, AcceptedChains
from dnd_tui.text import one_line, when_words
from dnd_tui.widgets.lines import Cell, TableLine
from engine.depth.chain import parse_chain
from engine.depth.scores import Judgement

_STRIP = 30


class ChainMenu(Vertical):
    """The base and the chains of its menu; the one under the cursor is shown."""

    DEFAULT_CSS = """
    ChainMenu {
        height: auto;
        OptionList { height: auto; max-height: 8; padding: 0; text-wrap: nowrap; }
    }
    """

    class Highlighted(Message):
        """The person looks at the chain of this number."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._found: FoundChains | None = None

    def compose(self) -> ComposeResult:
        """Titles, lines."""
        titles = _line("", "layers of the base", "run", "score", "held out", "+/-", "p", "chain")
        yield Static(titles, classes="titles")
        yield OptionList(id="chains-list", compact=True)

    def show(self, found: FoundChains | None) -> None:
        """Show what was found, the cursor on the chain that the search chose; None hides all of it."""
        self._found = found
        self.display = found is not None
        if found is None:
            return
        lines = self.query_one(OptionList)
        lines.set_options(
            Option(_chain_line(one, found.layers, best=number == found.best)) for number, one in enumerate(found.chains)
        )
        lines.highlighted = found.best

    def focus(self, scroll_visible: bool = True) -> Self:
        """Focus the lines."""
        self.query_one(OptionList).focus(scroll_visible)
        return self

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self._found is not None:
            self.post_message(self.Highlighted(event.option_index))


class AcceptedList(Vertical):
    """The chains accepted so far."""

    DEFAULT_CSS = """
    AcceptedList {
        height: auto;
        OptionList { height: auto; max-height: 7; padding: 0; text-wrap: nowrap; }
        .nothing { height: auto; color: $text-muted; }
    }
    """

    class Chosen(Message):
        """The person wants to see this chain."""

        def __init__(self, record: AcceptedChain) -> None:
            super().__init__()
            self.record = record

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._kept = AcceptedChains(data_folder() / "chains")
        self._records: list[AcceptedChain] = []

    def compose(self) -> ComposeResult:
        """Lines, or what is shown while there are none."""
        yield OptionList(id="accepted-list", compact=True)
        yield Static("None yet: accept a chain that was found", classes="nothing", markup=False)

    def on_mount(self) -> None:
        """Nothing is known yet."""
        self.show([])

    async def load(self) -> None:
        """Show those on the disk; raises EngineError where it cannot be read."""
        self.show(await asyncio.to_thread(self._kept.newest_first))

    async def accept(self, subject: Subject) -> None:
        """Keep a chain as the one of its data set; raises EngineError where it cannot be written."""
        record, data = subject.accepted()
        await asyncio.to_thread(self._kept.accept, record, data)
        await self.load()

    async def forget(self, record: AcceptedChain) -> None:
        """Keep it no longer; raises EngineError where it cannot be removed."""
        await asyncio.to_thread(self._kept.remove, record)
        await self.load()

    def subject(self, record: AcceptedChain) -> Subject:
        """One of them, to be looked at."""
        return Subject.of_accepted(record, self._kept.place(record))

    @property
    def under_cursor(self) -> AcceptedChain | None:
        """The chain under the cursor, while the list has the focus."""
        lines = self.query_one(OptionList)
        at = lines.highlighted if lines.has_focus else None
        return self._records[at] if at is not None and at < len(self._records) else None

    def show(self, records: Sequence[AcceptedChain]) -> None:
        """Show these."""
        self._records = list(records)
        lines = self.query_one(OptionList)
        at = lines.highlighted
        now = datetime.now().astimezone()
        lines.set_options(Option(_accepted_line(record, now)) for record in self._records)
        lines.highlighted = min(at or 0, len(self._records) - 1) if self._records else None
        lines.display = bool(self._records)
        self.query_one(".nothing").display = not self._records

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen(self._records[event.option_index]))

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()


def _chain_line(one: FoundChain, layers: int, *, best: bool) -> TableLine:
    judged = one.judged
    base = judged is not None and not judged.verdict
    return _line(
        "▸" if best else "",
        small_strip(parse_chain(one.chain, layers), layers, _STRIP),
        str(one.length),
        "-" if one.value is None else f"{one.value:.3f}",
        "-" if judged is None else _accuracy(judged),
        "base" if base else "-" if judged is None else f"+{judged.gained} -{judged.lost}",
        "" if judged is None or base else f"{judged.p_value:.2g}",
        "the base" if base else one.chain,
    )


def _accuracy(judged: Judgement) -> str:
    low, high = judged.chain_interval
    return f"{judged.chain_right / judged.rows:.0%} ({100 * low:.0f}-{100 * high:.0f})"


def _line(*texts: str) -> TableLine:
    """Mark, strip, layers, score, accuracy, changes, p, words."""
    mark, strip, run, score, held_out, changes, p, words = texts
    return TableLine(
        Cell(f"{mark or ' '}{strip}", 1 + _STRIP),
        Cell(run, 3, right=True),
        Cell(score, 5, least=56),
        Cell(held_out, 11),
        Cell(changes, 7, least=65),
        Cell(p, 5, least=72),
        Cell(words, least=90),
    )


def _accepted_line(record: AcceptedChain, now: datetime) -> TableLine:
    judged = record.judged
    return TableLine(
        Cell(one_line(record.dataset)),
        Cell(f"{record.length}/{record.layers}", 7, right=True),
        Cell(f"{judged.chain_right / judged.rows:.0%}" if judged else "-", 5, right=True),
        Cell(one_line(record.adapter_name) or "no adapter", 16, least=56),
        Cell(when_words(record.when, now), 11, least=40),
    )
