"""What chains exist for single rows, found with each row's own label, as in arXiv 2507.07996. Pure.

This is an oracle. A row's label decides which chain answers it "right", so the shares here say that such chains exist
and not that anybody could have taken them without knowing the answer. No accuracy that can be had follows from them.

The tree is that of the search over rows (`engine.depth.tree`), with the published weight of the length; a chain's value
on one row is `RowScores.value`, which tells wrong chains apart, where the published one is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.depth.chain import LOOP, SKIP, Chain, format_chain, identity
from engine.depth.scores import RowScores
from engine.depth.search import SearchSettings
from engine.depth.tree import ChainTree
from engine.depth.truth import wilson_interval

ORACLE = "oracle: uses each row's own label, not an accuracy that can be had"

ACTIONS: Mapping[str, tuple[str, ...]] = {"skip": (SKIP,), "loop": (LOOP,), "both": (SKIP, LOOP)}
"""The three searches of a row, by what they may do."""


@dataclass(frozen=True)
class RowSearch:
    """What one search of one row found.

    base_right: the base itself answers the row.
    right: the shortest chain found that answers it, the base's own among them; None if none does.
    chains: how many were looked at.
    """

    base_right: bool
    right: Chain | None
    chains: int


@dataclass(frozen=True)
class Share:
    """`count` of `of` rows; the 95 % interval is Wilson's, None where there are no rows."""

    count: int
    of: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the share."""
        return wilson_interval(self.count, self.of) if self.of else None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"share": self.count / self.of if self.of else None, "interval": self.interval}


def search_row(score: Callable[[Chain], RowScores], influence: Sequence[float], settings: SearchSettings) -> RowSearch:
    """Monte Carlo tree search for one row, over `settings.chains` chains; it does not end at the first right one.

    Args:
        score: of a chain on the row.
        influence: block influence of each layer of the base.
    """
    base = identity(len(influence))
    own = score(base)
    right = [base] if own.right else []
    tree = ChainTree(influence, own.value, settings.tree, settings.seed)
    looked_at = 0
    for _ in range(settings.chains):
        node = tree.next_chain()
        if node is None:
            break
        scores = score(node.chain)
        right += [node.chain] if scores.right else []
        tree.take(node, scores.value)
        looked_at += 1
    return RowSearch(bool(own.right), min(right, key=len, default=None), looked_at)


def shares(rows: Iterable[Mapping[str, RowSearch]], layers: int) -> dict[str, Any]:
    """The shares over rows, each with its three searches.

    base: rows that the base answers.
    found: rows that the base or a chain found answers. shorter: of the rows the base answers, those that a chain of
    fewer layers answers too. corrected: of the rows the base does not answer, those that a chain answers. All three by
    search.
    """
    known = list(rows)
    found: dict[str, Any] = {}
    for name in ACTIONS:
        right = [row[name].right for row in known if row[name].base_right]
        wrong = [row[name].right for row in known if not row[name].base_right]
        corrected = sum(chain is not None for chain in wrong)
        shorter = sum(chain is not None and len(chain) < layers for chain in right)
        found["base"] = Share(len(right), len(known)).to_json()
        found[name] = {
            "found": Share(len(right) + corrected, len(known)).to_json(),
            "shorter": Share(shorter, len(right)).to_json(),
            "corrected": Share(corrected, len(wrong)).to_json(),
        }
    return found


def row_data(search: RowSearch) -> dict[str, Any]:
    """A row's search as plain data."""
    chain = search.right
    return {
        "base_right": search.base_right,
        "shortest_right_chain": None if chain is None else format_chain(chain),
        "length": None if chain is None else len(chain),
        "chains": search.chains,
    }
