"""A chain of layers as a strip of cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.screens.depth.chain_view import Row, legend, small_strip, strip_rows, visits
from engine.depth.chain import identity, parse_chain


def texts(chain: str, layers: int, width: int) -> list[str]:
    rows = strip_rows(parse_chain(chain, layers), layers, width)
    return ["".join(part.text for part in row).rstrip() for row in rows]


def test_kept_skipped_and_looped_layers_and_the_way_back() -> None:
    assert texts("0-3,2-3,6-7", 8, 30) == [
        "0              5",
        "■■ ■■ 2× 2× ·· ·· ■■ ■■",
        "      └─↺─┘",
    ]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (20, ["0         5", "■ ■ 2×· · ■ ■ ■", "    ↺"]),
        (8, ["0    5", "■■2··■■■", "  ↺"]),
        (5, ["0", "■■2··", "  ↺", "5", "■■■"]),
    ],
)
def test_narrower_cells_and_then_more_lines(width: int, shown: list[str]) -> None:
    assert texts("0-2,2,5-7", 8, width) == shown


def test_a_block_that_runs_many_times() -> None:
    chain = "0-1," + "2-3," * 11 + "4"
    assert texts(chain, 5, 10)[1] == "■ ■ 11×11×■"
    assert texts(chain, 5, 5)[1] == "■■++■"


def test_the_legend_counts_layers() -> None:
    parts = legend(parse_chain("0-3,2-3,6-7", 8), 8)
    assert "".join(part.text for part in parts) == "■ 4 kept   · 2 skipped   2× 2 looped"
    assert [part.kind for part in parts] == ["kept", "skipped", "looped"]


def test_small_in_a_table() -> None:
    assert small_strip(parse_chain("0-2,2,5-7", 8), 8) == "■■2··■■■"
    # Two layers a character: one of them skipped, both skipped, one of them looped.
    assert small_strip(parse_chain("0,4-5,5-7", 8), 8, most=4) == "▪·2■"
    assert len(small_strip(identity(80), 80)) <= 30


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), min_size=1))),
       st.integers(1, 130))  # fmt: skip
def test_every_layer_has_its_cell_at_every_width(layers_and_chain: tuple[int, list[int]], width: int) -> None:
    layers, chain = layers_and_chain[0], tuple(layers_and_chain[1])
    rows = strip_rows(chain, layers, width)
    kinds = {"skipped": 0, "kept": 1}
    counts = visits(chain, layers)
    marks = [part for row in rows if not _is_back_or_ruler(row) for part in row]
    assert len(marks) == layers
    for part, count in zip(marks, counts, strict=True):
        assert kinds.get(part.kind, count) == count and (part.kind == "looped") == (count > 1)


def _is_back_or_ruler(row: Row) -> bool:
    """Lines of numbers and brackets are one piece of text each, not a piece a layer."""
    [first, *others] = row
    return not others and (not first.kind or set(first.text) <= set("└─↺┘ "))
