"""Reduced-rank ridge regression: the low-rank map that best turns a module's inputs into wanted changes of its output.

    W = (ZᵀZ + μI)⁻¹ ZᵀD         ridge regression of D on Z
    V = top r eigenvectors of (ZW)ᵀ(ZW)     principal directions of the fitted outputs
    A = (WV)ᵀ, B = V             so that z -> B A z is the best rank-r map in the ridge sense (Izenman 1975)

With fewer tokens than inputs the same W comes out of the dual, a system of tokens by tokens. The strength μ is chosen
by leaving whole groups of tokens (the tokens of a row) out, in closed form: no regression is solved again.

Everything here is float32 tensors in, float32 tensors out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths that are tried, in units of the mean squared length of an input."""


class LowRankMap(NamedTuple):
    """`b @ a` maps inputs to changes of the output: A (rank, in), B (out, rank), B's columns orthonormal.

    ridge: the strength it was solved with, in units of the mean squared length of an input.
    explained: part of the wanted change, in squared length, that the map gives on its own tokens.
    """

    a: Tensor
    b: Tensor
    ridge: float
    explained: float


def reduced_rank_ridge(
    inputs: Tensor, wanted: Tensor, rank: int, *, groups: Tensor, ridges: Sequence[float] = RIDGES
) -> LowRankMap:
    """The map of at most `rank` from `inputs` to `wanted`.

    Args:
        inputs: (T, in) float32.
        wanted: (T, out) float32.
        rank: at least 1; where fewer directions are there, the rest of the matrices is zero.
        groups: (T,) int64, from 0: tokens of a group are left out together when the strength is chosen.
        ridges: strengths to choose from; one of them is taken as it is.
    """
    tokens, width = inputs.shape
    dual = tokens <= width
    gram = inputs @ inputs.T if dual else inputs.T @ inputs
    scale = float(inputs.square().sum() / max(1, tokens))
    best: tuple[float, float, Tensor] | None = None
    for ridge in ridges:
        # Where all inputs are zero there is nothing to solve; any strength above zero gives that.
        inverse = _inverse(gram, ridge * scale or 1.0)
        if len(ridges) == 1:
            best = (0.0, ridge, inverse)
            break
        left_out = _left_out_error(inputs, wanted, inverse, groups, dual)
        if best is None or left_out < best[0]:
            best = (left_out, ridge, inverse)
    assert best is not None
    _, ridge, inverse = best
    weights = inputs.T @ (inverse @ wanted) if dual else inverse @ (inputs.T @ wanted)
    fitted = inputs @ weights
    main = _main_directions(fitted, rank)
    projected = fitted @ main @ main.T
    total = wanted.square().sum()
    missed = (wanted - projected).square().sum()
    explained = float(1 - missed / total) if total > 0 else 0.0
    a, b = (weights @ main).T, main
    short = rank - b.shape[1]
    if short > 0:
        a, b = torch.nn.functional.pad(a, (0, 0, 0, short)), torch.nn.functional.pad(b, (0, short))
    return LowRankMap(a.contiguous(), b.contiguous(), ridge, explained)


def _inverse(gram: Tensor, strength: float) -> Tensor:
    shifted = gram.clone()
    shifted.diagonal().add_(strength)
    return torch.cholesky_inverse(torch.linalg.cholesky(shifted))


def _left_out_error(inputs: Tensor, wanted: Tensor, inverse: Tensor, groups: Tensor, dual: bool) -> float:
    """Sum of squared errors of each group, predicted by the regression on all other groups.

    Dual: e_g = ((K + μI)⁻¹_gg)⁻¹ ((K + μI)⁻¹ D)_g. Primal: e_g = (I - H_gg)⁻¹ (D - HD)_g, H = Z (ZᵀZ + μI)⁻¹ Zᵀ.
    """
    places, real = _by_group(groups)
    if dual:
        errors = inverse @ wanted
        blocks = inverse[places[:, :, None], places[:, None, :]]
    else:
        carried = inputs @ inverse
        errors = wanted - carried @ (inputs.T @ wanted)
        blocks = torch.eye(places.shape[1], device=inputs.device) - carried[places] @ inputs[places].transpose(1, 2)
    # Padding stands alone with a one, so that it changes nothing and no block is singular.
    both = real[:, :, None] & real[:, None, :]
    blocks = torch.where(both, blocks, torch.eye(places.shape[1], device=inputs.device))
    parts = errors[places] * real[:, :, None]
    return float(torch.linalg.solve(blocks, parts).square().sum())


def _by_group(groups: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the tokens of each group, padded (G, longest), and which of them are real."""
    counts = torch.bincount(groups)
    counts = counts[counts > 0]
    order = torch.argsort(groups, stable=True)
    steps = torch.arange(int(counts.max()), device=groups.device)
    starts = counts.cumsum(0) - counts
    real = steps[None] < counts[:, None]
    return order[(starts[:, None] + steps[None]).clamp(max=len(groups) - 1)], real


def _main_directions(fitted: Tensor, rank: int) -> Tensor:
    """The `rank` directions (out, r) along which the rows of `fitted` (T, out) are longest together."""
    tokens, out = fitted.shape
    count = min(rank, tokens, out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # A few subspace iterations; the spectrum of fitted outputs falls fast, and a full SVD costs most of a solve.
        _, values, right = torch.svd_lowrank(fitted, q=min(count + 8, tokens, out), niter=4)
    kept = values[:count] > values[0] * 1e-6
    return right[:, :count][:, kept]
