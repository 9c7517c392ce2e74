"""A search's rows -> a predictor of chains, tried on held-out rows; a predictor and prompts -> a chain for each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.base.device import out_of_memory_told, pick_device
from engine.base.fetch import resolve_encoder
from engine.base.load import LoadedBase, resolve_base
from engine.condition.encoder import TextEncoder, prompt_directions
from engine.depth.chain import Chain, format_chain, identity
from engine.depth.predictor import ChainPredictor, PredictorTrial, fit_predictor, try_predictor
from engine.depth.predictor_files import PREDICTOR_FILE, PredictorRecord, read_predictor, write_predictor
from engine.depth.record import adapter_digest
from engine.depth.scores import RowScores
from engine.depth.search import ScoredChain
from engine.depth.truth import Judgement
from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs.depth_report import accuracy_words, change_words, length_words, scores_data
from engine.jobs.depth_rows import DepthRows
from engine.jobs.results import Result
from engine.prompts import read_prompts
from engine.prompts.prompt_set import counted_rows
from engine.requests import ChainChoiceRequest, DepthRequest, ModelChoice

# The encoder was trained with no longer texts; what comes after counts little for what a prompt is about.
_TOKENS = 256


@dataclass(frozen=True)
class PredictorReport:
    """What became of a predictor; `trial` is None where there was nothing to choose from.

    penalty: of its regression, infinite where the prompts tell nothing.
    """

    trial: PredictorTrial | None = None
    penalty: float = math.inf

    def figures(self) -> dict[str, Any]:
        """As plain data, for the chain's file and the predictor's own."""
        if self.trial is None:
            return {"offered": False, "reason": self._reason}
        trial = self.trial
        return {
            "offered": trial.offered,
            "reason": trial.reason,
            "penalty": None if self.penalty == math.inf else self.penalty,
            "held_out": scores_data(trial.scores)
            | {
                "length": trial.lengths,
                "taken": {format_chain(chain): rows for chain, rows in trial.taken.items()},
                "against_base": _judgement_data(trial.against_base),
                "against_best_chain": _judgement_data(trial.against_best),
            },
        }

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for people."""
        told = "offered" if self.trial and self.trial.offered else f"not offered: {self._reason}"
        lines = [("predictor", told)]
        if self.trial is not None:
            base, best = self.trial.against_base, self.trial.against_best
            chains = f"different chains: {len(self.trial.taken)}, {self.trial.lengths:.1f} layers on average"
            lines += [
                ("predictor, held out", f"{accuracy_words(self.trial.scores, base.chain_interval)}; {chains}"),
                ("against the base", f"{base.verdict} ({change_words(base)})"),
                ("against best chain", f"{best.verdict} ({change_words(best)})"),
            ]
        return lines

    @property
    def _reason(self) -> str:
        return self.trial.reason if self.trial else "the search found no chain to choose besides the base's own"


def make_predictor(
    request: DepthRequest,
    base: LoadedBase,
    rows: DepthRows,
    chains: Sequence[ScoredChain],
    held_out: Mapping[Chain, RowScores],
    reporter: Reporter,
) -> PredictorReport:
    """Learn a predictor from the rows of the search, try it on the held-out ones, write it into `request.out`.

    Args:
        chains: the best one first, and those of the menu, with their scores on all rows of the search; the base's own
            among them.
        held_out: their scores on the held-out rows.
    """
    different = list({each.chain: each for each in chains}.values())
    if len(different) == 1:
        # Of an earlier search in this folder, which knew fewer chains.
        (request.out / PREDICTOR_FILE).unlink(missing_ok=True)
        return PredictorReport()
    encoder = _encoder(request.models, reporter)
    texts = [*rows.prompts, *rows.held_out_prompts]
    with reporter.stage("embed prompts", len(texts), "prompts") as stage, out_of_memory_told("--rows"):
        embeddings = prompt_directions(encoder.encode(texts, _TOKENS, stage=stage))
    seen, unseen = embeddings[: len(rows.prompts)], embeddings[len(rows.prompts) :]
    predictor = fit_predictor([each.chain for each in different], [each.scores for each in different], seen)
    layers = int(base.ref.config.num_hidden_layers)
    trial = try_predictor(
        predictor,
        unseen,
        [held_out[chain] for chain in predictor.chains],
        held_out[identity(layers)],
        held_out[different[0].chain],
    )
    report = PredictorReport(trial, predictor.penalty)
    record = PredictorRecord(
        predictor,
        base.ref.id,
        base.ref.fingerprint,
        layers,
        adapter_digest(request.adapter),
        encoder.fingerprint,
        trial.offered,
        trial.reason,
        {"held_out": report.figures()["held_out"]},
    )
    write_predictor(request.out, record)
    return report


def choose_chain_job(request: ChainChoiceRequest, reporter: Reporter) -> Result:
    """The chain that the predictor of a search takes for each prompt.

    Raises:
        EngineError: the predictor showed no reliable gain on held-out rows, or does not fit base, adapter or encoder.
    """
    ref = resolve_base(request.models.base, trust_remote_code=request.models.trust_remote_code, reporter=reporter)
    record = read_predictor(request.search, ref, request.adapter)
    where = str(request.search / PREDICTOR_FILE)
    if not record.offered:
        hint = "Take the best chain of the search for all prompts, or the base itself"
        raise EngineError(f"this predictor is not offered: {record.reason}", where=where, hint=hint)
    prompts = read_prompts(request.source, column=request.column)
    with reporter.stage("read", unit="rows") as stage:
        rows = [row for row in counted_rows(prompts.every_row(), stage) if row.prompt]
    encoder = _encoder(request.models, reporter)
    if encoder.fingerprint != record.encoder:
        raise EngineError("was learned with another text encoder", where=where)
    chosen = choose_chains(record.predictor, encoder, [row.prompt for row in rows], reporter)
    layers = record.layers
    data = [{"number": row.number, "chain": format_chain(chain)} for row, chain in zip(rows, chosen, strict=True)]
    counts = Counter(chosen).most_common()
    lines = [(f"{count} of {len(rows)}", length_words(chain, layers)) for chain, count in counts]
    return Result({"prompts": data, "seconds": dict(reporter.timings)}, tuple(lines))


def choose_chains(
    predictor: ChainPredictor, encoder: TextEncoder, texts: Sequence[str], reporter: Reporter
) -> list[Chain]:
    """The chain for each prompt; a few hundred at a time are embedded, however many there are."""
    chosen: list[Chain] = []
    with reporter.stage("embed prompts", len(texts), "prompts") as stage:
        for start in range(0, len(texts), 256):
            hidden = encoder.encode(texts[start : start + 256], _TOKENS, stage=stage)
            chosen += [predictor.chains[place] for place in predictor.choose(prompt_directions(hidden))]
    return chosen


def _encoder(models: ModelChoice, reporter: Reporter) -> TextEncoder:
    source = resolve_encoder(reporter)
    with reporter.stage("load"):
        return TextEncoder(source, pick_device(models.device))


def _judgement_data(judgement: Judgement) -> dict[str, Any]:
    return asdict(judgement) | {"verdict": judgement.verdict}
