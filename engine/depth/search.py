"""Search of a chain for a dataset: Monte Carlo tree search on few rows, then fewer chains on more rows. Pure.

    part     0        1                2                    3
    rows     probe    rest of 1/4      next 1/4             second half
    chains   all      not rejected     1/4 of them          1/16 of them        (successive halving)

A chain that does much worse than the base on the probe is rejected there: no more rows, no edits of it.

The scorer is a function, so nothing here knows models or files. With the same scores and seed the search is the same:
a search that was stopped is taken up by running it again on remembered scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.depth.chain import Chain, identity
from engine.depth.scores import RowScores, joined
from engine.depth.tree import ChainTree, TreeSettings

Score: TypeAlias = Callable[[Chain, int], RowScores]
"""(chain, part) -> its scores on the rows of that part."""

PARTS = 4
MENU = 5
"""Most chains of a menu, the base's own not counted."""

# A loss this much above the base's, in nats a token, with nothing right on the probe.
_HOPELESS = 2.0


@dataclass(frozen=True)
class SearchSettings:
    """A search.

    chains: how many chains the tree looks at.
    seed: of everything drawn at random.
    """

    chains: int = 200
    seed: int = 0
    tree: TreeSettings = field(default_factory=TreeSettings)


@dataclass(frozen=True)
class ScoredChain:
    """A chain and its scores, on the rows of the first `parts` parts."""

    chain: Chain
    parts: int
    scores: RowScores


def part_sizes(rows: int) -> tuple[int, int, int, int]:
    """How many of `rows` rows, at least 8, are in each part."""
    first = rows // 4
    probe = max(1, first // 4)
    second = rows // 2 - first
    return probe, first - probe, second, rows - first - second


def search_chains(
    score: Score,
    influence: Sequence[float],
    settings: SearchSettings,
    on_chain: Callable[[ScoredChain], None] = lambda scored: None,
) -> list[ScoredChain]:
    """Look for chains that score better than the base or as well with fewer layers.

    Args:
        influence: block influence of each layer of the base.
        on_chain: called after every chain that was looked at, the base's own first: in the tree and in each round of
            halving.

    Returns:
        The chains that were scored on all rows, the base's own among them; those of most value first, the shorter of
        equals.
    """
    layers = len(influence)
    base = identity(layers)
    probe = score(base, 0)
    scored = {base: joined([probe, score(base, 1)])}
    on_chain(ScoredChain(base, 2, scored[base]))
    tree = ChainTree(influence, scored[base].value, settings.tree, settings.seed)
    for _ in range(settings.chains):
        node = tree.next_chain()
        if node is None:
            break
        scores = score(node.chain, 0)
        hopeless = not scores.right and scores.mean_loss > probe.mean_loss + _HOPELESS
        if not hopeless:
            scores = scored[node.chain] = joined([scores, score(node.chain, 1)])
        tree.take(node, scores.value, rejected=hopeless)
        on_chain(ScoredChain(node.chain, 1 if hopeless else 2, scores))
    for part, share in ((2, 4), (3, 16)):
        # The base goes on in any case: everything is compared with it.
        kept = {base: scored[base]} | _promising(scored, layers, settings, max(1, settings.chains // share))
        scored = {}
        for chain, scores in kept.items():
            scored[chain] = joined([scores, score(chain, part)])
            on_chain(ScoredChain(chain, part + 1, scored[chain]))
    return [ScoredChain(chain, PARTS, scored[chain]) for chain in _by_value(scored)]


def best_known(known: Mapping[Chain, Sequence[RowScores]]) -> ScoredChain | None:
    """The best chain of a search that was stopped: of those scored on most rows. None when there is none yet.

    Args:
        known: by chain, its scores on the first parts.
    """
    most = max((len(parts) for parts in known.values()), default=0)
    if not most:
        return None
    scored = {chain: joined(parts) for chain, parts in known.items() if len(parts) == most}
    best = _by_value(scored)[0]
    return ScoredChain(best, most, scored[best])


def most_looks(chains: int) -> int:
    """How often a search over `chains` chains looks at one, at most: the base, the tree, two rounds of halving."""
    return 1 + chains + sum(1 + max(1, chains // share) for share in (4, 16))


def menu(found: Iterable[ScoredChain], layers: int) -> list[ScoredChain]:
    """The Pareto front of value against length, shortest first: a longer chain is there only if it is better.

    Of a long front the `MENU` chains of most value stay; the base's own chain is never part of it.
    """
    front: list[ScoredChain] = []
    for each in sorted(found, key=lambda one: (len(one.chain), -one.scores.value)):
        if not front or each.scores.value > front[-1].scores.value:
            front.append(each)
    front = [each for each in front if each.chain != identity(layers)]
    kept = sorted(front, key=lambda one: -one.scores.value)[:MENU]
    return [each for each in front if each in kept]


def _promising(
    scored: Mapping[Chain, RowScores], layers: int, settings: SearchSettings, count: int
) -> dict[Chain, RowScores]:
    """`count` chains: half of them for their value, the others for their value less the length term of UCB.

    By value alone the short chains of a menu would go, by the other alone the best ones of a base that is often wrong.
    """
    weight = settings.tree.length_weight / layers
    by_worth = sorted(scored, key=lambda chain: weight * len(chain) - scored[chain].value)
    kept = dict.fromkeys(_by_value(scored)[: (count + 1) // 2])
    for chain in by_worth:
        if len(kept) < count:
            kept[chain] = None
    return {chain: scored[chain] for chain in kept}


def _by_value(scored: Mapping[Chain, RowScores]) -> list[Chain]:
    return sorted(scored, key=lambda chain: (-scored[chain].value, len(chain)))
