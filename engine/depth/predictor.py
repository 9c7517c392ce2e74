"""Which chain of a menu for which prompt, told before the base reads it: one pass of a linear map of its embedding.

    prompt --frozen encoder--> direction (C,) --ridge regression--> gain of each chain (K,) --> the chain of most gain

In the manner of PoLar (arXiv 2606.06574): the input's frozen text embedding predicts the program of layers. There a
network of cross-attention writes the program segment by segment, trained on the programs found for thousands of
inputs. A search here has about 32 labelled rows. So

- the choice is among the few chains of the menu and the base's own, not among all programs
- the map is ridge regression in closed form; of a fixed row of penalties the one with the smallest leave-one-out error
- the largest penalty is without end: then nothing of the prompt counts, and the one best chain is taken for all

What is predicted is a row's value (`RowScores.value`) less its mean over the chains: that a prompt is hard for all of
them says nothing about which one to take.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.depth.chain import Chain
from engine.depth.scores import RowScores
from engine.depth.truth import GAIN, Judgement, judge

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
    values = torch.tensor([row_values(one) for one in scores], dtype=torch.float64).T  # (n, K)
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


def row_values(scores: RowScores) -> list[float]:
    """`RowScores.value`, row by row."""
    return [(exact + math.exp(-loss)) / 2 for exact, loss in zip(scores.exact, scores.loss, strict=True)]


@dataclass(frozen=True)
class PredictorTrial:
    """A predictor on rows that neither it nor the search saw.

    lengths: mean layers of the chains that it takes.
    taken: by chain, for how many rows it is taken.
    against_base, against_best: compared with the base, and with the chain that is best for all rows of the search.
    """

    scores: RowScores
    lengths: float
    taken: dict[Chain, int]
    against_base: Judgement
    against_best: Judgement

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
    return PredictorTrial(
        scores=own,
        lengths=sum(len(predictor.chains[place]) for place in choices) / len(choices),
        taken=dict(Counter(predictor.chains[place] for place in choices)),
        against_base=judge(base, own),
        against_best=judge(best, own),
    )


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
