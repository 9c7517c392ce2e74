"""What a column may hold besides plain text: chat turns, and the options of a multiple-choice row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

_USER = frozenset({"user", "human", "prompter"})
_ASSISTANT = frozenset({"assistant", "gpt", "model", "bot", "chatgpt"})
_SYSTEM = frozenset({"system", "developer"})


class Exchange(NamedTuple):
    """What one chat asks last, and what was answered (None when nothing was)."""

    prompt: str
    answer: str | None


def as_turns(value: Any) -> list[Mapping[str, Any]] | None:
    """The turns of a chat: a non-empty list of objects with a role (or `from`), or the JSON text of one, as tables
    hold it. None when `value` is no chat.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not value:
        return None
    chat = all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in value)
    return value if chat else None


def last_exchange(turns: list[Mapping[str, Any]]) -> Exchange:
    """The last user turn, the system turns before it in front, and the assistant turn that follows.

    Earlier exchanges are left out: an assistant's words are labels, and labels are no part of a prompt.
    The prompt is empty when no user speaks.
    """
    spoken = [(_role(turn), _content(turn)) for turn in turns]
    asked = max((place for place, (role, _) in enumerate(spoken) if role in _USER), default=None)
    if asked is None or not spoken[asked][1].strip():
        return Exchange("", None)
    system = [text for role, text in spoken[:asked] if role in _SYSTEM and text.strip()]
    answers = (text for role, text in spoken[asked + 1 :] if role in _ASSISTANT and text.strip())
    return Exchange("\n\n".join([*system, spoken[asked][1]]), next(answers, None))


def assistant_texts(turns: list[Mapping[str, Any]]) -> list[str]:
    """What the assistant answers, turn by turn."""
    return [_content(turn) for turn in turns if _role(turn) in _ASSISTANT]


def _role(turn: Mapping[str, Any]) -> str:
    role = turn.get("role")
    return str(role if role is not None else turn.get("from")).lower()


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if content is None:
        content = turn.get("value")
    if isinstance(content, list):  # a content of parts: only the text parts can be encoded
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


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
