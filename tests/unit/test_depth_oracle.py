"""The search of single rows by their own labels, on scores that are made up: no model."""

from __future__ import annotations

from engine.depth.chain import LOOP, SKIP, Chain, identity
from engine.depth.oracle import ACTIONS, RowSearch, search_row, shares
from engine.depth.scores import RowScores
from engine.depth.search import SearchSettings

LAYERS = 8
BASE = identity(LAYERS)
FLAT = [0.1] * LAYERS


def settings(kinds: tuple[str, ...], chains: int = 120) -> SearchSettings:
    return SearchSettings(chains, 0, kinds, length_weight=5.0)


def answered(right: bool) -> RowScores:
    return RowScores((right,), (0.2 if right else 2.0,))


def without_layer_3(chain: Chain) -> RowScores:
    """Wrong with the base, right wherever layer 3 is missing and layer 0 is not."""
    return answered(3 not in chain and 0 in chain)


def test_a_correcting_chain_is_found_only_by_the_action_that_makes_it() -> None:
    assert search_row(without_layer_3, FLAT, settings((LOOP,))).right is None
    for kinds in ((SKIP,), (SKIP, LOOP)):
        found = search_row(without_layer_3, FLAT, settings(kinds))
        assert not found.base_right and found.right is not None
        assert 3 not in found.right and without_layer_3(found.right).right


def test_the_shortest_chain_that_is_right_is_kept() -> None:
    found = search_row(lambda chain: answered(len(chain) >= 4 and 0 in chain), FLAT, settings((SKIP,)))
    assert found.base_right and found.right is not None and len(found.right) == 4


def test_where_nothing_shorter_is_right_it_is_the_base() -> None:
    found = search_row(lambda chain: answered(chain == BASE), FLAT, settings((SKIP,), 30))
    assert found == RowSearch(True, BASE, 30)
    assert found.to_json() == {"base_right": True, "shortest_right_chain": "0-7", "length": 8, "chains": 30}


def test_a_search_looks_at_no_more_chains_than_asked_for_and_at_none_twice() -> None:
    seen: list[Chain] = []

    def score(chain: Chain) -> RowScores:
        seen.append(chain)
        return answered(False)

    assert search_row(score, FLAT, settings((SKIP, LOOP), 40)).chains == 40
    assert len(seen) == len(set(seen)) == 41


def test_shares_are_of_the_rows_they_are_about() -> None:
    def row(base_right: bool, **right: Chain | None) -> dict[str, RowSearch]:
        return {name: RowSearch(base_right, right.get(name), 9) for name in ACTIONS}

    rows = [
        row(True, skip=BASE[1:], loop=BASE, both=BASE[2:]),
        row(True, skip=BASE, loop=BASE, both=BASE),
        row(True, skip=BASE, loop=BASE, both=BASE[1:]),
        row(False, loop=(*BASE, 7), both=BASE[1:]),
        row(False),
    ]
    found = shares(rows, LAYERS)
    assert (found["base"]["count"], found["base"]["of"]) == (3, 5)
    assert [found[name]["found"]["count"] for name in ACTIONS] == [3, 4, 4]
    assert [(found[name]["shorter"]["count"], found[name]["shorter"]["of"]) for name in ACTIONS] == [
        (1, 3), (0, 3), (2, 3),
    ]  # fmt: skip
    assert [(found[name]["corrected"]["count"], found[name]["corrected"]["of"]) for name in ACTIONS] == [
        (0, 2), (1, 2), (1, 2),
    ]  # fmt: skip
    assert found["base"]["share"] == 0.6 and found["base"]["interval"][0] < 0.6 < found["base"]["interval"][1]


def test_a_share_of_no_rows_is_none() -> None:
    found = shares([{name: RowSearch(True, BASE, 9) for name in ACTIONS}], LAYERS)
    assert found["both"]["corrected"] == {"count": 0, "of": 0, "share": None, "interval": None}
