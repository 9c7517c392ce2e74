"""Which chain of a menu for which prompt, chosen before the base reads it: one pass of a linear map of its embedding.

    prompt --frozen encoder--> direction (C,) --ridge regression--> gain of each chain (K,) --> the chain of most gain

In the manner of PoLar (arXiv 2606.06574): the input's frozen text embedding predicts the program of layers. There a
network of cross-attention writes the program segment by segment, trained on the programs found for thousands of
inputs. A search here has about 32 labelled rows. So

- the choice is among the few chains of the menu and the base's own, not among all programs
- the map is ridge regression in closed form; of a fixed row of penalties the one with the smallest leave-one-out error
- the largest penalty is without end: then nothing of the prompt counts, and the one best chain is taken for all

What is predicted is a row's value (`RowScores.value`) less its mean over the chains: that a prompt is hard for all of
them does not show which one to take.

On disk, beside the search that it comes from:

    predictor.safetensors   middle (C,), weights (C, K), offsets (K,), float64
    predictor.json          {"format": 1, "chains": [...], "base": {…}, "adapter": …, "encoder": {…}, "offered": …, …}
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.base.device import explain_out_of_memory, pick_device
from engine.base.fetch import resolve_encoder
from engine.condition import TextEncoder, prompt_directions
from engine.depth.chain import Chain, format_chain, identity, parse_chain
from engine.depth.dataset import DatasetChain
from engine.depth.record import Origin
from engine.depth.rows import DepthRows
from engine.depth.scores import GAIN, Judgement, RowScores, judge
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.files import digest_file, read_json, replacing_file, write_json
from engine.requests import ChainChoiceRequest, DepthRequest, ModelChoice

if TYPE_CHECKING:
    from engine.base.load import BaseRef, LoadedBase

PREDICTOR_FILE = "predictor.json"
NOTHING_TO_CHOOSE = "the search found no chain to choose besides the base's own"
"""Why there is no predictor."""

_WEIGHTS_FILE = "predictor.safetensors"
_FORMAT = 1
_AGAIN = f"Run depth with {setting('predictor')} once more"
# The encoder was trained with no longer texts; what comes after counts little for what a prompt is about.
_TOKENS = 256
_PROMPTS_AT_ONCE = 256
# Relative to the mean square of an embedding's distance from their mean; the strongest first.
_PENALTIES = (math.inf, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)


@dataclass(frozen=True)
class ChainPredictor:
    """Chooses one of `chains`, K of them, for a prompt.

    middle: (C,), the mean embedding of the prompts it learned from.
    weights: (C, K). offsets: (K,), what each chain gains at `middle`.
    penalty: of the ridge regression, relative to the embeddings' spread; infinite where the prompt does not count.
    """

    chains: tuple[Chain, ...]
    middle: Tensor
    weights: Tensor
    offsets: Tensor
    penalty: float

    def choose(self, embeddings: Tensor) -> list[int]:
        """(n, C) -> n places in `chains`; the shorter chain of equals."""
        gains = (self.offsets + (embeddings.double() - self.middle) @ self.weights).tolist()
        places = range(len(self.chains))
        return [max(places, key=lambda place: (row[place], -len(self.chains[place]))) for row in gains]


def fit_predictor(chains: Sequence[Chain], scores: Sequence[RowScores], embeddings: Tensor) -> ChainPredictor:
    """Learn which chain to take from what each of them scored on the same rows.

    Args:
        chains: different ones. scores: of each.
        embeddings: (n, C), of the rows' prompts.
    """
    values = torch.tensor([_values(one) for one in scores], dtype=torch.float64).T  # (n, K)
    gains = values - values.mean(1, keepdim=True)
    middle, offsets = embeddings.double().mean(0), gains.mean(0)
    away, wanted = embeddings.double() - middle, gains - offsets
    kernel = away @ away.T
    spread = kernel.diagonal().mean()
    best, least, chosen = torch.zeros_like(wanted), math.inf, math.inf
    for penalty in _PENALTIES if spread > 0 else _PENALTIES[:1]:
        dual, error = _ridge(kernel, wanted, penalty * spread.item())
        # The strongest penalty stays where a weaker one is not better.
        if error < least - 1e-12:
            best, least, chosen = dual, error, penalty
    return ChainPredictor(tuple(chains), middle, away.T @ best, offsets, chosen)


@dataclass(frozen=True)
class PredictorTrial:
    """A predictor on rows that neither it nor the search saw.

    penalty: of its regression, infinite where the prompts show nothing.
    taken: by chain, for how many rows it is taken.
    against_base, against_best: compared with the base, and with the chain that is best for all rows of the search.
    """

    penalty: float
    scores: RowScores
    taken: dict[Chain, int]
    against_base: Judgement
    against_best: Judgement

    @property
    def lengths(self) -> float:
        """Mean layers of the chains that it takes."""
        return sum(len(chain) * rows for chain, rows in self.taken.items()) / sum(self.taken.values())

    @property
    def offered(self) -> bool:
        """Whether it is worth having: a reliable gain over both, by the rule of every verdict."""
        return self.against_base.verdict == GAIN and self.against_best.verdict == GAIN

    @property
    def reason(self) -> str:
        """Why it is not offered; empty where it is."""
        if self.offered:
            return ""
        if len(self.taken) == 1:
            return "it takes the same chain for every prompt"
        over, judgement = "the base", self.against_base
        if judgement.verdict == GAIN:
            over, judgement = "the best single chain", self.against_best
        return f"{judgement.verdict} over {over}"

    def figures(self) -> dict[str, Any]:
        """As plain data, for the chain's file and the predictor's own."""
        held_out = {
            "length": self.lengths,
            "taken": {format_chain(chain): rows for chain, rows in self.taken.items()},
            "against_base": asdict(self.against_base),
            "against_best_chain": asdict(self.against_best),
        }
        return {
            "offered": self.offered,
            "reason": self.reason,
            "penalty": _finite(self.penalty),
            "held_out": self.scores.to_json() | held_out,
        }

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for people."""
        chains = f"different chains: {len(self.taken)}, {self.lengths:.1f} layers on average"
        return [
            ("predictor", "offered" if self.offered else f"not offered: {self.reason}"),
            ("predictor, held out", f"{self.scores.words()}; {chains}"),
            ("against the base", self.against_base.words()),
            ("against best chain", self.against_best.words()),
        ]


