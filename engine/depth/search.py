"""Search of a chain for a dataset: Monte Carlo tree search on few rows, then fewer chains on more rows. Pure.

    part     0        1                2                    3
    rows     probe    rest of 1/4      next 1/4             second half
    chains   all      not rejected     1/4 of them          1/16 of them        (successive halving)

A chain that does much worse than the base on the probe is rejected there: no more rows, no edits of it.

The scorer is a function, so nothing here knows models or files. With the same scores and seed the search is the same:
a search that was stopped is taken up by running it again on remembered scores.

The tree (arXiv 2507.07996, section 3) chooses which chain to look at next:

    root: the base's own chain --edit--> child --edit--> …        one new chain a simulation

    UCB(P) = Q / v + c · sqrt(ln V / v) - λ · |P| / N             Q, v: value and visits of the chain, V: simulations

As published: the actions, UCB, an unexplored child at random with probability 0.1. Added, because a chain of 30 layers
has 570 actions and a search 200 simulations:

    a node is widened while it has fewer than 2 · sqrt(v) children        otherwise it would stay at depth 1
    edits that turn the hidden states little come first                   by block influence, drawn at random
    a chain that another path led to already is not looked at again
    a chain that was rejected gets no children
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from engine.depth.chain import LOOP, SKIP, Chain, edited, edits, identity
from engine.depth.scores import RowScores, joined

Score: TypeAlias = Callable[[Chain, int], RowScores]
"""(chain, part) -> its scores on the rows of that part."""

PARTS = 4
MENU = 5
"""Most chains of a menu, the base's own not counted."""

# c of UCB, and the probability of an unexplored child at random.
_EXPLORATION, _RANDOM_CHILD = 0.2, 0.1
# A loss this much above the base's, in nats a token, with nothing right on the probe.
_HOPELESS = 2.0
# Keeps an edit of a layer without any influence from being drawn before all others, always.
_LEAST_TURN = 0.02


@dataclass(frozen=True)
class SearchSettings:
    """A search.

    chains: how many chains the tree looks at.
    seed: of everything drawn at random.
    kinds: the kinds of edits.
    length_weight: λ of UCB, per share of the base's layers.
    """

    chains: int = 200
    seed: int = 0
    kinds: tuple[str, ...] = (SKIP, LOOP)
    length_weight: float = 0.1


@dataclass(frozen=True)
class ScoredChain:
    """A chain and its scores, on the rows of the first `parts` parts."""

    chain: Chain
    parts: int
    scores: RowScores


@dataclass(eq=False)
class Node:
    """A chain in the tree; `unexplored` are the chains of its edits, next one last, None before they are needed."""

    chain: Chain
    parent: Node | None
    children: list[Node] = field(default_factory=list)
    unexplored: list[Chain] | None = None
    value: float = 0.0
    visits: int = 0
    closed: bool = False


class ChainTree:
    """The tree of one search.

    Args:
        influence: of each layer of the base (`ChainScorer.influence`).
        root_value: value of the base's own chain.
    """

    def __init__(self, influence: Sequence[float], root_value: float, settings: SearchSettings) -> None:
        self._influence = influence
        self._settings = settings
        self._chance = random.Random(settings.seed)
        self._layers = len(influence)
        self._seen = {identity(self._layers)}
        self._root = Node(identity(self._layers), None, value=root_value, visits=1)

    def chains(self) -> Iterator[Node]:
        """As many chains as the settings have, while there are any; `take` must follow each."""
        return islice(iter(self.next_chain, None), self._settings.chains)

    def next_chain(self) -> Node | None:
        """A chain that was never looked at; None when there are no more. `take` must follow."""
        while not self._root.closed:
            node = self._root
            while True:
                open_children = [child for child in node.children if not child.closed]
                if self._to_be_widened(node) or not open_children:
                    break
                node = max(open_children, key=self._ucb)
            chain = self._unexplored_child(node)
            if chain is not None:
                child = Node(chain, node)
                node.children.append(child)
                return child
            self._close(node)
        return None

    def take(self, node: Node, value: float, *, rejected: bool = False) -> None:
        """The value of a chain that `next_chain` gave; it counts for all chains it was made from."""
        node.closed = rejected
        above: Node | None = node
        while above is not None:
            above.value += value
            above.visits += 1
            above = above.parent

    def _to_be_widened(self, node: Node) -> bool:
        if node.unexplored == []:
            return False
        return self._chance.random() < _RANDOM_CHILD or len(node.children) < 2 * math.sqrt(node.visits)

    def _ucb(self, node: Node) -> float:
        explored = _EXPLORATION * math.sqrt(math.log(self._root.visits) / node.visits)
        return node.value / node.visits + explored - self._settings.length_weight * len(node.chain) / self._layers

    def _unexplored_child(self, node: Node) -> Chain | None:
        if node.unexplored is None:
            node.unexplored = self._ordered_children(node.chain)
        left = node.unexplored
        while left:
            at_random = self._chance.random() < _RANDOM_CHILD
            chain = left.pop(int(self._chance.random() * len(left)) if at_random else -1)
            if chain not in self._seen:
                self._seen.add(chain)
                return chain
        return None

    def _close(self, node: Node) -> None:
        """Nothing new comes from here any more; a node whose children are all closed is closed with them."""
        above: Node | None = node
        while above is not None and above.unexplored == [] and all(child.closed for child in above.children):
            above.closed = True
            above = above.parent

    def _ordered_children(self, chain: Chain) -> list[Chain]:
        """The chains one edit away, the next one last: drawn by weight (Efraimidis and Spirakis 2006).

        An edit's weight falls with how far it turns the hidden states, as far as the base's own block influence shows;
        all skips together weigh as much as all loops.
        """
        found = edits(chain, self._settings.kinds, longest=max(self._layers + 1, self._layers * 3 // 2))
        counts = {kind: sum(edit.kind == kind for edit in found) for kind in (SKIP, LOOP)}
        drawn: list[tuple[float, Chain]] = []
        for edit in found:
            block = chain[edit.place : edit.place + edit.layers]
            turn = sum(self._influence[layer] for layer in block) * max(1, edit.times)
            weight = 1 / ((_LEAST_TURN + max(0.0, turn)) * counts[edit.kind])
            # The logarithm of u ** (1 / weight): the power itself would be 0 for most.
            drawn.append((math.log(1 - self._chance.random()) / weight, edited(chain, edit)))
        return [each for _, each in sorted(drawn)]


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
    tree = ChainTree(influence, scored[base].value, settings)
    for node in tree.chains():
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
    weight = settings.length_weight / layers
    by_worth = sorted(scored, key=lambda chain: weight * len(chain) - scored[chain].value)
    kept = dict.fromkeys([*_by_value(scored)[: (count + 1) // 2], *by_worth])
    return {chain: scored[chain] for chain in islice(kept, count)}


def _by_value(scored: Mapping[Chain, RowScores]) -> list[Chain]:
    return sorted(scored, key=lambda chain: (-scored[chain].value, len(chain)))
