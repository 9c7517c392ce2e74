"""Passages that training rows share with judged rows: a task that is unseen by name may still be known by its texts.

    judged rows --passages of 13 words--> index <--passages of each training row-- which rows share one

13 words is the length by which test sets have been looked for in training data before (arXiv 2005.14165, appendix C).
A shorter one finds figures of speech, a longer one misses single sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

WORDS = 13
# What stands in more judged rows than this is the wording of the questions, not a text that is asked about.
_RARE = 3


class SharedPassages(NamedTuple):
    """`rows` of the `of` training rows of task `trained` share a passage with a row of task `judged`."""

    trained: str
    judged: str
    rows: int
    of: int


def shared_passages(
    trained: Iterable[tuple[str, Sequence[str]]], judged: Mapping[str, Sequence[str]]
) -> list[SharedPassages]:
    """Pairs of tasks that share passages of `WORDS` words, those that share most first.

    Args:
        trained: task names with the texts of their rows; read once.
        judged: texts of the judged rows by task. Case and punctuation do not count.
    """
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    for name, texts in judged.items():
        for text in texts:
            own = set(_passages(text))
            counts.update(own)
            places.update(dict.fromkeys(own, name))
    rare = {passage: place for passage, place in places.items() if counts[passage] <= _RARE}
    found = []
    for name, texts in trained:
        hits: Counter[str] = Counter()
        for text in texts:
            hits.update({rare[passage] for passage in _passages(text) if passage in rare})
        found += [SharedPassages(name, place, rows, len(texts)) for place, rows in hits.items()]
    return sorted(found, key=lambda pair: (-pair.rows / pair.of, pair))


def _passages(text: str) -> Iterator[str]:
    words = re.findall(r"\w+", text.lower())
    return (" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1))
