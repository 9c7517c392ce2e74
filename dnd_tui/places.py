"""The screens of the app, in the order of the bar on top. A screen is imported when it is first shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.screen import Screen


@dataclass(frozen=True)
class Place:
    """One screen.

    mode: what `DndApp.go` calls it; its class has the same as `MODE`.
    name: for people. short: where there is less room.
    key: works wherever no text is typed, unless the settings name another; F and the same digit also while one types,
        for F1 is the key of help: the first screen has F10.
    path: "module:class", the module in `dnd_tui.screens`.
    """

    mode: str
    name: str
    short: str
    key: str
    path: str

    @property
    def keys(self) -> str:
        """All of its keys, separated by a comma."""
        return f"{self.key},f{10 if self.key == '1' else self.key}"

    def screen_class(self) -> type[Screen[Any]]:
        """The class, imported at the first call, which takes longer than a frame."""
        found: type[Screen[Any]] = resolve_name(f"dnd_tui.screens.{self.path}")
        return found

    def screen(self) -> Screen[Any]:
        """A new screen."""
        return self.screen_class()()


PLACES: Mapping[str, Place] = {
    place.mode: place
    for place in (
        Place("drop", "Drop", "Drop", "1", "drop.screen:DropScreen"),
        Place("generate", "Generate", "Gen", "2", "generate.screen:GenerateScreen"),
        Place("compare", "Compare", "Comp", "3", "compare.screen:CompareScreen"),
        Place("export", "Export", "Exp", "4", "export.screen:ExportScreen"),
        Place("library", "Library", "Lib", "5", "library.screen:LibraryScreen"),
        Place("forge", "Forge", "Forge", "6", "forge.screen:ForgeScreen"),
        Place("settings", "Settings", "Set", "7", "settings.screen:SettingsScreen"),
        Place("log", "Log", "Log", "8", "log.screen:LogScreen"),
        Place("depth", "Depth", "Depth", "9", "depth.screen:DepthScreen"),
    )
}
