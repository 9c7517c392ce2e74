"""The search on scores that are made up: no model."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.depth.chain import LOOP, SKIP, Chain, identity
from engine.depth.rows import part_sizes
from engine.depth.scores import GAIN, NO_GAIN, RowScores, joined, judge
from engine.depth.scoring import ScoreMemory
from engine.depth.search import PARTS, ChainTree, ScoredChain, SearchSettings, best_known, menu, search_chains
from engine.errors import EngineError

LAYERS = 12
SIZES = part_sizes(32)
FLAT = [0.1] * LAYERS
BASE = identity(LAYERS)


def scorer(chance_of: Callable[[Chain], float], seed: int = 0, loss_of: Callable[[Chain], float] = lambda _: 2.0):
    """Every row is right with the chain's own chance, drawn once for chain and row."""

    def score(chain: Chain, part: int) -> RowScores:
        first = sum(SIZES[:part])
        drawn = [random.Random(f"{seed}/{chain}/{row}").random() for row in range(first, first + SIZES[part])]
        return RowScores(tuple(one < chance_of(chain) for one in drawn), (loss_of(chain),) * SIZES[part])

    return score


def without_layer_5(chain: Chain) -> float:
    """Skipping layer 5 helps much, each other layer that is missing hurts."""
    missing = set(BASE) - set(chain)
    return max(0.0, (0.9 if 5 in missing else 0.3) - 0.3 * len(missing - {5}))


def test_rows_are_parted_in_a_half_a_quarter_and_the_rest() -> None:
    assert part_sizes(32) == (2, 6, 8, 16)
    for rows in range(8, 70):
        assert sum(part_sizes(rows)) == rows and min(part_sizes(rows)) >= 1


def test_a_better_chain_is_found() -> None:
    found = search_chains(scorer(without_layer_5), FLAT, SearchSettings(chains=120))
    assert 5 not in found[0].chain and found[0].scores.accuracy > 0.7
    assert all(each.parts == PARTS and len(each.scores.exact) == 32 for each in found)
    assert BASE in [each.chain for each in found] and len(found) <= 120 // 16 + 1


def test_the_same_seed_gives_the_same_search_and_another_seed_another() -> None:
    def asked(seed: int) -> list[tuple[Chain, int]]:
        seen: list[tuple[Chain, int]] = []
        plain = scorer(without_layer_5)

        def score(chain: Chain, part: int) -> RowScores:
            seen.append((chain, part))
            return plain(chain, part)

        search_chains(score, FLAT, SearchSettings(chains=40, seed=seed))
        return seen

    assert asked(1) == asked(1) != asked(2)
    assert len(asked(1)) == len(set(asked(1)))  # nothing is scored twice


@pytest.mark.parametrize("kinds", [(SKIP,), (LOOP,), (SKIP, LOOP)])
def test_only_the_edits_asked_for(kinds: tuple[str, ...]) -> None:
    seen: set[Chain] = set()

    def score(chain: Chain, part: int) -> RowScores:
        seen.add(chain)
        return scorer(lambda _: 0.5)(chain, part)

    search_chains(score, FLAT, SearchSettings(chains=60, kinds=kinds))
    lengths = {len(chain) for chain in seen - {BASE}}
    if kinds == (SKIP,):
        assert max(lengths) < LAYERS
    elif kinds == (LOOP,):
        assert min(lengths) > LAYERS
    else:
        assert min(lengths) < LAYERS < max(lengths)
    assert max(lengths) <= LAYERS * 3 // 2


def test_fewer_chains_on_more_rows() -> None:
    asked = [0] * PARTS

    def score(chain: Chain, part: int) -> RowScores:
        asked[part] += 1
        return scorer(without_layer_5)(chain, part)

    search_chains(score, FLAT, SearchSettings(chains=200))
    assert asked[0] == asked[1] == 201 and asked[2] in (50, 51) and asked[3] in (12, 13)


def test_hopeless_chains_see_the_probe_only() -> None:
    asked: dict[Chain, int] = {}

    def score(chain: Chain, part: int) -> RowScores:
        asked[chain] = part
        hopeless = 0 not in chain
        return RowScores((not hopeless,) * SIZES[part], (9.0 if hopeless else 2.0,) * SIZES[part])

    search_chains(score, FLAT, SearchSettings(chains=150))
    rejected = [chain for chain in asked if 0 not in chain]
    assert rejected and all(asked[chain] == 0 for chain in rejected)


def test_rejected_chains_get_no_children() -> None:
    tree = ChainTree(FLAT, 0.5, SearchSettings())
    rejected = []
    for _ in range(150):
        node = tree.next_chain()
        assert node is not None and node.parent not in rejected
        hopeless = 0 not in node.chain
        tree.take(node, 0.1 if hopeless else 0.5, rejected=hopeless)
        rejected += [node] if hopeless else []
    assert rejected


