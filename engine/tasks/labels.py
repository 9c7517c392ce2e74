"""Which metric fits the answers of a set, and what can be reached without knowing the task. Pure and light."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from engine.tasks.metrics import is_number, normalised

_MOST_LABELS = 20
_LONGEST_LABEL = 40
# Fewer rows an answer are answers that happen to be short.
_ROWS_A_LABEL = 3

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Baselines:
    """Shares of right answers that are reached without reading a prompt.

    chance: by drawing a label: 1 / number of labels.
    majority: by always giving the answer that is right most often, `majority_label`.
    """

    chance: float
    majority: float
    majority_label: str

    @property
    def words(self) -> str:
        """In words: "chance 17%, majority 20%"."""
        return f"chance {self.chance:.0%}, majority {self.majority:.0%}"


def few_labels(references: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The distinct answers, `normalised`, the most frequent first, if they are labels; else nothing.

    They are labels where there are 2 to 20 different ones, each of at most 40 characters, for at least three times as
    many rows.

    Args:
        references: the accepted answers of each row; rows without any do not count.
    """
    counts: Counter[str] = Counter()
    rows = 0
    for answers in references:
        own = {normalised(answer) for answer in answers}
        if not own:
            continue
        rows += 1
        counts.update(sorted(own))
        if len(counts) > _MOST_LABELS or any(not 0 < len(answer) <= _LONGEST_LABEL for answer in own):
            return ()
    if len(counts) < 2 or rows < _ROWS_A_LABEL * len(counts):
        return ()
    return tuple(label for label, _ in counts.most_common())


def chosen_metric(references: Sequence[Sequence[str]]) -> str:
    """The metric for a set with these accepted answers by row.

    "label" where there are few labels, "last_number" where every answer is a number, else "rouge_l", which shows
    something about answers of any length.
    """
    if few_labels(references):
        return "label"
    answers = [answer for row in references for answer in row]
    return "last_number" if answers and all(map(is_number, answers)) else "rouge_l"


def baselines(references: Iterable[Sequence[str]], labels: Sequence[str]) -> Baselines | None:
    """What is reached on rows with these accepted answers without reading a prompt; None without rows or labels.

    Args:
        references: of the rows that are judged.
        labels: of the whole set, as `few_labels` gives them.
    """
    rows = [{normalised(answer) for answer in answers} for answers in references if answers]
    if not rows or not labels:
        return None
    # On equal counts the label that comes first in the whole set.
    counts = {label: sum(label in row for row in rows) for label in labels}
    best = max(counts, key=lambda label: counts[label])
    return Baselines(1 / len(labels), counts[best] / len(rows), best)


def balanced(rows: Sequence[tuple[str, _Row]], count: int, seed: int) -> list[_Row]:
    """`count` of some (label, row), drawn by the seed, with as many of each label as there can be; else all of them.

    The labels take turns, so that any first few of what comes back are balanced too.
    """
    generator = random.Random(f"{seed}/balanced")
    by_label: dict[str, list[_Row]] = {}
    for label, row in generator.sample(rows, len(rows)):
        by_label.setdefault(label, []).append(row)
    drawn: list[_Row] = []
    while by_label and len(drawn) < count:
        for label in list(by_label):
            drawn.append(by_label[label].pop())
            if not by_label[label]:
                del by_label[label]
    return drawn[:count]
