"""The quality table as a picture: one SVG, an arm a line, its mean with the interval over tasks.

Written by hand, with the standard library's XML tree: all it needs is lines, dots and text, and a plotting library
would be the largest dependency of the judge.
"""

from __future__ import annotations

import math
from xml.etree import ElementTree as Xml

from engine.judge.arms import GENERATED, arm_title
from engine.judge.table import FIGURES, Figure, QualityTable

_LABELS, _PANEL, _GAP, _LINE, _TOP, _BOTTOM = 250, 330, 40, 26, 54, 46
_INK, _FAINT, _ACCENT, _PAPER = "#24292f", "#d0d7de", "#0550ae", "#ffffff"


def as_svg(table: QualityTable) -> str:
    """A panel a figure; dots are means over tasks, bars their 95 % intervals, ticks the means of single seeds."""
    arms = [arm for arm in table.arms if table.task_means(arm)]
    width = _LABELS + len(FIGURES) * (_PANEL + _GAP)
    height = _TOP + _LINE * len(arms) + _BOTTOM
    root = Xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "font-family": "sans-serif",
            "font-size": "13",
            "role": "img",
        },
    )
    Xml.SubElement(root, "title").text = f"Arms over {len(table.tasks)} tasks"
    Xml.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": _PAPER})
    for place, arm in enumerate(arms):
        weight = "bold" if arm == GENERATED else "normal"
        _text(root, _LABELS - 14, _middle(place) + 4, arm_title(arm), "end", weight)
    for number, figure in enumerate(FIGURES):
        _panel(root, _LABELS + number * (_PANEL + _GAP), table, figure, arms)
    foot = "dot: mean over tasks; bar: 95 % interval over tasks; small ticks: single seeds"
    _text(root, width - _GAP, height - 8, foot, "end", size=11)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode") + "\n"


def axis_ticks(low: float, high: float) -> list[float]:
    """Three to eight round numbers that enclose `low` to `high`."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _panel(root: Xml.Element, left: float, table: QualityTable, figure: Figure, arms: list[str]) -> None:
    better = "lower" if figure.lower_is_better else "higher"
    _text(root, left, 24, figure.title, "start", "bold")
    _text(root, left + _PANEL, 24, f"{better} is better", "end", size=11)
    ends = [end for arm in arms for end in table.interval(arm, figure) or ()]
    ends += [mean for arm in arms for mean in table.seed_means(arm, figure).values()]
    if not ends:
        return
    ticks = axis_ticks(min(ends), max(ends))

    def x(value: float) -> float:
        return left + _PANEL * (value - ticks[0]) / (ticks[-1] - ticks[0])

    bottom = _TOP + _LINE * len(arms)
    for tick in ticks:
        _stroke(root, x(tick), _TOP - 14, x(tick), bottom, _FAINT, 1)
        _text(root, x(tick), bottom + 16, f"{tick:.10g}", "middle", size=11)
    for place, arm in enumerate(arms):
        interval, mean = table.interval(arm, figure), table.mean(arm, figure)
        if interval is None or mean is None:
            continue
        y, colour = _middle(place), _ACCENT if arm == GENERATED else _INK
        _stroke(root, x(interval[0]), y, x(interval[1]), y, colour, 2)
        for value in table.seed_means(arm, figure).values() if table.spread(arm, figure) is not None else ():
            _stroke(root, x(value), y - 6, x(value), y + 6, colour, 1)
        dot = {"cx": _number(x(mean)), "cy": _number(y), "r": "4.5", "fill": colour}
        Xml.SubElement(
            Xml.SubElement(root, "circle", dot), "title"
        ).text = f"{arm_title(arm)}: {mean:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _middle(place: int) -> float:
    return _TOP + _LINE * place + _LINE / 2 - 6


def _stroke(root: Xml.Element, x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    style = {"stroke": colour, "stroke-width": str(width)}
    Xml.SubElement(root, "line", {name: _number(value) for name, value in ends.items()} | style)


def _text(
    root: Xml.Element, x: float, y: float, text: str, anchor: str, weight: str = "normal", size: int = 13
) -> None:
    place = {"x": _number(x), "y": _number(y), "text-anchor": anchor, "fill": _INK}
    style = {"font-weight": weight, "font-size": str(size)}
    Xml.SubElement(root, "text", place | style).text = text


def _number(value: float) -> str:
    return f"{value:.1f}"
