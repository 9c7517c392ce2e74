"""The parameters at the lowest loss, kept on disk."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from engine.training.loop import BestState


def trained(folder: Path, losses: list[float], identity: str = "a run") -> tuple[BestState, torch.Tensor]:
    """A parameter that holds the number of its steps, offered after each."""
    parameter = torch.zeros(2, requires_grad=True)
    best = BestState(folder / "best.safetensors", {"weight": parameter}, identity)
    for step, loss in enumerate(losses, 1):
        parameter.data.fill_(step)
        best.offer(step, loss)
    return best, parameter


def test_what_was_best_comes_back(tmp_path: Path) -> None:
    best, parameter = trained(tmp_path, [2.5, 1.25, 1.25, 3.0, math.nan])
    assert (best.restore(), parameter.tolist()) == (2, [2, 2])


def test_a_run_that_goes_on_knows_what_was_best_before(tmp_path: Path) -> None:
    trained(tmp_path, [3.0, 1.0])
    best, parameter = trained(tmp_path, [2.0])
    assert (best.restore(), parameter.tolist()) == (2, [2, 2])
    best.offer(3, 0.5)
    assert best.restore() == 3


def test_nothing_is_taken_from_another_run_or_out_of_a_damaged_file(tmp_path: Path) -> None:
    trained(tmp_path, [1.0])
    best, parameter = trained(tmp_path, [], "another run")
    assert (best.restore(), parameter.tolist()) == (None, [0, 0])
    (tmp_path / "best.safetensors").write_bytes(b"no tensors")
    best, _ = trained(tmp_path, [])
    assert best.restore() is None
    best.offer(1, 2.0)
    assert best.restore() == 1
