"""Chats: turns with a role, in the ways that files write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.prompts.literals import held_value

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
_ROLES = {
    USER: ("user", "human", "prompter", "customer"),
    ASSISTANT: ("assistant", "gpt", "model", "bot", "chatgpt", "ai", "agent", "chatbot"),
    SYSTEM: ("system", "developer"),
    "": (
        "tool",
        "function",
        "observation",
        "function_call",
        "function_response",
        "tool_call",
        "tool_response",
        "ipython",
    ),
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}
_ROLE_KEYS = ("role", "from", "speaker", "author", "sender")
_CONTENT_KEYS = ("content", "value", "text", "message", "parts")

Turns = Sequence[Mapping[str, Any]]


class Exchange(NamedTuple):
    """What one chat asks last, and what was answered (None when nothing was)."""

    prompt: str
    answer: str | None


def as_turns(value: Any) -> Turns | None:
    """The turns of a chat: a non-empty list of objects with a role, one such object, an object of lists, or the text of
    a list, as tables hold it. None when `value` is no chat.
    """
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return None
        value = held_value(value)
    if isinstance(value, dict):
        value = _turns_in_object(value)
    if not isinstance(value, list) or not value:
        return None
    for turn in value:
        if not isinstance(turn, dict) or ("role" not in turn and _role_key(turn) is None):
            break
    else:
        return value
    return None


def turns_without_roles(value: Any) -> Turns | None:
    """The turns of two or more texts without roles, or of the text of such a list: the user's first, then the
    assistant's, and so on. None for anything else.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = held_value(value)
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(text, str) for text in value):
        return None
    return [{"role": (USER, ASSISTANT)[place % 2], "content": text} for place, text in enumerate(value)]


def is_chat(value: Any) -> bool:
    """Whether a value is a chat beyond doubt: turns with content whose roles are all known, the user's among them."""
    turns = as_turns(value) if isinstance(value, list) else None
    if turns is None or any(_content_key(turn) is None and "tool_calls" not in turn for turn in turns):
        return False
    roles = [known_role(turn.get(_role_key(turn) or "")) for turn in turns]
    return None not in roles and USER in roles


def known_role(name: Any) -> str | None:
    """USER, ASSISTANT, SYSTEM, "" for the role of a tool; None for a name that is no known role."""
    return _ROLE_OF.get(name.strip().lower()) if isinstance(name, str) else None


def role_names(turns: Turns) -> list[str]:
    """The roles of turns as they are written, each once."""
    return list(dict.fromkeys(str(turn.get(_role_key(turn) or "")) for turn in turns))


def last_exchange(turns: Turns) -> Exchange:
    """The last user turn, the system turns before it in front, and the assistant turn that follows.

    Earlier exchanges are left out: an assistant's words are labels, and labels are no part of a prompt.
    The prompt is empty when no user speaks.
    """
    spoken = [(_role(turn), _content(turn)) for turn in turns]
    asked = max((place for place, (role, _) in enumerate(spoken) if role == USER), default=None)
    if asked is None or not spoken[asked][1].strip():
        return Exchange("", None)
    system = [text for role, text in spoken[:asked] if role == SYSTEM and text.strip()]
    answers = (text for role, text in spoken[asked + 1 :] if role == ASSISTANT and text.strip())
    return Exchange("\n\n".join([*system, spoken[asked][1]]), next(answers, None))


def asked_parts(turns: Turns) -> list[Mapping[str, Any]]:
    """The parts of the last user turn that are objects: texts, images and others."""
    asked = next((turn for turn in reversed(turns) if _role(turn) == USER), {})
    content = asked.get(_content_key(asked) or "")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def answers_to(turns: Turns, prompt: Any) -> list[str]:
    """What the assistant says to `prompt` where a user turn asks it; else its last answer.

    Turns without a user are answers, all of them.
    """
    spoken = [(_role(turn), _content(turn)) for turn in turns]
    if all(role != USER for role, _ in spoken):
        return [text for role, text in spoken if role == ASSISTANT]
    asked = prompt.strip() if isinstance(prompt, str) else None
    place = next((place for place, (role, text) in enumerate(spoken) if role == USER and text.strip() == asked), None)
    if place is None:
        said = [text for role, text in spoken if role == ASSISTANT and text.strip()][-1:]
        return said if (answer := last_exchange(turns).answer) is None else [answer]
    return [text for role, text in spoken[place + 1 :] if role == ASSISTANT and text.strip()][:1]


def _turns_in_object(value: Mapping[str, Any]) -> list[Any] | None:
    """One turn; or the turns of {"role": [...], "content": [...]}, as columnar files write a list of objects."""
    role, content = _role_key(value), _content_key(value)
    if role is None or content is None:
        return None
    names, texts = value[role], value[content]
    if not isinstance(names, list):
        return [value]
    whole = isinstance(texts, list) and len(texts) == len(names)
    return [{role: name, content: text} for name, text in zip(names, texts, strict=True)] if whole else None


def _role_key(turn: Mapping[str, Any]) -> str | None:
    for key in _ROLE_KEYS:
        if key in turn:
            return key
    return None


def _content_key(turn: Mapping[str, Any]) -> str | None:
    for key in _CONTENT_KEYS:
        if turn.get(key) is not None:
            return key
    return None


def _role(turn: Mapping[str, Any]) -> str | None:
    name = turn.get("role")
    if name is None:
        name = next((turn[key] for key in _ROLE_KEYS if turn.get(key) is not None), None)
    return _ROLE_OF[name] if isinstance(name, str) and name in _ROLE_OF else known_role(name)


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content")
    if isinstance(content, str):
        return content
    if content is None and (key := _content_key(turn)) is not None:
        content = turn[key]
    if isinstance(content, dict):  # {"content": {"parts": [...]}}
        content = content.get("parts") or content.get("text")
    if isinstance(content, list):  # a content of parts: only the text parts can be encoded
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
