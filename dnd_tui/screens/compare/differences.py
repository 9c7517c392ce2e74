"""Which words of one answer differ from another, and how they are shown.

difflib drops words that are frequent in a long text as starting points (its "autojunk"): an answer that repeats
itself would else take cubic time. 4,000 words take some 30 ms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import takewhile

from textual.content import Content, Span

# Scripts written without spaces are compared character by character.
_UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
# Of the text that differs; what comes after them counts as different as a whole.
_MOST_WORDS = 4000
# Underlined and bold, so that it shows without colours.
_DIFFERENT = "$text-accent bold underline"


def word_differences(base: str, adapted: str) -> list[tuple[int, int]]:
    """Where `adapted` has words that `base` has not in that place: (start, end) in characters, in order."""
    old = _WORD.findall(base)
    found = list(_WORD.finditer(adapted))
    new = [word.group() for word in found]
    first = _shared(old, new)
    last = _shared(reversed(old[first:]), reversed(new[first:]))
    old, new = old[first : len(old) - last], new[first : len(new) - last]
    matcher = SequenceMatcher(None, old[:_MOST_WORDS], new[:_MOST_WORDS])
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