def try_predictor(
    predictor: ChainPredictor, embeddings: Tensor, scores: Sequence[RowScores], base: RowScores, best: RowScores
) -> PredictorTrial:
    """Let it choose for held-out rows.

    Args:
        embeddings: (n, C), of the rows' prompts.
        scores: of each of its chains on these rows.
        base, best: of the base, and of the best single chain, on these rows.
    """
    choices = predictor.choose(embeddings)
    own = RowScores(
        tuple(scores[place].exact[row] for row, place in enumerate(choices)),
        tuple(scores[place].loss[row] for row, place in enumerate(choices)),
    )
    taken = Counter(predictor.chains[place] for place in choices)
    return PredictorTrial(predictor.penalty, own, dict(taken), judge(base, own), judge(best, own))


def make_predictor(
    request: DepthRequest, base: LoadedBase, rows: DepthRows, found: DatasetChain, reporter: Reporter
) -> PredictorTrial | None:
    """Learn a predictor from the rows of a search, try it on the held-out ones, write it into `request.out`.

    Returns:
        None where there is nothing to choose from.
    """
    own = identity(found.layers)
    scored = {each.chain: each.scores for each in found.found}
    chains = list(dict.fromkeys([found.best.chain, *(each.chain for each in found.menu), own]))
    if len(chains) == 1:
        # Of an earlier search in this folder, which knew fewer chains.
        (request.out / PREDICTOR_FILE).unlink(missing_ok=True)
        return None
    encoder = _encoder(request.models, reporter)
    texts = [*rows.prompts, *rows.held_out_prompts]
    with reporter.stage("embed prompts", len(texts), "prompts") as stage, explain_out_of_memory(setting("rows")):
        embeddings = prompt_directions(encoder.encode(texts, _TOKENS, stage=stage))
    seen, unseen = embeddings[: len(rows.prompts)], embeddings[len(rows.prompts) :]
    predictor = fit_predictor(chains, [scored[chain] for chain in chains], seen)
    held_out = {chain: scores for chain, (scores, _) in found.judged.items()}
    judged = [held_out[chain] for chain in chains]
    trial = try_predictor(predictor, unseen, judged, held_out[own], held_out[found.best.chain])
    origin, figures = Origin.of(base.ref, request.adapter), {"held_out": trial.figures()["held_out"]}
    record = PredictorRecord(predictor, origin, encoder.fingerprint, trial.offered, trial.reason, figures)
    write_predictor(request.out, record)
    return trial


