"""The options of a multiple-choice row, in the ways data sets write them."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any


def read_options(value: Any) -> list[tuple[str, str]]:
    """Options as (letter, text).

    Known ways: ["x", "y"]; [{"label": "A", "text": "x"}, ...]; {"label": ["A", ...], "text": ["x", ...]};
    {"A": "x", ...}. Anything else gives no options.
    """
    if isinstance(value, dict):
        labels, texts = value.get("label"), value.get("text")
        if isinstance(labels, list) and isinstance(texts, list):
            return [(str(label), str(text)) for label, text in zip(labels, texts, strict=False)]
        if isinstance(texts, list):
            return _lettered(texts)
        return [(str(label), str(text)) for label, text in value.items() if text is not None]
    if not isinstance(value, list):
        return []
    if value and all(isinstance(option, dict) and "text" in option for option in value):
        letters = _letters(len(value))
        return [
            (str(option.get("label") or letter), str(option["text"]))
            for option, letter in zip(value, letters, strict=True)
        ]
    return _lettered(value)


def option_lines(options: list[tuple[str, str]]) -> str:
    """One line an option: "A. text"."""
    return "\n".join(f"{letter}. {text}" for letter, text in options)


def _lettered(texts: list[Any]) -> list[tuple[str, str]]:
    return [(letter, str(text)) for letter, text in zip(_letters(len(texts)), texts, strict=True)]


def _letters(count: int) -> list[str]:
    """A, B, ...; numbers when the alphabet is too short."""
    return list(ascii_uppercase[:count]) if count <= len(ascii_uppercase) else [str(n + 1) for n in range(count)]
