"""The names of keys, as a person may write them in config.toml.

Known without importing Textual, so that reading the settings stays quick. Which of them a terminal can
send is another matter: many terminals know no "ctrl+shift+a".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from string import punctuation

MODIFIERS = frozenset({"alt", "ctrl", "hyper", "meta", "shift", "super"})

# Textual shortens some Unicode names.
_SHORTER: Mapping[str, str] = {
    "solidus": "slash",
    "reverse_solidus": "backslash",
    "commercial_at": "at",
    "hyphen_minus": "minus",
    "plus_sign": "plus",
    "low_line": "underscore",
}


def _character_name(character: str) -> str:
    name = unicodedata.name(character).lower().replace("-", "_").replace(" ", "_")
    return _SHORTER.get(name, name)


NAMED_KEYS = frozenset(
    {
        *("escape", "enter", "return", "tab", "space", "backspace", "insert", "delete"),
        *("up", "down", "left", "right", "home", "end", "pageup", "pagedown"),
        *(f"f{number}" for number in range(1, 36)),
        *map(_character_name, punctuation),
    }
)


def checked_keys(text: str) -> str:
    """Keys as Textual wants them, for one or more separated by commas: "Ctrl+G, f5" -> "ctrl+g,f5".

    Raises:
        ValueError: with the reason, for a key that does not exist.
    """
    return ",".join(_checked_key(part.strip()) for part in text.split(","))


def _checked_key(text: str) -> str:
    if not text:
        raise ValueError('a key is missing; the comma itself is "comma"')
    *modifiers, key = ["plus"] if text == "+" else text.split("+")
    modifiers = [modifier.strip().lower() for modifier in modifiers]
    key = key.strip()
    if not key:
        raise ValueError(f'a key is missing after the + of "{text}"; the plus key itself is "plus"')
    unknown = [modifier for modifier in modifiers if modifier not in MODIFIERS]
    if unknown:
        raise ValueError(f'"{unknown[0]}" of "{text}" is none of {", ".join(sorted(MODIFIERS))}')
    if len(key) > 1 or modifiers:
        key = key.lower()
    if len(key) == 1:
        if not key.isprintable():
            raise ValueError(f'"{text}" holds a character that is no key')
        if modifiers == ["shift"]:
            raise ValueError(f'"{text}" is written as the character that it types, such as "{key.upper()}"')
        key = key if key.isalnum() else _character_name(key)
    elif key not in NAMED_KEYS:
        raise ValueError(f'"{key}" is no key')
    # Textual reports modifiers in the order of the alphabet.
    return "+".join([*sorted(set(modifiers)), key])
