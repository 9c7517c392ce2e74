"""Every setting of the app: its type, its default, what a person reads about it, and which values it takes."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import punctuation
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from dnd_tui.options import OPTIONS
from engine.requests import CompareRequest, ModelChoice, PromptChoice


@dataclass(frozen=True)
class Setting:
    """What is to be known of one field of `Settings`.

    help: shown in a new config.toml.
    example: shown there for a setting whose default is None.
    choices: the only values accepted.
    minimum: smallest number accepted.
    """

    help: str
    example: str | int | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None


def _as_option(name: str, example: str | int | None = None) -> Setting:
    """A setting that is the same as the option of the command line."""
    option = OPTIONS[name]
    without = f" Without it: {option.default}." if option.default else ""
    return Setting(option.help + without, example, option.choices, option.minimum)


@dataclass(frozen=True)
class Settings:
    """What config.toml can hold. None is what happens without the setting; `about` has what is known of each."""

    theme: Annotated[str, Setting("Colours of the app: the name of a theme, as the app lists them.")] = "drop-dark"
    base: Annotated[str, _as_option("base")] = ModelChoice.base
    device: Annotated[str, _as_option("device")] = ModelChoice.device
    dtype: Annotated[str, _as_option("dtype")] = ModelChoice.dtype
    generator: Annotated[Path | None, _as_option("generator", "~/generators/mine")] = None
    count: Annotated[int | None, _as_option("count", 32)] = None
    seed: Annotated[int, _as_option("seed")] = PromptChoice.seed
    max_new_tokens: Annotated[int, _as_option("max_new_tokens")] = CompareRequest.max_new_tokens
    metric: Annotated[str | None, _as_option("metric", "rouge_l")] = None
    load_ahead: Annotated[bool, Setting("Whether models come into memory while you look at prompts.")] = True
    animations: Annotated[bool, Setting("Whether things move on the screen while work is done.")] = True
    exports: Annotated[
        Path | None,
        Setting("Folder in which exports are proposed. Without it: exports, beside the library.", "~/exports"),
    ] = None
    editor: Annotated[
        str | None,
        Setting("Command that edits text. Without it: $VISUAL, then $EDITOR, then what is installed.", "nano"),
    ] = None
    keys: Annotated[
        Mapping[str, str],
        Setting("Keys of actions; several keys are separated by commas. The app's help names the actions."),
    ] = field(default_factory=dict)


@cache
def about() -> dict[str, Setting]:
    """What is known of every setting, in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


def checked_value(name: str, value: Any, folder: Path) -> Any:
    """The value of a setting other than `keys`, as `Settings` holds it.

    Args:
        folder: where a path that is not absolute starts.

    Raises:
        ValueError: with the reason, if there is no such setting or it does not take the value.
    """
    if name not in about():
        raise ValueError(f"no such setting{_nearest(name, about())}")
    kind = get_type_hints(Settings)[name]
    # Of "str | None" only the str can stand in a file.
    plain = kind if get_origin(kind) is None and isinstance(kind, type) else get_args(kind)[0]
    setting = about()[name]
    # True is an int to Python, but not to a person.
    if plain is bool and not isinstance(value, bool):
        raise ValueError(f"must be true or false, is {value!r}")
    if plain is int and (not isinstance(value, int) or isinstance(value, bool)):
        raise ValueError(f"must be a whole number, is {value!r}")
    if plain in (str, Path) and not (isinstance(value, str) and value.strip()):
        raise ValueError(f"must be text, is {value!r}")
    if setting.choices and value not in setting.choices:
        raise ValueError(f"must be one of {', '.join(setting.choices)}, is {value!r}")
    if setting.minimum is not None and value < setting.minimum:
        raise ValueError(f"must be at least {setting.minimum}, is {value!r}")
    return _path(value, folder) if plain is Path else value


def checked_key(binding: str, value: Any, known: Collection[str] | None) -> str:
    """The keys of a binding, named by its id, as Textual wants them.

    Args:
        known: ids of all bindings; None accepts every name.

    Raises:
        ValueError: with the reason, if there is no such binding or no such key.
    """
    if known is not None and binding not in known:
        raise ValueError(f"no such action{_nearest(binding, known)}")
    if not isinstance(value, str):
        raise ValueError(f'must be text such as "ctrl+g" or "ctrl+g,f5", is {value!r}')
    return checked_keys(value)


def _nearest(name: str, known: Collection[str]) -> str:
    """`; the nearest is "seed"`, or nothing where no known name is like this one."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f'; the nearest is "{found[0]}"' if found else ""


def _path(value: str, folder: Path) -> Path:
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"names a home folder that does not exist, is {value!r}") from None


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
