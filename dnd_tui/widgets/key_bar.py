"""The keys of the open screen, at the bottom."""

from __future__ import annotations

from typing import Any

from textual.widgets import Footer


class KeyBar(Footer):
    """Textual's footer, made anew only where other keys are to be shown: every move of the focus asks for that."""

    DEFAULT_CSS = """
    KeyBar.-compact FooterKey.-command-palette { margin-right: 0; padding-right: 1; }
    """

    _shown: list[tuple[Any, ...]] | None = None

    async def recompose(self) -> None:
        """Show the keys that work now."""
        active = self.screen.active_bindings.values()
        shown = [(each.binding, each.enabled, each.tooltip) for each in active if each.binding.show]
        if shown != self._shown:
            self._shown = shown
            await super().recompose()
