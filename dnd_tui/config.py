"""config.toml: read with its mistakes named, written with its comments kept.

A mistake costs the person that one setting, never the rest of the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnd_tui.settings import Settings, about, checked_key, checked_value
from dnd_tui.text import one_line
from engine.errors import EngineError
from engine.files import replacing_file


@dataclass(frozen=True)
class ConfigProblem:
    """One mistake. `where` is the setting ("seed", "keys.quit") or the place ("line 3, column 5")."""

    file: str
    where: str
    problem: str

    def __str__(self) -> str:
        return one_line(f"{self.file}: {self.where}: {self.problem}")


class _Unreadable(Exception):
    def __init__(self, where: str, problem: str) -> None:
        super().__init__(problem)
        self.where = where
        self.problem = problem


def load_settings(path: Path, known_keys: Collection[str] | None) -> tuple[Settings, list[ConfigProblem]]:
    """The settings of a file, and what is wrong with it; a missing file gives the defaults.

    Args:
        known_keys: ids of the bindings that can be given other keys; None accepts every name.
    """
    try:
        given = _parse(_read(path))
    except _Unreadable as error:
        return Settings(), [ConfigProblem(path.name, error.where, error.problem)]
    keys = given.pop("keys", {})
    if not isinstance(keys, dict):
        problem = ConfigProblem(path.name, "keys", f"must be a table, [keys], is {keys!r}")
        keys, bad_keys = {}, [problem]
    else:
        by_id = dict(_flat(keys))
        keys, bad_keys = _taken(path.name, by_id, lambda id, value: checked_key(id, value, known_keys), "keys.")
    good, bad = _taken(path.name, given, lambda name, value: checked_value(name, value, path.parent))
    return Settings(**good, keys=keys), bad + bad_keys


def save_settings(path: Path, changes: Mapping[str, Any]) -> None:
    """Change some settings; comments, order and everything else in the file stay as they are.

    A missing file is made, with every setting explained. A link stays a link: the file it leads to is changed.

    Args:
        changes: values by the name of the setting; None takes a setting out. "keys" holds a mapping of its own,
            of which only the named actions are changed.

    Raises:
        EngineError: the file is broken (it is left alone), or cannot be written.
    """
    for name in changes:
        if name not in about():
            raise ValueError(f"no such setting: {name}")
    try:
        changed = _changed(_read(path) if path.exists() else new_file(), changes)
    except _Unreadable as error:
        hint = "Nothing was saved. Mend the file, or move it away for a new one"
        raise EngineError(error.problem, where=f"{path}, {error.where}", hint=hint) from None
    with replacing_file(path.resolve(), private=True) as part:
        part.write_bytes(changed.encode())


def new_file() -> str:
    """The text of a new config.toml: every setting explained and commented out."""
    parts = ["# Settings of dnd-tui. Take away the # in front of a setting to change it."]
    for name, setting in about().items():
        if name == "keys":
            # A table that is there keeps settings that are added later in front of it.
            example = '[keys]\n# "action.name" = "ctrl+g,f5"'
        else:
            default = getattr(Settings, name)
            example = f"# {_line(name, setting.example if default is None else default)}"
        choices = f" One of: {', '.join(setting.choices)}." if setting.choices else ""
        parts.append(f"# {setting.help}{choices}\n{example}")
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise _Unreadable(_place(error.object[: error.start]), "is not UTF-8 text") from None
    except OSError as error:
        raise _Unreadable("the file", f"cannot be read: {error.strerror}") from error


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _Unreadable("the file", "is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).removesuffix(")").partition(" (at ")
        if not where.startswith("line"):
            where = _place(text.encode())  # "end of document"
        raise _Unreadable(where, f"is not TOML: {what}") from None
    except ValueError as error:  # a number of thousands of digits
        raise _Unreadable("the file", f"cannot be read: {error}") from None


def _place(before: bytes) -> str:
    """Line and column of what comes after `before`."""
    lines = before.split(b"\n")
    return f"line {len(lines)}, column {len(lines[-1].decode()) + 1}"


def _taken(
    file: str, given: Mapping[str, Any], check: Callable[[str, Any], Any], table: str = ""
) -> tuple[dict[str, Any], list[ConfigProblem]]:
    """The values that pass `check`, and why the others do not."""
    good: dict[str, Any] = {}
    problems = []
    for name, value in given.items():
        try:
            good[name] = check(name, value)
        except ValueError as error:
            problems.append(ConfigProblem(file, table + name, str(error)))
    return good, problems


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """help.close = "f2" is a table in a table to TOML; ids of bindings are whole names."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def _holder(table: Any, name: str) -> tuple[Any, str]:
    """The table that holds, or should hold, the binding `name`, and what it is called in there."""
    first, _, rest = name.partition(".")
    if rest and name not in table and isinstance(table.get(first), Mapping):
        return _holder(table[first], rest)
    return table, name


def _changed(text: str, changes: Mapping[str, Any]) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    for name, value in changes.items():
        given = _parse(text)
        if name != "keys" and value is not None and name not in given:
            text = _uncommented(text, given, name, value)
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise _Unreadable("the file", f"is not TOML: {error}") from error
    for name, value in changes.items():
        if name != "keys":
            _put(document, name, value)
            continue
        if not isinstance(document.get("keys"), Mapping):
            document["keys"] = tomlkit.table()
        for binding, key in value.items():
            _put(*_holder(document["keys"], binding), key)
    return document.as_string()


def _uncommented(text: str, given: dict[str, Any], name: str, value: Any) -> str:
    """The setting in the place of its commented line, where there is one."""
    line = _line(name, value)
    tried = re.sub(rf"^#[ \t]*{name}[ \t]*=[^\r\n]*", lambda found: line, text, count=1, flags=re.MULTILINE)
    try:
        # The line may stand in a table, or in a long string.
        return tried if _parse(tried) == given | {name: _plain(value)} else text
    except _Unreadable:
        return text


def _put(table: Any, name: str, value: Any) -> None:
    if value is None:
        table.pop(name, None)
    else:
        table[name] = _plain(value)


def _line(name: str, value: Any) -> str:
    import tomlkit

    return f"{name} = {tomlkit.item(_plain(value)).as_string()}"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


CONFIG_VARIABLE = "DND_TUI_CONFIG"
DATA_VARIABLE = "DND_TUI_DATA"


def config_folder() -> Path:
    """The folder of config.toml; the environment variable DND_TUI_CONFIG overrides it."""
    from platformdirs import user_config_path

    return _named(CONFIG_VARIABLE) or user_config_path("dnd-tui")


def data_folder() -> Path:
    """The folder of generated adapters and histories; the environment variable DND_TUI_DATA overrides it."""
    from platformdirs import user_data_path

    return _named(DATA_VARIABLE) or user_data_path("dnd-tui")


def exports_folder(settings: Settings) -> Path:
    """Where exports are proposed: one place, wherever the app was started."""
    return settings.exports or data_folder() / "exports"


def log_folder() -> Path:
    """The folder of log files, inside of the data folder."""
    return data_folder() / "logs"


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else None
