"""The text of one streamed answer, wrapped as it grows; words that differ from another one's are marked.

Marks help where two answers are the same but for a few words. Where less than half is the same they would be
everywhere, so there are none.

difflib drops words that are frequent in a long text as starting points (its "autojunk"): an answer that repeats
itself would else take cubic time. 4,000 words take some 30 ms.

Only the line that is being written is wrapped again, so that a long answer costs no more per piece than a short one.
What the model wrote is shown literally: no markup, no escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, chop_cells
from textual.binding import Binding, BindingType
from textual.content import Content, Span
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style

from dnd_tui.text import printable

# Scripts written without spaces are compared character by character.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_COMPARED_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
# Of the text that differs; what comes after them counts as different as a whole.
_MOST_WORDS = 4000
# The share of words that two answers have in common, from which on the others are marked.
_MOSTLY_SAME = 0.5
# Underlined and bold, so that it shows without colours.
_DIFFERENT = "$text-accent bold underline"


def word_differences(base: str, adapted: str) -> list[tuple[int, int]]:
    """Where `adapted` has words that `base` has not in that place: (start, end) in characters, in order.

    None where less than half of the words of both stand in both.
    """
    old = _COMPARED_WORD.findall(base)
    found = list(_COMPARED_WORD.finditer(adapted))
    new = [word.group() for word in found]
    every = len(old) + len(new)
    first = _shared(old, new)
    last = _shared(reversed(old[first:]), reversed(new[first:]))
    old, new = old[first : len(old) - last], new[first : len(new) - last]
    matcher = SequenceMatcher(None, old[:_MOST_WORDS], new[:_MOST_WORDS])
    same = first + last + sum(block.size for block in matcher.get_matching_blocks())
    if 2 * same < _MOSTLY_SAME * every:
        return []
    ranges = [(begin, end) for kind, _, _, begin, end in matcher.get_opcodes() if kind in ("replace", "insert")]
    if len(new) > _MOST_WORDS:
        ranges.append((_MOST_WORDS, len(new)))
    return [(found[first + begin].start(), found[first + end - 1].end()) for begin, end in ranges]


def highlighted(text: str, spans: Sequence[tuple[int, int]]) -> Content:
    """`text`, taken literally, with `spans` marked."""
    return Content(text, [Span(start, end, _DIFFERENT) for start, end in spans])


def _shared(one: Iterable[str], other: Iterable[str]) -> int:
    """How many words both begin with."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


# A tab has no width of its own; the separators are line breaks to Python, so a selection must see them as such.
_PLAIN = str.maketrans({"\t": "    ", "\u2028": "\n", "\u2029": "\n"})


# With the white space before it.
_WORD = re.compile(r"\s*(\S+)")


class Row(NamedTuple):
    """A row on the screen: part of a line of the text."""

    line: int
    start: int
    end: int


class AnswerText(ScrollView, can_focus=True, inherit_bindings=False):
    """Text that grows at its end; follows the end unless the person scrolled up."""

    DEFAULT_CSS = """
    AnswerText {
        height: 1fr; width: 1fr; overflow-x: hidden; overflow-y: auto; scrollbar-gutter: stable;
        scrollbar-size-vertical: 1; padding: 0 1 0 0;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "scroll_up", "Up", id="answer.up", show=False, tooltip="Scroll up; new text waits below"),
        Binding("down,j", "scroll_down", "Down", id="answer.down", show=False, tooltip="Scroll down"),
        Binding("pageup", "page_up", "Page up", id="answer.page_up", show=False, tooltip="Scroll up a page"),
        Binding("pagedown", "page_down", "Page down", id="answer.page_down", show=False, tooltip="Scroll down a page"),
        Binding("home", "scroll_home", "Beginning", id="answer.home", show=False, tooltip="To the beginning"),
        Binding("end", "scroll_end", "End", id="answer.end", show=False, tooltip="To the end, and follow it again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._lines = [Content()]
        self._rows: list[Row] = []

    @property
    def allow_select(self) -> bool:
        """With the mouse."""
        return True

    @property
    def text(self) -> str:
        """All text, as it is shown."""
        return "\n".join(line.plain for line in self._lines)

    def append(self, text: str, style: str = "") -> None:
        """Add a piece at the end, in a style of Textual's markup."""
        first, *others = (
            Content.styled(line, style) if style else Content(line)
            for line in printable(text).translate(_PLAIN).split("\n")
        )
        self._lines[-1] += first
        self._lines += others
        # Where the last row of a line begins does not depend on what follows it.
        last = self._rows.pop() if self._rows else Row(0, 0, 0)
        self._wrap(last.line, last.start)

    def clear(self) -> None:
        """No text."""
        self._lines = [Content()]
        self._rows = []
        self.virtual_size = Size(0, 0)
        self.scroll_home(animate=False, immediate=True)
        self.refresh()

    def highlight(self, spans: Sequence[tuple[int, int]]) -> None:
        """Mark these parts of `text`, and no others."""
        self._lines = list(highlighted(self.text, spans).split("\n", allow_blank=True))
        self.refresh()

    def on_resize(self) -> None:
        """Wrap everything anew if the width changed."""
        if self.virtual_size.width != self._width:
            self._rows = []
            self._wrap(0, 0)

    def render_line(self, y: int) -> Strip:
        """One row."""
        style = self.visual_style
        number = y + self.scroll_offset.y
        if number >= len(self._rows):
            return Strip.blank(self.size.width, style.rich_style)
        row = self._rows[number]
        line = self._lines[row.line]
        selected = self.text_selection.get_span(row.line) if self.text_selection else None
        if selected:
            start, end = selected
            selection = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            line = line.stylize(selection, start, len(line) if end == -1 else end)
        part = line[row.start : row.end]
        strip = Strip(part.render_segments(style), part.cell_length).apply_offsets(row.start, row.line)
        return strip.extend_cell_length(self.size.width, style.rich_style)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, without the breaks that wrapping made."""
        parts = []
        for number, line in enumerate(self._lines):
            span = selection.get_span(number)
            if span is not None:
                parts.append(line.plain[span[0] : None if span[1] == -1 else span[1]])
        return "\n".join(parts), "\n"

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width

    def _wrap(self, line: int, start: int) -> None:
        """Make the rows from this place on."""
        width = self._width
        if width <= 0:
            return
        # Where the person is scrolling to counts, not how far the animation is.
        if self.scroll_target_y >= self.max_scroll_y and not self.is_vertical_scrollbar_grabbed:
            self.anchor()
        for number in range(line, len(self._lines)):
            self._rows += wrapped(self._lines[number].plain, number, start, width)
            start = 0
        self.virtual_size = Size(width, len(self._rows))
        self.refresh()


def wrapped(text: str, line: int, start: int, width: int) -> list[Row]:
    """The rows of `text` from `start` on; white space at which it breaks belongs to none.

    A row takes as many words as fit; a word that fits in no row is cut. So the beginning of a row depends only on what
    stands before it.
    """
    rows = []
    end, free = start, width
    for found in _WORD.finditer(text, start):
        if cell_len(found.group()) > free:
            if end > start:
                rows.append(Row(line, start, end))
            start = found.start(1)
            *cut, last = chop_cells(found.group(1), width)
            for part in cut:
                rows.append(Row(line, start, start + len(part)))
                start += len(part)
            free = width - cell_len(last)
        else:
            free -= cell_len(found.group())
        end = found.end()
    return [*rows, Row(line, start, end)]
