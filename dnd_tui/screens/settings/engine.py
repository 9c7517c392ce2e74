"""Settings of what the engine does with a new drop."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from dnd_tui.screens.settings.field import SettingField

_NAMES = ("device", "dtype", "load_ahead", "count", "seed", "max_new_tokens", "metric")


class EnginePane(VerticalScroll, can_focus=False):
    """One field a setting."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#setting-device Input"

    def compose(self) -> ComposeResult:
        """In the order of their use."""
        for name in _NAMES:
            yield SettingField(name)

    def show(self) -> None:
        """What the settings say now."""
        for field in self.query(SettingField):
            field.show()
