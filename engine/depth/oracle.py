"""What chains exist for single rows, found with each row's own label, as in arXiv 2507.07996.

This is an oracle. A row's label decides which chain answers it "right", so the shares here show that such chains exist
and not that anybody could have taken them without knowing the answer. No accuracy that can be had follows from them.

The tree is that of the search over rows (`engine.depth.search`), with the published weight of the length; a chain's
value on one row is `RowScores.value`, which sets wrong chains apart, where the published one is 0 or 1.

OUT/oracle.json: {"oracle": "…", "settings": {…}, "layers": 30, "shares": {…}, "rows": [{"skip": {…}, …}, …]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base.chat import padding_id
from engine.depth.chain import MOVES, Chain, format_chain, identity, parse_chain
from engine.depth.scores import RowScores
from engine.depth.scoring import ChainScorer, adapted_model, scored_with
from engine.depth.search import ChainTree, SearchSettings
from engine.errors import ANOTHER_OUT, EngineError
from engine.events import Reporter
from engine.files import read_json, write_json
from engine.judge.verdict import interval
from engine.requests import DepthOracleRequest
from engine.training.packing import TokenRow

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

ORACLE = "oracle: uses each row's own label, not an accuracy that can be had"
ORACLE_FILE = "oracle.json"

ACTIONS: Mapping[str, tuple[str, ...]] = {name: MOVES[name] for name in ("skip", "loop", "both")}
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

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "base_right": self.base_right,
            "shortest_right_chain": None if self.right is None else format_chain(self.right),
            "length": None if self.right is None else len(self.right),
            "chains": self.chains,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], layers: int) -> RowSearch:
        """What `to_json` made, of a base of `layers` layers."""
        text = data["shortest_right_chain"]
        return cls(bool(data["base_right"]), text and parse_chain(text, layers), int(data["chains"]))


def search_rows(
    request: DepthOracleRequest, base: LoadedBase, rows: Sequence[TokenRow], reporter: Reporter
) -> dict[str, Any]:
    """The searches of every row, as plain data; the rows that are finished in `request.out` are not searched again.

    Raises:
        EngineError: the file there is of other settings, or none of an oracle search.
    """
    file, layers = request.out / ORACLE_FILE, int(base.ref.config.num_hidden_layers)
    own = {"chains": request.chains, "length_weight": request.length_weight, "seed": request.seed}
    settings = scored_with(base, request.adapter, rows) | own
    done = _read(file, settings, layers) if file.exists() else []

    def data() -> dict[str, Any]:
        found = [{name: search.to_json() for name, search in row.items()} for row in done]
        known = {"oracle": ORACLE, "settings": settings, "layers": layers}
        return known | {"shares": shares(done, layers), "rows": found}

    with adapted_model(base, request.adapter) as model, reporter.stage("oracle search", len(rows), "rows") as stage:
        stage.advance(len(done))
        for row in rows[len(done) :]:
            scorer = ChainScorer(model, [[row]], padding_id(base.tokenizer), partial(stage.advance, 0))
            done.append(_searched(request, scorer))
            write_json(file, data())
            stage.advance(1, right=sum(each["both"].base_right for each in done))
    return data()


def oracle_lines(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `search_rows` found, as (label, value) for people."""
    found = data["shares"]
    lines = [("what this is", ORACLE), ("base", f"{_share_words(found['base'])} right")]
    for name in ACTIONS:
        each = found[name]
        words = f"{_share_words(each['found'])} right with a chain found by the label; "
        if name != "loop":
            words += f"a shorter one for {_share_words(each['shorter'])} that the base has right; "
        words += f"a correcting one for {_share_words(each['corrected'])} that it has wrong"
        lines.append((f"oracle, {name}", words))
    return lines


def _searched(request: DepthOracleRequest, scorer: ChainScorer) -> dict[str, RowSearch]:
    """The three searches of a row; they share hidden states, and a chain is scored once for all of them."""
    score, influence = cache(partial(scorer.score, part=0)), scorer.influence(0)
    settings = SearchSettings(request.chains, request.seed, length_weight=request.length_weight)
    return {name: search_row(score, influence, replace(settings, kinds=kinds)) for name, kinds in ACTIONS.items()}


def search_row(score: Callable[[Chain], RowScores], influence: Sequence[float], settings: SearchSettings) -> RowSearch:
    """Monte Carlo tree search for one row, over `settings.chains` chains; it does not end at the first right one.

    Args:
        score: of a chain on the row.
        influence: block influence of each layer of the base.
    """
    base = identity(len(influence))
    own = score(base)
    right = [base] if own.right else []
    tree = ChainTree(influence, own.value, settings)
    looked_at = 0
    for node in tree.chains():
        looked_at += 1
        scores = score(node.chain)
        right += [node.chain] if scores.right else []
        tree.take(node, scores.value)
    return RowSearch(bool(own.right), min(right, key=len, default=None), looked_at)


def shares(rows: Iterable[Mapping[str, RowSearch]], layers: int) -> dict[str, Any]:
    """The shares over rows, each with its three searches.

    base: rows that the base answers.
    found: rows that the base or a chain found answers. shorter: of the rows the base answers, those that a chain of
    fewer layers answers too. corrected: of the rows the base does not answer, those that a chain answers. All three by
    search.
    """
    known = list(rows)
    found: dict[str, Any] = {"base": _share([row["both"].base_right for row in known])}
    for name in ACTIONS:
        searches = [row[name] for row in known]
        right = [one.right for one in searches if one.base_right]
        wrong = [one.right for one in searches if not one.base_right]
        found[name] = {
            "found": _share([one.base_right or one.right is not None for one in searches]),
            "shorter": _share([chain is not None and len(chain) < layers for chain in right]),
            "corrected": _share([chain is not None for chain in wrong]),
        }
    return found


def _share(hits: Sequence[bool]) -> dict[str, Any]:
    """How many, of how many; the 95 % interval is Wilson's, None where there are no rows."""
    count, of = sum(hits), len(hits)
    return {
        "count": count,
        "of": of,
        "share": count / of if of else None,
        "interval": interval(hits, counted=True) if of else None,
    }


def _share_words(share: Mapping[str, Any]) -> str:
    if not share["of"]:
        return "0 of 0 rows"
    low, high = share["interval"]
    return f"{share['count']} of {share['of']} rows ({share['share']:.0%}, 95 % interval {low:.0%} to {high:.0%})"


def _read(file: Path, settings: Mapping[str, Any], layers: int) -> list[dict[str, RowSearch]]:
    """The rows that are finished. Raises EngineError when they are of other settings."""
    data = read_json(file, hint=f"{ANOTHER_OUT}, or remove the file")
    try:
        other = next((name for name, value in settings.items() if data["settings"][name] != value), None)
        if other is None:
            return [{name: RowSearch.from_json(row[name], layers) for name in ACTIONS} for row in data["rows"]]
    except (KeyError, TypeError, AttributeError, EngineError):
        raise EngineError("is not the file of an oracle search", where=str(file), hint=ANOTHER_OUT) from None
    problem = f"the oracle search here has another {other.replace('_', ' ')}"
    raise EngineError(problem, where=str(file.parent), hint=f"{ANOTHER_OUT}, or go back to that setting")
