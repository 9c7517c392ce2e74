"""Small pictures as SVG: lines, dots and text.

Written by hand, with the standard library's XML tree: a plotting library would be the largest dependency of what is
drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

INK, FAINT, ACCENT, PAPER = "#24292f", "#d0d7de", "#0550ae", "#ffffff"


def canvas(width: float, height: float, title: str) -> Xml.Element:
    """An empty picture on white paper."""
    root = Xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "font-family": "sans-serif",
            "font-size": "13",
            "role": "img",
        },
    )
    Xml.SubElement(root, "title").text = title
    Xml.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": PAPER})
    return root


def to_text(root: Xml.Element) -> str:
    """The picture's file."""
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode") + "\n"


def axis_ticks(low: float, high: float) -> list[float]:
    """Three to eight round numbers that enclose `low` to `high`."""
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def add_line(root: Xml.Element, x1: float, y1: float, x2: float, y2: float, colour: str, width: int) -> None:
    """A straight line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    style = {"stroke": colour, "stroke-width": str(width)}
    Xml.SubElement(root, "line", {name: _number(value) for name, value in ends.items()} | style)


def add_path(root: Xml.Element, points: Sequence[tuple[float, float]], colour: str, width: int) -> None:
    """Straight lines from point to point."""
    places = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
    style = {"fill": "none", "stroke": colour, "stroke-width": str(width)}
    Xml.SubElement(root, "polyline", {"points": places} | style)


def add_dot(root: Xml.Element, x: float, y: float, colour: str, title: str) -> None:
    """A dot with a title for whoever points at it."""
    dot = {"cx": _number(x), "cy": _number(y), "r": "4.5", "fill": colour}
    Xml.SubElement(Xml.SubElement(root, "circle", dot), "title").text = title


def add_text(
    root: Xml.Element,
    x: float,
    y: float,
    text: str,
    anchor: str,
    weight: str = "normal",
    size: int = 13,
    colour: str = INK,
) -> None:
    """Text whose start, middle or end is at `x`."""
    place = {"x": _number(x), "y": _number(y), "text-anchor": anchor, "fill": colour}
    Xml.SubElement(root, "text", place | {"font-weight": weight, "font-size": str(size)}).text = text


def _number(value: float) -> str:
    return f"{value:.1f}"
