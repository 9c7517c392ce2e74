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
    name: for people.
    key: works wherever no text is typed, unless the settings name another.
    path: "module:class", the module in `dnd_tui.screens`.
    """

    mode: str
    name: str
    key: str
    path: str

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
        Place("drop", "Drop", "1", "drop.screen:DropScreen"),
        Place("generate", "Generate", "2", "generate.screen:GenerateScreen"),
        Place("compare", "Compare", "3", "compare.screen:CompareScreen"),
        Place("export", "Export", "4", "export.screen:ExportScreen"),
        Place("library", "Library", "5", "library.screen:LibraryScreen"),
        Place("forge", "Forge", "6", "forge.screen:ForgeScreen"),
        Place("settings", "Settings", "7", "settings.screen:SettingsScreen"),
        Place("log", "Log", "8", "log.screen:LogScreen"),
        Place("depth", "Depth", "9", "depth.screen:DepthScreen"),
    )
}
