"""Labelled prompts -> the chain of layers that answers them best, judged on other rows; a chain -> a checked export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from engine.adapter.attach import AttachedModel
from engine.adapter.check import CHECK_PROMPT
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import prompt_ids
from engine.base.device import out_of_memory_told
from engine.base.load import LoadedBase
from engine.depth.chain import Chain, format_chain, identity
from engine.depth.export import export_chain
from engine.depth.memory import ScoreMemory
from engine.depth.record import CHAIN_FILE, chain_of
from engine.depth.scores import RowScores, joined
from engine.depth.scoring import ChainScorer
from engine.depth.search import ScoredChain, SearchSettings, best_known, menu, search_chains
from engine.depth.speed import Speed, measure_speed
from engine.depth.tree import TreeSettings
from engine.depth.truth import Judgement, judge
from engine.depth.view import chain_view, decoder_layers
from engine.events import ChainScored, Reporter
from engine.files import write_json
from engine.jobs.chained import MOVES, read_chosen_chain
from engine.jobs.depth_predictor import make_predictor
from engine.jobs.depth_report import DepthReport, length_words, scores_data
from engine.jobs.depth_rows import DepthRows, depth_rows
from engine.jobs.depth_scores import held_out_scores, scored_with
from engine.jobs.results import Result
from engine.pipeline import load_chosen_base
from engine.requests import ChainExportRequest, DepthRequest
from engine.text import readable_size
from engine.training.packing import TokenRow

STATE_FILE = "search.json"

_ADAPTER = "searched"


def depth_job(request: DepthRequest, reporter: Reporter) -> Result:
    """Search a chain, judge it and the menu on held-out rows, measure its speed; all of it into `request.out`."""
    base = load_chosen_base(request.models, reporter)
    layers = len(decoder_layers(base.model))
    rows = depth_rows(request, base, reporter)
    with AttachedModel(base) as attached:
        if request.adapter:
            attached.add(_ADAPTER, read_peft_folder(request.adapter)[0])
            attached.use(_ADAPTER)
        search = _Search(request, base, attached.model, layers, rows)
        with search.keeping_best():
            found = search.run(reporter)
            best, choices = found[0].chain, menu(found, layers)
            chains = list(dict.fromkeys([best, *(each.chain for each in choices)]))
            judged = _judged(base, attached.model, chains, rows.held_out, reporter)
        report = DepthReport(layers, search.figures(), found, choices, judged, {})
        # Whoever stops from here on keeps the judgement.
        unmeasured = report.figures() | {"stopped": True}
        write_json(request.out / CHAIN_FILE, chain_of(base.ref, best, request.adapter, unmeasured).to_json())
        report = replace(report, speed=_speed(base, attached.model, best, rows.searched, reporter))
    figures, lines = report.figures(), report.lines()
    record = chain_of(base.ref, best, request.adapter, figures)
    write_json(request.out / CHAIN_FILE, record.to_json())
    if request.predictor:
        own = next(each for each in found if each.chain == identity(layers))
        held_out = {chain: scores for chain, (scores, _) in judged.items()}
        tried = make_predictor(request, base, rows, [found[0], *choices, own], held_out, reporter)
        figures["predictor"] = tried.figures()
        lines += tried.lines()
        write_json(request.out / CHAIN_FILE, record.to_json())
    data = record.to_json() | {"file": str(request.out / CHAIN_FILE), "seconds": dict(reporter.timings)}
    return Result(data, (*lines, ("file", str(request.out / CHAIN_FILE))))


def export_chain_job(request: ChainExportRequest, reporter: Reporter) -> Result:
    """Write a chain in one of the forms, reload it and compare its logits."""
    base = load_chosen_base(request.models, reporter)
    layers = len(decoder_layers(base.model))
    adapter = read_peft_folder(request.adapter)[0] if request.adapter else None
    record = read_chosen_chain(request.chain, base, request.adapter)
    size, differences = export_chain(
        base,
        record,
        adapter,
        request.out,
        request.format,
        prompt_ids(base.tokenizer, CHECK_PROMPT),
        may_replace=request.replace,
        reporter=reporter,
    )
    data = {
        "folder": str(request.out),
        "format": request.format,
        "chain": format_chain(record.chain),
        "bytes": size,
        "logit_difference": differences.logits,
        "merge_difference": differences.rounding,
        "seconds": dict(reporter.timings),
    }
    lines = [
        ("chain", length_words(record.chain, layers)),
        ("reloaded", f"largest logit difference {differences.logits:.1e}"),
    ]
    if adapter is not None and request.format == "dense":
        lines.append(("merging", f"largest logit difference {differences.rounding:.1e}"))
    lines.append((request.format, f"{request.out} ({readable_size(size)})"))
    return Result(data, tuple(lines))


class _Search:
    """The search of one request: settings, remembered scores, progress, what is left when it is stopped."""

    def __init__(self, request: DepthRequest, base: LoadedBase, model: Any, layers: int, rows: DepthRows) -> None:
        self._request = request
        self._base = base
        self._settings = SearchSettings(request.chains, request.seed, TreeSettings(kinds=MOVES[request.moves]))
        self._layers = layers
        self._rows = len(rows.searched)
        self._on_step: Callable[[], None] = lambda: None
        self._scorer = ChainScorer(model, rows.parts, base.tokenizer.pad_token_id or 0, lambda: self._on_step())
        belongs_to = scored_with(base, request.adapter, rows)
        self._memory = ScoreMemory(request.out / STATE_FILE, belongs_to, layers, self._scorer.score)
        self._resumed = bool(self._memory.known)

    def run(self, reporter: Reporter) -> list[ScoredChain]:
        """All chains that were scored on all rows, best first."""
        chains = self._settings.chains
        total = 1 + chains + sum(1 + max(1, chains // share) for share in (4, 16))
        with reporter.stage("search", total, "chains") as stage, out_of_memory_told("--rows"):
            self._on_step = lambda: stage.advance(0)

            def on_chain(scored: ScoredChain) -> None:
                best = best_known(self._memory.known)
                assert best is not None  # a chain has just been scored
                reporter.emit(self._told(scored, best))
                stage.advance(1, right=best.scores.right, rows=len(best.scores.exact), layers=len(best.chain))

            try:
                return search_chains(self._memory.score, self._scorer.influence(0), self._settings, on_chain)
            finally:
                self._memory.save()

    @contextmanager
    def keeping_best(self) -> Iterator[None]:
        """However what is inside is left before its end: the best chain so far is on disk."""
        try:
            yield
        except BaseException:
            self._write_best()
            raise

    def figures(self) -> dict[str, Any]:
        """What the search was and what it took.

        A naive search scores every chain on all rows from its first layer on. What was run is not known of a search
        that went on from an earlier one.
        """
        known = self._memory.known
        naive = sum(map(len, known)) * self._rows
        run = None if self._resumed else self._scorer.layers_run
        return {
            "chains": len(known),
            "rows": self._rows,
            "seed": self._settings.seed,
            "kinds": list(self._settings.tree.kinds),
            "layers_run": run,
            "layers_of_naive_search": naive,
            "share": None if run is None else run / naive,
        }

    def _told(self, scored: ScoredChain, best: ScoredChain) -> ChainScored:
        return ChainScored(
            format_chain(scored.chain),
            len(scored.chain),
            len(scored.scores.exact),
            scored.scores.right,
            scored.scores.value,
            max(0, scored.parts - 2),
            format_chain(best.chain),
            self.figures()["share"],
        )

    def _write_best(self) -> None:
        """The best chain so far, which says that it was not judged."""
        best = best_known(self._memory.known)
        if best is None:
            return
        own = joined(self._memory.known[identity(self._layers)])  # known before any other
        search = self.figures() | scores_data(best.scores) | {"base": scores_data(own)}
        figures = {"search": search, "stopped": True, "held_out": None}
        record = chain_of(self._base.ref, best.chain, self._request.adapter, figures)
        write_json(self._request.out / CHAIN_FILE, record.to_json())


def _judged(
    base: LoadedBase, model: Any, chains: Sequence[Chain], rows: Sequence[TokenRow], reporter: Reporter
) -> dict[Chain, tuple[RowScores, Judgement]]:
    """Scores on the held-out rows and the comparison with the base, by chain; the base's own too.

    The first of `chains` was chosen before these rows were looked at: it stands for itself. Of the others somebody
    may take the one that looks best here.
    """
    own = identity(len(decoder_layers(model)))
    whole = held_out_scores(base, model, [own, *chains], rows, reporter)
    others = max(1, len(chains) - 1)
    return {
        chain: (scores, judge(whole[own], scores, tests=1 if chain == chains[0] else others))
        for chain, scores in whole.items()
    }


def _speed(
    base: LoadedBase, model: Any, chain: Chain, rows: Sequence[TokenRow], reporter: Reporter
) -> dict[str, Speed]:
    longest = max(rows, key=lambda row: len(row.prompt))
    with reporter.stage("speed") as stage:
        models = {"base": model, "chain": chain_view(model, chain)}
        return measure_speed(models, base.tokenizer, longest.prompt, lambda: stage.advance(0))
