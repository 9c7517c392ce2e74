"""The Monte Carlo search tree over chains (arXiv 2507.07996, section 3): which chain to look at next. Pure.

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
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.depth.chain import LOOP, SKIP, Chain, edited, edits, identity

# Keeps an edit of a layer without any influence from being drawn before all others, always.
_LEAST_TURN = 0.02


@dataclass(frozen=True)
class TreeSettings:
    """How the tree grows.

    kinds: the kinds of edits.
    exploration: c of UCB.
    length_weight: λ of UCB, per share of the base's layers.
    random_child: probability of an unexplored child at random.
    """

    kinds: tuple[str, ...] = (SKIP, LOOP)
    exploration: float = 0.2
    length_weight: float = 0.1
    random_child: float = 0.1


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

    def __init__(self, influence: Sequence[float], root_value: float, settings: TreeSettings, seed: int) -> None:
        self._influence = influence
        self._settings = settings
        self._chance = random.Random(seed)
        self._layers = len(influence)
        self._seen = {identity(self._layers)}
        self._root = Node(identity(self._layers), None, value=root_value, visits=1)

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
        return self._chance.random() < self._settings.random_child or len(node.children) < 2 * math.sqrt(node.visits)

    def _ucb(self, node: Node) -> float:
        settings = self._settings
        explored = settings.exploration * math.sqrt(math.log(self._root.visits) / node.visits)
        return node.value / node.visits + explored - settings.length_weight * len(node.chain) / self._layers

    def _unexplored_child(self, node: Node) -> Chain | None:
        if node.unexplored is None:
            node.unexplored = self._ordered_children(node.chain)
        left = node.unexplored
        while left:
            at_random = self._chance.random() < self._settings.random_child
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

        An edit's weight falls with how far it turns the hidden states, as far as the base's own block influence tells;
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