def test_layers_without_influence_are_tried_first() -> None:
    influence = [1.0] * LAYERS
    influence[7] = 0.0
    firsts = [ChainTree(influence, 0.5, SearchSettings(seed=seed)).next_chain() for seed in range(40)]
    # By chance it would be about 1 of 570.
    assert sum(first is not None and first.chain.count(7) != 1 for first in firsts) > 20


def test_a_small_tree_ends_by_itself() -> None:
    seen: set[Chain] = set()

    def score(chain: Chain, part: int) -> RowScores:
        seen.add(chain)
        return RowScores((True,) * SIZES[part], (1.0,) * SIZES[part])

    settings = SearchSettings(chains=500, kinds=(SKIP,))
    search_chains(score, [0.1] * 4, settings)
    assert len(seen) == 2**4 - 1  # every part of the base's layers but none of them


def test_the_menu_is_the_front_of_value_against_length() -> None:
    def one(length: int, right: int) -> ScoredChain:
        return ScoredChain(BASE[:length], PARTS, RowScores((True,) * right + (False,) * (10 - right), (1.0,) * 10))

    assert menu([one(6, 3), one(8, 2), one(9, 5), one(9, 4), one(12, 9)], LAYERS) == [one(6, 3), one(9, 5)]
    assert [len(each.chain) for each in menu([one(n, n - 2) for n in range(3, 12)], LAYERS)] == [7, 8, 9, 10, 11]
    assert menu([one(12, 5), one(11, 4)], LAYERS) == [one(11, 4)]


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_no_reliable_gain(seed: int) -> None:
    """Labels without sense: every chain is right on a row with the same chance. At most one seed may be wrong."""
    assert _verdict(lambda _: 0.25, seed) == NO_GAIN


def test_a_real_gain_is_told_as_one() -> None:
    assert [_verdict(without_layer_5, seed) for seed in range(5)] == [GAIN] * 5


def _verdict(chance_of: Callable[[Chain], float], seed: int) -> str:
    best = search_chains(scorer(chance_of, seed), FLAT, SearchSettings(chains=200, seed=seed))[0]

    def held_out(chain: Chain) -> RowScores:
        drawn = [random.Random(f"{seed}/held out/{chain}/{row}").random() for row in range(100)]
        return RowScores(tuple(one < chance_of(chain) for one in drawn), (2.0,) * 100)

    return judge(held_out(BASE), held_out(best.chain)).verdict


class Stopped(Exception):
    pass


def test_a_stopped_search_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    settings = SearchSettings(chains=50)
    plain = scorer(without_layer_5)
    whole = search_chains(plain, FLAT, settings)
    calls = 0

    def failing(chain: Chain, part: int) -> RowScores:
        nonlocal calls
        calls += 1
        if calls > 60:
            raise Stopped
        return plain(chain, part)

    stopped = ScoreMemory(tmp_path / "search.json", {"rows": "abc"}, LAYERS, failing)
    with pytest.raises(Stopped):
        search_chains(stopped.score, FLAT, settings)
    stopped.save()
    best = best_known(stopped.known)
    assert best is not None and best.parts == 2 and 5 not in best.chain
    asked = 0

    def counting(chain: Chain, part: int) -> RowScores:
        nonlocal asked
        asked += 1
        return plain(chain, part)

    again = ScoreMemory(tmp_path / "search.json", {"rows": "abc"}, LAYERS, counting)
    assert search_chains(again.score, FLAT, settings) == whole
    assert asked == sum(len(parts) for parts in again.known.values()) - 60


def test_nothing_known_is_no_best() -> None:
    assert best_known({}) is None


def test_memory_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    ScoreMemory(file, {"base": "a", "set_of_rows": "b"}, LAYERS, scorer(without_layer_5)).save()
    with pytest.raises(EngineError, match="the search here is on another set of rows. Choose another out"):
        ScoreMemory(file, {"base": "a", "set_of_rows": "c"}, LAYERS, scorer(without_layer_5))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"belongs_to": {"base": "a"}, "chains": {"0-99": []}}),
        json.dumps({"belongs_to": {"base": "a"}, "chains": {"0-3": [{"exact": [True]}]}}),
        json.dumps({"belongs_to": {"base": "a"}, "chains": []}),
    ],
)
def test_a_broken_memory_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "search.json"
    file.write_text(text)
    with pytest.raises(EngineError, match="search.json.*(broken JSON|is not the state of a search)"):
        ScoreMemory(file, {"base": "a"}, LAYERS, scorer(without_layer_5))


def test_scores_joined_are_those_of_all_rows() -> None:
    parts = [scorer(without_layer_5)(BASE, part) for part in range(PARTS)]
    assert joined(parts).right == sum(part.right for part in parts)
