"""A small app around one widget, and what stands on its screen."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widget import Widget


class WidgetHost(App[None]):
    """Shows one widget, without the focus; remembers what it was asked to copy."""

    AUTO_FOCUS = None

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget
        self.copied: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        """The widget alone."""
        yield self.widget

    def copy_text(self, text: str, what: str) -> None:
        """What the real app puts on the clipboard."""
        self.copied.append((text, what))

    def lines(self) -> list[str]:
        """The screen as text, without colours."""
        strips = self.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    def shown(self) -> str:
        """The screen as one text, its lines joined by single spaces."""
        return " ".join(" ".join(self.lines()).split())
