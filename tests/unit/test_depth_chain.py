"""Chains as text, and the edits of the search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.depth.chain import (
    LOOP,
    SKIP,
    Edit,
    check_chain,
    edited,
    edits,
    format_chain,
    identity,
    parse_chain,
    runs,
)
from engine.errors import EngineError

CHAINS = st.lists(st.integers(0, 29), min_size=1, max_size=60).map(tuple)


@given(CHAINS)
def test_text_and_full_list_give_the_chain_back(chain: tuple[int, ...]) -> None:
    assert parse_chain(format_chain(chain), 30) == chain
    assert parse_chain(",".join(map(str, chain)), 30) == chain
    assert tuple(layer for first, last in runs(chain) for layer in range(first, last + 1)) == chain
    check_chain(chain, 30)


@given(CHAINS, CHAINS)
def test_the_text_is_a_key(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert (format_chain(one) == format_chain(other)) == (one == other)


def test_as_people_write_it() -> None:
    chain = parse_chain(" 0-3, 2 - 3,7 ", 8)
    assert chain == (0, 1, 2, 3, 2, 3, 7)
    assert format_chain(chain) == "0-3,2-3,7"
    assert format_chain(identity(30)) == "0-29"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the chain is empty"),
        ("  ", "the chain is empty"),
        ("0-8", "there is no layer 8. The base has the layers 0 to 7"),
        ("0-999999", "there is no layer 999999"),
        ("0,,2", "'' is no layer and no range"),
        ("0-2-4", "'0-2-4' is no layer"),
        ("-1", "'-1' is no layer"),
        ("0;1", "'0;1' is no layer"),
        ("all", "'all' is no layer"),
        ("٣", "is no layer"),
        ("5-3", "runs backwards"),
        ("1" * 5000, "is no layer"),
    ],
)
def test_what_is_no_chain_is_told(text: str, told: str) -> None:
    with pytest.raises(EngineError) as failed:
        parse_chain(text, 8)
    assert told in str(failed.value)


@pytest.mark.parametrize(("chain", "told"), [((), "empty"), ((0, 8), "no layer 8"), ((-1,), "no layer -1")])
def test_a_chain_that_does_not_fit_is_told(chain: tuple[int, ...], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        check_chain(chain, 8)


def test_edits_skip_and_repeat() -> None:
    assert edited((0, 1, 2, 3), Edit(SKIP, 1, 2, 0)) == (0, 3)
    assert edited((0, 1, 2, 3), Edit(LOOP, 1, 2, 2)) == (0, 1, 2, 1, 2, 1, 2, 3)


@given(CHAINS, st.integers(1, 80))
def test_edits_stay_within_the_limits(chain: tuple[int, ...], longest: int) -> None:
    for edit in edits(chain, (SKIP, LOOP), longest):
        changed = edited(chain, edit)
        assert 1 <= edit.layers <= 4 and len(changed) >= 1
        if edit.kind == SKIP:
            assert len(changed) == len(chain) - edit.layers
        else:
            assert 1 <= edit.times <= 4 and len(chain) < len(changed) <= longest


def test_every_action_of_the_paper_is_there() -> None:
    found = edits(identity(30), (SKIP, LOOP), 100)
    blocks = 30 + 29 + 28 + 27
    assert len([edit for edit in found if edit.kind == SKIP]) == blocks
    assert len([edit for edit in found if edit.kind == LOOP]) == 4 * blocks
    assert edits(identity(4), (LOOP,), 4) == []
