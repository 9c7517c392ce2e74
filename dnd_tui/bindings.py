"""Every key of the app that has a name: what it does, where it works, which keys it has without a setting.

The names are the ids of bindings. They are read off the classes of the app, so that a new binding needs no entry
anywhere; all screens and widgets are imported for that. It is done in a thread after the first paint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import walk_packages

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key
from textual.screen import ModalScreen

from dnd_tui.places import PLACES
from dnd_tui.settings import checked_keys

EVERYWHERE = "everywhere"

_OURS = ("dnd_tui.screens", "dnd_tui.widgets")


@dataclass(frozen=True)
class KnownBinding:
    """One binding.

    where: a screen as the bar on top calls it, `EVERYWHERE`, or what kind of dialog or widget it works in.
    keys: without a setting; several are separated by commas.
    modal: it works in a dialog, where the keys of the screen below do not.
    priority: it works in dialogs too.
    """

    id: str
    where: str
    description: str
    keys: str
    modal: bool = False
    priority: bool = False

    def meets(self, other: KnownBinding) -> bool:
        """Whether both can be asked for a key at the same time."""
        if self.where == other.where:
            return True
        return any(
            one.where == EVERYWHERE and (one.priority or not another.modal)
            for one, another in ((self, other), (other, self))
        )


@cache
def all_bindings() -> Mapping[str, KnownBinding]:
    """All bindings by id, those that work everywhere first. Imports every screen and widget: call it in a thread."""
    for package in _OURS:
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    found: dict[str, KnownBinding] = {}
    for kind in sorted(_subclasses(DOMNode), key=_order):
        for binding in kind.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding) and binding.id:
                found.setdefault(binding.id, _known(kind, binding))
    return found


def taken_by(binding: KnownBinding, key: str, chosen: Mapping[str, str]) -> KnownBinding | None:
    """The other binding that would answer to `key` where `binding` works.

    Args:
        chosen: the keys that the settings give, by id.
    """
    for other in all_bindings().values():
        keys = chosen.get(other.id, other.keys).split(",")
        if other.id != binding.id and key in keys and binding.meets(other):
            return other
    return None


def clashes(chosen: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Keys given by the settings that mean two things in one place: a binding's id, and the problem; each pair once.

    Args:
        chosen: the keys that the settings give, by id.
    """
    known = set()
    for id, keys in chosen.items():
        binding = all_bindings()[id]
        for key in keys.split(","):
            other = taken_by(binding, key, chosen)
            if other is not None and frozenset((id, other.id)) not in known:
                known.add(frozenset((id, other.id)))
                also = f"{shown_keys(key)} is also the key of {other.id} ({other.description})"
                yield id, f"{also}, so one of them does not work"


def shown_keys(keys: str) -> str:
    """Keys as people read them: "f1,question_mark" -> "f1 ?"."""
    shown = []
    for each in keys.split(","):
        *modifiers, key = each.split("+")
        shown.append("+".join([*modifiers, format_key(key)]))
    return " ".join(shown)


def _subclasses(kind: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("dnd_tui."):
            yield each
        yield from _subclasses(each)


def _order(kind: type[DOMNode]) -> tuple[int, str]:
    """The app, its screens in the order of the bar, the rest by name."""
    modes = list(PLACES)
    mode = getattr(kind, "MODE", None)
    first = -1 if issubclass(kind, App) else modes.index(mode) if mode in modes else len(modes)
    return first, kind.__name__


def _known(kind: type[DOMNode], binding: Binding) -> KnownBinding:
    place = PLACES.get(getattr(kind, "MODE", ""))
    if issubclass(kind, App):
        where = EVERYWHERE
    else:
        # A class that is no screen of the bar is called by its name: AnswerPanes -> "Answer panes".
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).capitalize()
        where = place.name if place else words
    return KnownBinding(
        binding.id or "",
        where,
        binding.tooltip or binding.description,
        checked_keys(binding.key),
        modal=issubclass(kind, ModalScreen),
        priority=binding.priority,
    )
