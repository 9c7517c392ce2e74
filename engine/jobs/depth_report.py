"""What is known of a chain at the end of a search: as plain data, and in lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.depth.chain import Chain, format_chain, identity
from engine.depth.scores import RowScores
from engine.depth.search import ScoredChain
from engine.depth.speed import Speed
from engine.depth.truth import Judgement


@dataclass(frozen=True)
class DepthReport:
    """All of it.

    layers: of the base.
    search: what the search was and what it took.
    found: the chains scored on all rows of the search, best first. menu: those to choose from.
    judged: by chain, scores on the held-out rows and the comparison with the base; the base's own chain too.
    speed: of "base" and "chain"; empty while it is not measured.
    """

    layers: int
    search: Mapping[str, Any]
    found: Sequence[ScoredChain]
    menu: Sequence[ScoredChain]
    judged: Mapping[Chain, tuple[RowScores, Judgement]]
    speed: Mapping[str, Speed]

    def figures(self) -> dict[str, Any]:
        """As plain data, for the chain's file."""
        best = self.found[0]
        return {
            "search": dict(self.search) | scores_data(best.scores) | {"base": scores_data(self._base_on_search_rows())},
            "held_out": self._held_out(best.chain) | {"base": scores_data(self.judged[identity(self.layers)][0])},
            "menu": [
                {
                    "chain": format_chain(each.chain),
                    "length": len(each.chain),
                    "search": scores_data(each.scores),
                    "held_out": self._held_out(each.chain),
                }
                for each in self.menu
            ],
            "speed": {name: asdict(one) for name, one in self.speed.items()},
        }

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for people."""
        best = self.found[0]
        scores, judgement = self.judged[best.chain]
        base = self.judged[identity(self.layers)][0]
        base_right = self._base_on_search_rows().right
        share = self.search["share"]
        spared = "" if share is None else f", {share:.0%} of the layers that a naive search runs"
        lines = [
            ("best chain", length_words(best.chain, self.layers)),
            ("searched", f"{self.search['chains']} chains on up to {self.search['rows']} rows{spared}"),
            ("on these rows", f"{best.scores.right} of {self.search['rows']} right, the base {base_right}"),
            ("base, held out", accuracy_words(base, judgement.base_interval)),
            ("chain, held out", accuracy_words(scores, judgement.chain_interval)),
            ("verdict", f"{judgement.verdict} ({change_words(judgement)})"),
        ]
        for name, one in self.speed.items():
            lines.append((f"{name}, tokens/s", f"reads {one.prefill:.0f}, writes {one.decode:.1f}"))
        for each in self.menu:
            other = self.judged[each.chain][1]
            right = f"{other.chain_right} of {other.rows} held-out rows right, {other.verdict} ({change_words(other)})"
            lines.append(("menu", f"{length_words(each.chain, self.layers)}: {right}"))
        return lines

    def _base_on_search_rows(self) -> RowScores:
        return next(each.scores for each in self.found if each.chain == identity(self.layers))

    def _held_out(self, chain: Chain) -> dict[str, Any]:
        scores, judgement = self.judged[chain]
        return asdict(judgement) | {"loss": scores.mean_loss, "verdict": judgement.verdict}


def scores_data(scores: RowScores) -> dict[str, Any]:
    """Scores as plain data, without single rows."""
    return {
        "rows": len(scores.exact),
        "right": scores.right,
        "accuracy": scores.accuracy,
        "loss": scores.mean_loss,
        "value": scores.value,
    }


def length_words(chain: Chain, layers: int) -> str:
    """`0-12,15-29 (28 layers, the base has 30)`."""
    return f"{format_chain(chain)} ({len(chain)} layers, the base has {layers})"


def accuracy_words(scores: RowScores, interval: tuple[float, float]) -> str:
    """Rows right, share with its 95 % interval, loss."""
    low, high = interval
    right = f"{scores.right} of {len(scores.exact)} right, {scores.accuracy:.1%}"
    return f"{right} (95 % interval {low:.1%} to {high:.1%}), loss {scores.mean_loss:.3f} nats a token"


def change_words(judgement: Judgement) -> str:
    """`5 gained, 8 lost, p = 0.58`."""
    return f"{judgement.gained} gained, {judgement.lost} lost, p = {judgement.p_value:.3g}"
