"""The losses of a run as a picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from engine.forge.curve_plot import as_svg
from engine.forge.history import Curve


def paths(picture: ElementTree.Element) -> list[list[tuple[float, ...]]]:
    return [
        [tuple(map(float, point.split(","))) for point in path.attrib["points"].split()]
        for path in picture.findall("{*}polyline")
    ]


def test_each_stage_has_a_panel_and_held_out_losses_share_one() -> None:
    curves: dict[str, Curve] = {
        "multi-task": [(step, 3.0 - step / 50) for step in range(1, 101)],
        "held_out_multi_task": [(50, 3.1), (100, 3.1)],
        "held_out_generated": [(50, 3.0), (100, 2.9)],
    }
    picture = ElementTree.fromstring(as_svg(curves))
    words = [text.text for text in picture.findall("{*}text")]
    assert words.count("multi-task") == 1 and words.count("held-out tasks") == 1
    assert {"multi task 3.100", "generated 2.900", "100"} <= set(words)
    every, mean, held_out, generated = paths(picture)
    assert (len(every), len(mean), len(held_out), len(generated)) == (100, 100, 2, 2)
    # A falling loss goes down the page, to the right; the panels are one below the other.
    assert every == sorted(every) and every[0][1] < every[-1][1] < held_out[0][1]
    assert generated[1][1] > held_out[1][1]
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert all(0 <= x <= width and 0 <= y <= height for path in paths(picture) for x, y in path)


def test_what_goes_up_and_down_has_an_even_mean() -> None:
    picture = ElementTree.fromstring(as_svg({"library": [(step, float(step % 2)) for step in range(1, 601)]}))
    every, mean = ([down for _, down in path] for path in paths(picture))
    assert max(mean) - min(mean) < 0.2 * (max(every) - min(every))


@pytest.mark.parametrize("curves", [{}, {"library": [(1, 2.0)]}])
def test_little_or_nothing_is_a_picture(curves: dict[str, Curve]) -> None:
    assert ElementTree.fromstring(as_svg(curves)).tag.endswith("svg")
