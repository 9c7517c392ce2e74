"""The app as its screens and widgets see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from dnd_tui.app import DndApp


def app_of(node: DOMNode) -> DndApp:
    """The app that a screen or a widget is part of, with its services: engine, settings, library, show_error …"""
    return cast("DndApp", node.app)
