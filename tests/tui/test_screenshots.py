"""The moving picture of the README: made of stills, without the app."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from tests.tui.screenshots import moving_picture

PICTURES = Path(__file__).parents[2] / "assets" / "screenshots"


def still(text: str, *, width: int = 100) -> str:
    """A picture as Rich writes one; every one has the same names in it."""
    return (
        f'<svg xml:space="preserve" class="rich-terminal" viewBox="0 0 {width} 50" xmlns="http://www.w3.org/2000/svg">'
        "<style>.terminal-7-r1 { fill: red }</style>"
        '<defs><clipPath id="terminal-7-line-0"><rect width="9"/></clipPath></defs>'
        f'<text class="terminal-7-r1" clip-path="url(#terminal-7-line-0)">{text}</text></svg>'
    )


def ids(picture: str) -> Counter[str]:
    return Counter(each.attrib["id"] for each in Xml.fromstring(picture).iter() if "id" in each.attrib)


def groups(picture: str) -> list[Xml.Element]:
    return [each for each in Xml.fromstring(picture).iterfind(".//{*}g") if each.get("class") == "still"]


def test_every_still_is_in_it_once_in_order() -> None:
    picture = moving_picture([still("drop"), still("generate"), still("compare")])
    texts = [["".join(text.itertext()) for text in group.iterfind(".//{*}text")] for group in groups(picture)]
    assert texts == [["drop"], ["generate"], ["compare"]]
    assert Xml.fromstring(picture).get("viewBox") == "0 0 100 50"


def test_names_of_one_still_are_not_those_of_another() -> None:
    picture = moving_picture([still("a"), still("b")])
    assert set(ids(picture).values()) == {1}
    for number, group in enumerate(groups(picture)):
        text = next(group.iterfind(".//{*}text"))
        assert text.get("class") == f"still-{number}-r1" and f".still-{number}-r1 {{ fill: red }}" in picture
        assert text.get("clip-path") == f"url(#still-{number}-line-0)" and f"still-{number}-line-0" in ids(picture)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_each_has_its_seconds_and_exactly_one_is_seen(count: int) -> None:
    picture = moving_picture([still(str(number)) for number in range(count)], seconds=2)
    whole = re.search(r"animation: ([\d.]+)s step-end infinite", picture)
    until = re.search(r"([\d.]+)% { visibility: hidden; }", picture)
    assert whole and until and float(whole[1]) == 2 * count
    assert float(until[1]) == pytest.approx(100 / count, rel=1e-4)
    delays = [float(delay) for delay in re.findall(r"animation-delay: (-?[\d.]+)s", picture)]
    for second in range(2 * count):
        # A still is seen in the first part of its own turn, which began `delay` seconds from now.
        seen = [number for number, delay in enumerate(delays) if (second + 0.5 - delay) % (2 * count) < 2]
        assert seen == [second // 2]
    assert all(delay <= 0 for delay in delays), "before its first turn a still would be seen or not by chance"


def test_only_pictures_of_one_size() -> None:
    with pytest.raises(ValueError, match="not 2 sizes"):
        moving_picture([still("a"), still("b", width=101)])
    with pytest.raises(ValueError, match="not 0 sizes"):
        moving_picture([])


def test_the_picture_in_the_readme_is_one() -> None:
    picture = (PICTURES / "demo.svg").read_text(encoding="utf-8")
    assert len(groups(picture)) >= 4 and set(ids(picture).values()) == {1}
    assert "http" not in re.sub(r'xmlns="[^"]*"|<!--.*?-->', "", picture), "it must not fetch anything"