def choose_chains(
    request: ChainChoiceRequest, record: PredictorRecord, texts: Sequence[str], reporter: Reporter
) -> list[Chain]:
    """The chain for each prompt; a few hundred at a time are embedded, however many there are.

    Raises:
        EngineError: the predictor was learned with another text encoder.
    """
    encoder = _encoder(request.models, reporter)
    if encoder.fingerprint != record.encoder:
        raise EngineError("was learned with another text encoder", where=str(request.search / PREDICTOR_FILE))
    chosen: list[Chain] = []
    with reporter.stage("embed prompts", len(texts), "prompts") as stage:
        for start in range(0, len(texts), _PROMPTS_AT_ONCE):
            hidden = encoder.encode(texts[start : start + _PROMPTS_AT_ONCE], _TOKENS, stage=stage)
            places = record.predictor.choose(prompt_directions(hidden))
            chosen += [record.predictor.chains[place] for place in places]
    return chosen


@dataclass(frozen=True)
class PredictorRecord:
    """A predictor and what it belongs to.

    encoder: fingerprint of the text encoder.
    offered: held-out rows showed a reliable gain. reason: why not.
    figures: plain data, everything else that is known of it.
    """

    predictor: ChainPredictor
    origin: Origin
    encoder: str
    offered: bool
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def write_predictor(folder: Path, record: PredictorRecord) -> None:
    """Write both files; the JSON, which names the hash of the other one, last."""
    predictor = record.predictor
    tensors = {"middle": predictor.middle, "weights": predictor.weights, "offsets": predictor.offsets}
    weights = folder / _WEIGHTS_FILE
    with replacing_file(weights) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    about = {
        "format": _FORMAT,
        "chains": [format_chain(chain) for chain in predictor.chains],
        "penalty": _finite(predictor.penalty),
        "weights": digest_file(weights),
        **record.origin.to_json(),
        "encoder": record.encoder,
        "offered": record.offered,
        "reason": record.reason,
    }
    write_json(folder / PREDICTOR_FILE, about | dict(record.figures))


def read_predictor(folder: Path, ref: BaseRef, adapter: Path | None) -> PredictorRecord:
    """The predictor in the folder of a search; whether its encoder is the one at hand is for the caller to ask.

    Args:
        ref, adapter: the base it is to choose for, and the folder of the adapter with it.

    Raises:
        EngineError: there is none or it is broken; it belongs to another base or another adapter.
    """
    file = folder / PREDICTOR_FILE
    data = read_json(file, hint=f"Name the folder of a search that was run with {setting('predictor')}")
    try:
        origin = Origin.from_json(data)
        chains = tuple(parse_chain(text, origin.layers) for text in data["chains"])
        if data["format"] != _FORMAT or data["weights"] != digest_file(folder / _WEIGHTS_FILE):
            raise ValueError
        tensors = load_file(folder / _WEIGHTS_FILE)
        middle, weights, offsets = tensors["middle"], tensors["weights"], tensors["offsets"]
        if weights.shape != (len(middle), len(chains)) or offsets.shape != (len(chains),):
            raise ValueError
        penalty = math.inf if data["penalty"] is None else float(data["penalty"])
        predictor = ChainPredictor(chains, middle, weights, offsets, penalty)
        record = PredictorRecord(predictor, origin, str(data["encoder"]), bool(data["offered"]), str(data["reason"]))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError, EngineError):
        raise EngineError("is broken, or not the file of a predictor", where=str(file), hint=_AGAIN) from None
    origin.check_same(ref, adapter, file, "learned")
    return record


def _encoder(models: ModelChoice, reporter: Reporter) -> TextEncoder:
    source = resolve_encoder(reporter)
    with reporter.stage("load"):
        return TextEncoder(source, pick_device(models.device))


def _finite(penalty: float) -> float | None:
    return None if math.isinf(penalty) else penalty


def _values(scores: RowScores) -> list[float]:
    """`RowScores.value`, row by row."""
    return [(exact + math.exp(-loss)) / 2 for exact, loss in zip(scores.exact, scores.loss, strict=True)]


def _ridge(kernel: Tensor, wanted: Tensor, penalty: float) -> tuple[Tensor, float]:
    """Ridge regression in its dual form: coefficients (n, K), and the mean squared leave-one-out error.

    Args:
        kernel: (n, n), inner products of inputs around their mean. wanted: (n, K), around their mean.

    The intercept is not penalised. A linear smoother with the hat matrix H leaves a row out with the error
    (y - Hy) / (1 - diag H), for ridge regression exactly (Allen 1974).
    """
    rows = len(kernel)
    if math.isinf(penalty):
        dual, hat = torch.zeros_like(wanted), torch.zeros_like(kernel)
    else:
        inverse = torch.linalg.inv(kernel + penalty * torch.eye(rows, dtype=kernel.dtype))
        dual, hat = inverse @ wanted, kernel @ inverse
    left_out = (wanted - hat @ wanted) / (1 - 1 / rows - hat.diagonal())[:, None]
    return dual, left_out.square().mean().item()
