"""The losses of a run as a picture: one SVG, a panel a stage."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as Xml

from engine.forge.history import HELD_OUT_CURVE, Curve
from engine.forge.smoothing import smoothed
from engine.svg import ACCENT, FAINT, INK, add_line, add_path, add_text, axis_ticks, canvas, to_text

_LEFT, _WIDTH, _HEIGHT, _RIGHT, _TOP, _BOTTOM = 60, 560, 130, 190, 44, 30
# Of the curves of one panel, in their order.
_COLOURS = (ACCENT, "#bc4c00", INK)


def as_svg(curves: Mapping[str, Curve]) -> str:
    """A panel a stage, in their order: the loss by step, faint, and its moving mean; held-out losses in one panel.

    Args:
        curves: see `history.read_curves`. Losses of single steps are of other tasks each time, hence the mean.
    """
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        title = "held-out tasks" if name.startswith(HELD_OUT_CURVE) else name
        panels.setdefault(title, {})[name.removeprefix(HELD_OUT_CURVE).replace("_", " ")] = curve
    panel = _TOP + _HEIGHT + _BOTTOM
    root = canvas(_LEFT + _WIDTH + _RIGHT, panel * max(1, len(panels)), "Loss by step")
    for number, (title, parts) in enumerate(panels.items()):
        _panel(root, number * panel + _TOP, title, parts)
    return to_text(root)


def _panel(root: Xml.Element, top: float, title: str, parts: Mapping[str, Curve]) -> None:
    alone = len(parts) == 1
    losses = [loss for curve in parts.values() for _, loss in curve]
    last = max(step for curve in parts.values() for step, _ in curve)
    ticks = axis_ticks(min(losses), max(losses))

    def place(step: float, loss: float) -> tuple[float, float]:
        down = (ticks[-1] - loss) / (ticks[-1] - ticks[0])
        return _LEFT + _WIDTH * step / last, top + _HEIGHT * down

    add_text(root, _LEFT, top - 18, title, "start", "bold")
    add_text(root, _LEFT + _WIDTH, top - 18, "loss by step", "end", size=11)
    for tick in ticks:
        (left, y), (right, _) = place(0, tick), place(last, tick)
        add_line(root, left, y, right, y, FAINT, 1)
        add_text(root, left - 8, y + 4, f"{tick:.10g}", "end", size=11)
    for step in (0, last):
        add_text(root, place(step, ticks[0])[0], top + _HEIGHT + 16, str(step), "middle", size=11)
    for number, (name, curve) in enumerate(parts.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = curve
        if alone:
            add_path(root, [place(*point) for point in curve], FAINT, 1)
            means = smoothed([loss for _, loss in curve]).tolist()
            drawn = [(step, mean) for (step, _), mean in zip(curve, means, strict=True)]
        add_path(root, [place(*point) for point in drawn], colour, 2)
        label = f"{'mean ' if alone else name + ' '}{drawn[-1][1]:.3f}"
        add_text(root, _LEFT + _WIDTH + 10, top + 12 + 18 * number, label, "start", size=11, colour=colour)
