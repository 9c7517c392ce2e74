"""The chain of a data set: searched, judged with its menu on held-out rows, its speed measured; as data and in lines.

OUT/search.json    every score, written as the search goes on
OUT/chain.json     the best chain so far, with what is known of it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base.chat import padding_id
from engine.base.device import explain_out_of_memory
from engine.depth.chain import MOVES, Chain, format_chain, identity, length_words
from engine.depth.record import CHAIN_FILE, chain_of
from engine.depth.rows import DepthRows
from engine.depth.scores import Judgement, RowScores, joined, judge
from engine.depth.scoring import ChainScorer, ScoreMemory, adapted_model, held_out_scores, scored_with
from engine.depth.search import ScoredChain, SearchSettings, best_known, menu, most_looks, search_chains
from engine.depth.view import Speed, chain_view, decoder_layers, measure_speed
from engine.errors import setting
from engine.events import ChainScored, Reporter, Stage
from engine.files import write_json
from engine.requests import DepthRequest

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

STATE_FILE = "search.json"


class ChainSearch:
    """Searches on the same rows, which share scores and hidden states.

    Args:
        model: of `base`, with the adapter in the folder `adapter` on it, if there is one.
        file: keeps the scores; what is in it is known from the start.

    Raises:
        EngineError: the file belongs to something else; the model's layers cannot be run in another order.
    """

    def __init__(self, base: LoadedBase, model: Any, adapter: Path | None, rows: DepthRows, file: Path) -> None:
        self.layers = len(decoder_layers(model))
        self._rows = len(rows.searched)
        self._scorer = ChainScorer(model, rows.parts, padding_id(base.tokenizer))
        belongs_to = scored_with(base, adapter, rows.searched)
        self._memory = ScoreMemory(file, belongs_to, self.layers, self._scorer.score)
        self._resumed = bool(self._memory.known)

    def run(
        self,
        settings: SearchSettings,
        reporter: Reporter,
        name: str = "search",
        on_chain: Callable[[Stage, ScoredChain], None] = lambda stage, scored: stage.advance(1),
    ) -> list[ScoredChain]:
        """All chains that were scored on all rows, best first; `name` is that of the stage.

        Args:
            on_chain: called after every chain that was looked at; counts it.
        """
        looks = most_looks(settings.chains)
        with reporter.stage(name, looks, "chains") as stage, explain_out_of_memory(setting("rows")):
            self._scorer.on_step = partial(stage.advance, 0)
            try:
                influence = self._scorer.influence(0)
                return search_chains(self._memory.score, influence, settings, partial(on_chain, stage))
            finally:
                self._memory.save()

    def best(self) -> ScoredChain | None:
        """The best chain so far, of those scored on most rows; None before any."""
        return best_known(self._memory.known)

    def base_scores(self) -> RowScores:
        """The base's own scores so far, which are known before any other."""
        return joined(self._memory.known[identity(self.layers)])

    def figures(self, settings: SearchSettings) -> dict[str, Any]:
        """What a search with these settings was and what it took.

        A naive search scores every chain on all rows from its first layer on. What was run is not known of a search
        that went on from an earlier one.
        """
        known = self._memory.known
        naive = sum(map(len, known)) * self._rows
        run = None if self._resumed else self._scorer.layers_run
        return {
            "chains": len(known),
            "rows": self._rows,
            "seed": settings.seed,
            "kinds": list(settings.kinds),
            "layers_run": run,
            "layers_of_naive_search": naive,
            "share": None if run is None else run / naive,
        }


