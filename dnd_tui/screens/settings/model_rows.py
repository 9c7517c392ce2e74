"""The models that a person can choose from: those of the engine's list, those in the settings, those used before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dnd_tui.settings import Settings
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import duration, printable
from engine.base.catalog import DEFAULT_BASE, bundled_base
from engine.text import readable_size

Kind = Literal["base", "encoder", "generator"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class ModelRow:
    """One model.

    choice: the value of the setting `base` or `generator` for it; None is the default.
    size: bytes to fetch, or on the disk; None where that is not known.
    memory: what its weights take in memory, in words.
    convert_seconds: of its conversion at first use.
    listed: it is in the engine's list.
    present: None where only the hub knows.
    ready: nothing has to be fetched or converted before its first use.
    """

    name: str
    kind: Kind
    choice: str | None
    licence: str = ""
    size: int | None = None
    present: bool | None = None
    ready: bool = False
    where: str = ""
    about: str = ""
    memory: str = ""
    convert_seconds: int | None = None
    listed: bool = False

    @property
    def state(self) -> str:
        """Presence in words."""
        if self.present is None:
            return "on the hub"
        if not self.present:
            return "not here"
        return "here" if self.ready else "to convert"

    @property
    def can_be_fetched(self) -> bool:
        """Whether the engine can make it ready by its name."""
        return self.kind != "generator" and self.listed and not self.ready

    def is_chosen(self, settings: Settings) -> bool:
        """Whether new drops use it."""
        if self.kind == "base":
            bundled = bundled_base(settings.base)
            return self.listed and self.name == bundled.name if bundled else self.choice == settings.base
        if self.kind == "generator":
            return settings.generator == (Path(self.choice) if self.choice else None)
        return True

    def facts(self) -> list[tuple[str, str]]:
        """Everything, for the details."""
        size = readable_size(self.size) if self.size is not None else ""
        conversion = ""
        if self.convert_seconds is not None and not self.ready:
            conversion = f"once, at its first use, about {duration(self.convert_seconds)} on two cores"
        found = [
            ("name", self.name),
            ("kind", self.kind),
            ("about", self.about),
            ("licence", self.licence),
            ("size", size),
            ("memory", self.memory),
            ("state", _STATES[self.state]),
            ("conversion", conversion),
            ("where", self.where),
        ]
        return [(label, value) for label, value in found if value]


_STATES = {
    "here": "here, ready to use",
    "to convert": "here; it is converted at its first use",
    "not here": "not here",
    "on the hub": "a name of the hub: looked up and fetched at its first use",
}


def listed(entries: Iterable[Mapping[str, Any]]) -> list[ModelRow]:
    """The rows of the engine's answer to `ModelsRequest`."""
    rows = []
    for entry in entries:
        kind = str(entry["kind"])
        is_generator = kind.startswith("generator")
        memory = (f"{readable_size(size)} ({name})" for name, size in (entry.get("memory") or {}).items())
        rows.append(
            ModelRow(
                str(entry["name"]),
                "generator" if is_generator else "base" if kind == "base" else "encoder",
                str(entry["name"]) if kind == "base" and entry["name"] != DEFAULT_BASE.name else None,
                licence=str(entry["licence"]),
                size=int(entry["size"]),
                present=bool(entry["present"]),
                ready=bool(entry.get("ready", entry["present"])),
                where=str(entry["where"] or ""),
                about=kind if is_generator else str(entry["source"]),
                memory=" or ".join(memory),
                convert_seconds=entry.get("convert_seconds"),
                listed=not is_generator,
            )
        )
    return rows


def own(settings: Settings, records: Sequence[object]) -> list[ModelRow]:
    """Bases and generators that the settings name or adapters of the library were made with. Asks the disk."""
    made = [record for record in records if isinstance(record, AdapterRecord)]
    bases = dict.fromkeys([settings.base, *(record.base for record in made)])
    generators = dict.fromkeys([settings.generator, *(record.generator for record in made)])
    return [_own_base(base) for base in bases if bundled_base(base) is None] + [
        _own_generator(folder) for folder in generators if folder is not None
    ]


def base_looked_up(text: str) -> tuple[str, str]:
    """A base as the person typed it: what to keep, what is wrong. Asks the disk; a name of the hub is not looked up."""
    path = os.path.expanduser(text)
    if os.path.exists(path):
        return os.path.abspath(path), ""
    if text.startswith(("/", "~", ".")) or text.casefold().endswith(".gguf"):
        return text, "there is no such folder or file"
    return text, ""


def generator_looked_up(text: str) -> tuple[str, str]:
    """The folder of a generator as the person typed it: what to keep, what is wrong. Asks the disk."""
    path = os.path.abspath(os.path.expanduser(text))
    if not os.path.isdir(path):
        return path, "there is no such folder"
    if not os.path.isfile(os.path.join(path, "generator.json")):
        return path, "this folder holds no generator.json"
    return path, ""


def folder_looked_up(text: str) -> tuple[str, str]:
    """A folder that need not be there as the person typed it: what to keep, what is wrong. Asks the disk."""
    path = os.path.abspath(os.path.expanduser(text))
    there = os.path.exists(path) and not os.path.isdir(path)
    return path, "is a file, not a folder" if there else ""


def _own_base(base: str) -> ModelRow:
    path = Path(os.path.expanduser(base))
    there = os.path.exists(path)
    is_path = there or base_looked_up(base)[1] != ""
    return ModelRow(
        printable(path.name if is_path else base),
        "base",
        base,
        size=_size(path) if there else None,
        present=there if is_path else None,
        ready=there,
        where=printable(str(path)) if is_path else "",
        about="a base model of your own" if is_path else "a base model of the hub",
    )


def _own_generator(folder: Path) -> ModelRow:
    there = not generator_looked_up(str(folder))[1]
    return ModelRow(
        printable(folder.name),
        "generator",
        str(folder),
        size=_size(folder) if there else None,
        present=there,
        ready=there,
        where=printable(str(folder)),
        about="a generator of your own",
    )


def _size(path: Path) -> int | None:
    try:
        if path.is_file():
            return path.stat().st_size
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    except OSError:
        return None
