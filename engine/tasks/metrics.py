"""How right an answer is, from 0 to 1, against one or more references.

A metric looks at the whole answer: a right first line with rambling after it is not an exact match, because an
adapter that has learned the task has also learned where to stop. Only "label" asks what an answer names first: where
the answers are few labels, a program that reads them can look for the label itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from engine.errors import EngineError

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}",
    "\N{LEFT SINGLE QUOTATION MARK}": "\N{RIGHT SINGLE QUOTATION MARK}",
    "«": "»",
}

_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w)\]}.])[-\u2212])?     # a minus after a digit, a letter or a bracket is a subtraction or a hyphen
    [$€£]?
    (?: \\[dt]?frac\{(?P<top>[0-9]+)\}\{(?P<bottom>[0-9]+)\}
      | (?<![0-9/.,])(?P<over>[0-9]+)[ ]?/[ ]?(?P<under>[0-9]+)(?![0-9/]|[.,][0-9])     # 3/4, but not 03/04/2008
      | (?P<plain>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)? | [0-9]+(?:\.[0-9]+)? | \.[0-9]+)
    )
    """,
    re.VERBOSE,
)


RIGHT_OR_WRONG = frozenset({"exact_match", "last_number", "label"})
"""Metrics that give 0 or 1 and nothing between."""


def score(metric: str, answer: str, references: Sequence[str], *, labels: Sequence[str] = ()) -> float:
    """The best score of `answer` over `references`, in [0, 1]; 0 without references.

    Metrics:
        exact_match: 1 if both texts are the same after `normalised`.
        rouge_l: F1 of the longest common subsequence of words (library `rouge-score`, no stemming). That library
            knows only the letters a to z and digits: a reference without any is compared by exact_match.
        last_number: 1 if the last number of the answer equals the last number of the reference (`last_number`);
            a reference without a number is compared by exact_match.
        label: 1 if the label that the answer names first is a reference (`first_label`).

    Args:
        labels: all answers that there are, for "label"; the references are labels in any case.

    Raises:
        EngineError: an unknown metric.
    """
    if metric not in METRICS:
        raise EngineError(f"unknown metric {metric!r}", hint=f"Metrics: {', '.join(METRICS)}")
    if metric == "label":
        right = [normalised(reference) for reference in references]
        return float(first_label(answer, [*map(normalised, labels), *right]) in right)
    return max((_AGAINST[metric](answer, reference) for reference in references), default=0.0)


def first_label(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer names first, as a whole word; the longest of several at the same place.

    An answer that is a label after `normalised` names that one. A label of one letter counts where it begins the
    answer, stands in brackets or quotes, or is a capital: "a" is a word of its own too.

    Args:
        labels: as `normalised` gives them.

    Returns:
        One of `labels`; None where the answer names none.
    """
    whole = normalised(answer)
    if whole in labels:
        return whole
    found = _label_pattern(tuple(labels)).search(" ".join(answer.split()))
    return found[0].lower() if found else None


def is_number(text: str) -> bool:
    """Whether a text is one number, as `last_number` reads it, and nothing else."""
    return _NUMBER.fullmatch(normalised(text)) is not None


def normalised(text: str) -> str:
    """Lower case, single spaces, without trailing full stops and without quotes or brackets around the whole.

    "(D)", "[d]", "D." and '"D"' become "d"; "(a) or (b)" keeps its brackets; text of nothing else is kept: "()".
    """
    text = " ".join(text.split()).lower()
    while True:
        if text.endswith("."):
            shorter = text[:-1].strip()
        elif _is_enclosed(text):
            shorter = text[1:-1].strip()
        else:
            return text
        if not shorter:
            return text
        text = shorter


def last_number(text: str) -> Fraction | None:
    r"""The last number written in `text`, exactly, or None.

    Understood: 80, 80.0, .5, 1,000, -3 (also with the minus sign U+2212), $5, -$5, fractions of whole numbers such
    as 3/4 and \frac{3}{4}. Units and percent signs are ignored (50% is 50), "2 1/2" is read as 1/2, in "3-5" the last
    number is 5, and powers of ten such as 1e5 are not understood.
    """
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    found = numbers[-1]
    sign = -1 if found["sign"] else 1
    if found["plain"]:
        return sign * Fraction(Decimal(found["plain"].replace(",", "")))
    # By way of Decimal: int() refuses very long digit strings.
    above = Fraction(Decimal(found["top"] or found["over"]))
    below = Fraction(Decimal(found["bottom"] or found["under"]))
    return sign * above / below if below else below


def _exact_match(answer: str, reference: str) -> float:
    return float(normalised(answer) == normalised(reference))


def _rouge_l(answer: str, reference: str) -> float:
    if not re.search("[a-z0-9]", reference.lower()):
        return _exact_match(answer, reference)
    return float(_rouge_scorer().score(reference, answer)["rougeL"].fmeasure)


def _last_number(answer: str, reference: str) -> float:
    right = last_number(reference)
    if right is None:
        return _exact_match(answer, reference)
    return float(last_number(answer) == right)


# Asked for every answer of a comparison, with the same labels.
@lru_cache(maxsize=64)
def _label_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    named = [_named(label) for label in sorted(filter(None, labels), key=len, reverse=True)]
    # Without a label nothing is found.
    return re.compile(rf"(?<!\w)(?:{'|'.join(named) or '(?!)'})(?!\w)", re.IGNORECASE)


def _named(label: str) -> str:
    if len(label) > 1 or not label.isalpha():
        return re.escape(label)
    return rf"(?:\A{label}|(?<=[(\[{{\"'`*]){label}|(?-i:{re.escape(label.upper())}))"


def _is_enclosed(text: str) -> bool:
    if len(text) < 2:
        return False
    first, last = text[0], text[-1]
    if _QUOTES.get(first) == last:
        return first not in text[1:-1] and last not in text[1:-1]
    if _BRACKETS.get(first) != last:
        return False
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == first) - (letter == last)
        if depth == 0:
            return place == len(text) - 1
    return False


@cache
def _rouge_scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=False)


_AGAINST: Mapping[str, Callable[[str, str], float]] = MappingProxyType(
    {"exact_match": _exact_match, "rouge_l": _rouge_l, "last_number": _last_number}
)
METRICS = (*_AGAINST, "label")
"""Names of all metrics."""