@dataclass(frozen=True)
class DatasetChain:
    """All that is known at the end of a search.

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

    @property
    def best(self) -> ScoredChain:
        """The chain that the search chose."""
        return self.found[0]

    def figures(self) -> dict[str, Any]:
        """As plain data, for the chain's file."""
        base = identity(self.layers)
        return {
            "search": dict(self.search) | self.best.scores.to_json() | {"base": self._base_on_search_rows().to_json()},
            "held_out": self._held_out(self.best.chain) | {"base": self.judged[base][0].to_json()},
            "menu": [
                {
                    "chain": format_chain(each.chain),
                    "length": len(each.chain),
                    "search": each.scores.to_json(),
                    "held_out": self._held_out(each.chain),
                }
                for each in self.menu
            ],
            "speed": {name: asdict(one) for name, one in self.speed.items()},
        }

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for people."""
        best, rows = self.best, self.search["rows"]
        scores, judgement = self.judged[best.chain]
        share = self.search["share"]
        spared = "" if share is None else f", {share:.0%} of the work of a full search"
        right = f"{best.scores.right} of {rows} right, the base {self._base_on_search_rows().right}"
        lines = [
            ("best chain", length_words(best.chain, self.layers)),
            ("searched", f"{self.search['chains']} chains on up to {rows} rows{spared}"),
            ("on these rows", right),
            ("base, held out", self.judged[identity(self.layers)][0].words()),
            ("chain, held out", scores.words()),
            ("verdict", judgement.words()),
        ]
        for name, one in self.speed.items():
            lines.append((f"{name}, tokens/s", f"reads {one.prefill:.0f}, writes {one.decode:.1f}"))
        for each in self.menu:
            other = self.judged[each.chain][1]
            right = f"{other.chain_right} of {other.rows} held-out rows right, {other.words()}"
            lines.append(("menu", f"{length_words(each.chain, self.layers)}: {right}"))
        return lines

    def _base_on_search_rows(self) -> RowScores:
        return next(each.scores for each in self.found if each.chain == identity(self.layers))

    def _held_out(self, chain: Chain) -> dict[str, Any]:
        scores, judgement = self.judged[chain]
        return asdict(judgement) | {"loss": scores.mean_loss}


def find_chain(request: DepthRequest, base: LoadedBase, rows: DepthRows, reporter: Reporter) -> DatasetChain:
    """Search a chain, judge it and the menu on held-out rows, measure its speed.

    However it is left: the best chain so far is in `request.out`, with what is known of it, or all of it.
    """

    def write(chain: Chain, figures: Mapping[str, Any]) -> None:
        write_json(request.out / CHAIN_FILE, chain_of(base.ref, chain, request.adapter, figures).to_json())

    settings = SearchSettings(request.chains, request.seed, MOVES[request.moves])
    with adapted_model(base, request.adapter) as model:
        search = ChainSearch(base, model, request.adapter, rows, request.out / STATE_FILE)
        try:
            found = search.run(settings, reporter, on_chain=partial(_report, reporter, search, settings))
            choices = menu(found, search.layers)
            chains = list(dict.fromkeys([found[0].chain, *(each.chain for each in choices)]))
            judged = _judged(base, model, chains, rows, reporter)
        except BaseException:
            if best := search.best():
                figures = search.figures(settings) | best.scores.to_json() | {"base": search.base_scores().to_json()}
                write(best.chain, {"search": figures, "stopped": True, "held_out": None})
            raise
        known = DatasetChain(search.layers, search.figures(settings), found, choices, judged, {})
        # Whoever stops from here on keeps the judgement.
        write(known.best.chain, known.figures() | {"stopped": True})
        with reporter.stage("speed") as stage:
            models = {"base": model, "chain": chain_view(model, known.best.chain)}
            speed = measure_speed(models, base.tokenizer, rows.longest_prompt, partial(stage.advance, 0))
    known = replace(known, speed=speed)
    write(known.best.chain, known.figures())
    return known


def _report(
    reporter: Reporter, search: ChainSearch, settings: SearchSettings, stage: Stage, scored: ScoredChain
) -> None:
    """One chain was looked at."""
    best = search.best()
    assert best is not None  # a chain has just been scored
    scores = scored.scores
    event = ChainScored(
        format_chain(scored.chain),
        len(scored.chain),
        len(scores.exact),
        scores.right,
        scores.value,
        max(0, scored.parts - 2),
        format_chain(best.chain),
        search.figures(settings)["share"],
    )
    reporter.emit(event)
    stage.advance(1, right=best.scores.right, rows=len(best.scores.exact), layers=len(best.chain))


def _judged(
    base: LoadedBase, model: Any, chains: Sequence[Chain], rows: DepthRows, reporter: Reporter
) -> dict[Chain, tuple[RowScores, Judgement]]:
    """Scores on the held-out rows and the comparison with the base, by chain; the base's own too.

    The first of `chains` was chosen before these rows were looked at: it stands for itself. Of the others somebody
    may take the one that looks best here.
    """
    own = identity(len(decoder_layers(model)))
    whole = held_out_scores(base, model, [own, *chains], rows.held_out, reporter)
    others = max(1, len(chains) - 1)
    return {
        chain: (scores, judge(whole[own], scores, tests=1 if chain == chains[0] else others))
        for chain, scores in whole.items()
    }
