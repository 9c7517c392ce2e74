"""The solver's regression against the formulas written out in numpy: ridge, its dual, reduced rank, leave-group-out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.solver.ridge import RIDGES, reduced_rank_ridge

RANDOM = np.random.default_rng(0)


def made(tokens: int, width: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, wanted changes that depend on them, and groups of uneven size."""
    inputs = RANDOM.normal(size=(tokens, width)) * np.linspace(2, 0.1, width)
    wanted = inputs @ RANDOM.normal(size=(width, 3)) @ RANDOM.normal(size=(3, out)) + RANDOM.normal(size=(tokens, out))
    return inputs, wanted, np.sort(RANDOM.integers(0, 6, size=tokens))


def ridge_weights(inputs: np.ndarray, wanted: np.ndarray, strength: float) -> np.ndarray:
    return np.linalg.solve(inputs.T @ inputs + strength * np.eye(inputs.shape[1]), inputs.T @ wanted)


def reduced(inputs: np.ndarray, wanted: np.ndarray, strength: float, rank: int) -> np.ndarray:
    """The (in, out) map of `rank`, by eigenvectors of the fitted outputs."""
    weights = ridge_weights(inputs, wanted, strength)
    fitted = inputs @ weights
    main = np.linalg.eigh(fitted.T @ fitted)[1][:, -rank:]
    return weights @ main @ main.T


def solved(inputs: np.ndarray, wanted: np.ndarray, groups: np.ndarray, rank: int, ridges: tuple[float, ...]):
    return reduced_rank_ridge(
        torch.tensor(inputs, dtype=torch.float32),
        torch.tensor(wanted, dtype=torch.float32),
        rank,
        groups=torch.tensor(groups),
        ridges=ridges,
    )


@pytest.mark.parametrize(("tokens", "width"), [(20, 48), (48, 20), (32, 32)], ids=["dual", "primal", "square"])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equals_the_formulas(tokens: int, width: int, rank: int) -> None:
    inputs, wanted, groups = made(tokens, width, 24)
    strength = 0.3 * (inputs**2).sum() / tokens
    found = solved(inputs, wanted, groups, rank, (0.3,))
    expected = reduced(inputs, wanted, strength, rank)
    np.testing.assert_allclose((found.b @ found.a).T.numpy(), expected, atol=2e-4 * np.abs(expected).max())
    assert found.a.shape == (rank, width) and found.b.shape == (24, rank)


@pytest.mark.parametrize(("tokens", "width"), [(24, 60), (60, 24)], ids=["dual", "primal"])
def test_takes_the_strength_that_predicts_left_out_groups_best(tokens: int, width: int) -> None:
    inputs, wanted, groups = made(tokens, width, 10)
    scale = (inputs**2).sum() / tokens
    errors = []
    for ridge in RIDGES:
        missed = 0.0
        for group in np.unique(groups):
            out, kept = groups == group, groups != group
            weights = ridge_weights(inputs[kept], wanted[kept], ridge * scale)
            missed += float(((wanted[out] - inputs[out] @ weights) ** 2).sum())
        errors.append(missed)
    assert solved(inputs, wanted, groups, 4, RIDGES).ridge == RIDGES[int(np.argmin(errors))]
