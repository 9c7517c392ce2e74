"""A plot that is drawn at most every quarter of a second, and again when its size or the theme changes."""

from __future__ import annotations

from textual.containers import Vertical
from textual.timer import Timer

# Seconds between two drawings.
_PAUSE = 0.25


class DrawnSoon(Vertical):
    """`_draw_soon` asks for a drawing; a subclass draws in `_draw`."""

    _waiting: Timer | None = None

    def on_resize(self) -> None:
        """As many points and ticks as there is room for."""
        self._draw_soon()

    def notify_style_update(self) -> None:
        """Draw in the colours of another theme."""
        super().notify_style_update()
        self._draw_soon()

    def _draw_soon(self) -> None:
        if self.is_mounted and self._waiting is None:
            self._waiting = self.set_timer(_PAUSE, self._drawn)

    def _drawn(self) -> None:
        self._waiting = None
        self._draw()

    def _draw(self) -> None:
        raise NotImplementedError
