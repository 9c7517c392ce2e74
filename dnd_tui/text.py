"""Text and figures as people read them in a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

# Model output and file names may hold escape sequences, which a terminal would obey, and halves of surrogate
# pairs (so Python shows bytes that are no text), which no terminal takes; and signs that turn the direction of what
# follows, so that it reads otherwise than it is.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` with control characters shown as `\\x1b` and the like; newline and tab stay."""
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def one_line(text: str) -> str:
    """`text` on one line, safe for a terminal."""
    return printable(" ".join(text.split()))


def sentence(text: str) -> str:
    """`text` with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def short_path(path: Path) -> str:
    """The path with `~` for the person's own folder."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # elsewhere; nobody knows whose folder is whose
        return str(path)


def answers_words(count: int, taught_by: Mapping[str, int]) -> str:
    """How many answers there are, and how many of them which model wrote: "64 answers, 60 by NAME"."""
    words = [f"{count:,} answer{'' if count == 1 else 's'}"]
    return ", ".join([*words, *(f"{number:,} by {one_line(name)}" for name, number in taught_by.items())])


def when_words(when: str, now: datetime) -> str:
    """An ISO time as people write it on the day `now`: "14:02", "yesterday", "Mon 3 Nov", "2 Nov 2024"."""
    try:
        moment = datetime.fromisoformat(when).astimezone(now.tzinfo)
    except (ValueError, OverflowError):  # no time, or one before all others
        return when
    days = (now.date() - moment.date()).days
    if days == 0:
        return f"{moment:%H:%M}"
    if days == 1:
        return "yesterday"
    day = f"{moment.day} {moment:%b}"
    return f"{moment:%a} {day}" if moment.year == now.year else f"{day} {moment.year}"


def duration(seconds: float) -> str:
    """`0.8 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def figure(value: float) -> str:
    """Four significant digits, without an exponent for large values."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
