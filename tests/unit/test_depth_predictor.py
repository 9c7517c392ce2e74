"""Which chain for which prompt: learned where prompts tell it, the one best chain where they do not; files."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.depth.chain import Chain, identity
from engine.depth.predictor import (
    PREDICTOR_FILE,
    ChainPredictor,
    PredictorRecord,
    _ridge,
    _values,
    fit_predictor,
    read_predictor,
    try_predictor,
    write_predictor,
)
from engine.depth.record import Origin
from engine.depth.scores import RowScores
from engine.errors import EngineError

LAYERS, CHANNELS = 6, 48
BASE: Chain = identity(LAYERS)
SHORT: Chain = (0, 1, 2, 4, 5)
LONG: Chain = (0, 1, 2, 1, 2, 3, 4, 5)
CHAINS = [BASE, SHORT, LONG]


def embeddings(rows: int, seed: int) -> Tensor:
    """Directions with one channel that means something: its sign."""
    torch.manual_seed(seed)
    found = 0.3 * torch.randn(rows, CHANNELS)
    found[:, 0] = torch.where(torch.arange(rows) % 2 == 0, 1.0, -1.0)
    return torch.nn.functional.normalize(found, dim=1)


def scores(right: Tensor) -> RowScores:
    return RowScores(tuple(right.tolist()), tuple(0.3 if one else 3.0 for one in right))


def told_by_prompt(prompts: Tensor) -> list[RowScores]:
    """The short chain answers one kind of prompt, the long one the other, the base a third of both."""
    kind = prompts[:, 0] > 0
    return [scores(torch.arange(len(prompts)) % 3 == 0), scores(kind), scores(~kind)]


def by_chance(rows: int, seed: int) -> list[RowScores]:
    torch.manual_seed(seed)
    return [scores(torch.rand(rows) < 0.4) for _ in CHAINS]


def test_it_learns_what_prompts_tell_and_is_offered() -> None:
    seen, unseen = embeddings(32, 0), embeddings(100, 1)
    predictor = fit_predictor(CHAINS, told_by_prompt(seen), seen)
    assert math.isfinite(predictor.penalty)
    held_out = told_by_prompt(unseen)
    trial = try_predictor(predictor, unseen, held_out, held_out[0], held_out[1])
    assert trial.scores.accuracy > 0.9 and trial.offered and trial.reason == ""
    assert min(trial.taken[SHORT], trial.taken[LONG]) > 40 and 5 < trial.lengths < 8


@pytest.mark.parametrize("seed", range(10))
def test_chance_is_never_offered(seed: int) -> None:
    seen, unseen = embeddings(32, seed), embeddings(100, seed + 100)
    held_out = by_chance(100, seed + 1000)
    predictor = fit_predictor(CHAINS, by_chance(32, seed), seen)
    trial = try_predictor(predictor, unseen, held_out, held_out[0], held_out[1])
    assert not trial.offered
    told = ("it takes the same chain for every prompt", "no reliable gain over the base", "reliable loss over the base")
    assert trial.reason.startswith(told) or trial.reason == "no reliable gain over the best single chain"


def test_a_gain_over_the_base_that_one_chain_has_too_is_not_offered() -> None:
    right = torch.ones(100, dtype=torch.bool)
    predictor = ChainPredictor((BASE, SHORT), torch.zeros(1), torch.tensor([[1.0, 0.0]]).double(), torch.zeros(2), 1.0)
    own = [scores(right), scores(right)]
    prompts = torch.where(torch.arange(100) % 2 == 0, 1.0, -1.0)[:, None]
    trial = try_predictor(predictor, prompts, own, scores(~right), own[1])
    assert not trial.offered and trial.reason == "no reliable gain over the best single chain"


def test_where_prompts_are_all_alike_the_best_chain_is_taken_for_all() -> None:
    same = torch.ones(20, CHANNELS)
    predictor = fit_predictor(CHAINS, [scores(torch.arange(20) < right) for right in (5, 9, 7)], same)
    assert predictor.penalty == math.inf
    assert predictor.choose(embeddings(4, 3)) == [1, 1, 1, 1]


def test_the_shorter_of_equal_chains_is_taken() -> None:
    half = scores(torch.arange(20) < 10)
    assert fit_predictor(CHAINS, [half] * 3, embeddings(20, 0)).choose(embeddings(3, 1)) == [1, 1, 1]


def test_leave_one_out_is_what_leaving_rows_out_gives() -> None:
    """The closed form against ten regressions on nine rows each."""
    torch.manual_seed(0)
    inputs, wanted = torch.randn(10, 4).double(), torch.randn(10, 2).double()
    away, around = inputs - inputs.mean(0), wanted - wanted.mean(0)
    for penalty in (0.5, 5.0, math.inf):
        errors = []
        for row in range(10):
            rest = [other for other in range(10) if other != row]
            x, y = inputs[rest], wanted[rest]
            middle, mean = x.mean(0), y.mean(0)
            weights = torch.zeros(4, 2).double()
            if math.isfinite(penalty):
                gram = (x - middle).T @ (x - middle) + penalty * torch.eye(4).double()
                weights = torch.linalg.solve(gram, (x - middle).T @ (y - mean))
            errors.append(wanted[row] - mean - (inputs[row] - middle) @ weights)
        _, found = _ridge(away @ away.T, around, penalty)
        assert found == pytest.approx(torch.stack(errors).square().mean().item(), rel=1e-9)


def test_values_of_rows_have_the_value_of_all_as_mean() -> None:
    one = RowScores((True, False, False), (0.1, 2.0, 0.7))
    assert sum(_values(one)) / 3 == pytest.approx(one.value)


def base_ref(fingerprint: str = "f" * 64) -> Any:
    return SimpleNamespace(id="tiny", fingerprint=fingerprint)


def record() -> PredictorRecord:
    seen = embeddings(32, 0)
    predictor = fit_predictor(CHAINS, told_by_prompt(seen), seen)
    return PredictorRecord(predictor, Origin("tiny", "f" * 64, LAYERS), "e" * 64, True, "", {"held_out": {"right": 3}})


def test_what_is_read_back_chooses_the_same(tmp_path: Path) -> None:
    written = record()
    write_predictor(tmp_path, written)
    read = read_predictor(tmp_path, base_ref(), None)
    new = embeddings(200, 5)
    assert read.predictor.choose(new) == written.predictor.choose(new)
    assert read.predictor.chains == tuple(CHAINS) and read.predictor.penalty == written.predictor.penalty
    assert (read.encoder, read.offered, read.origin.adapter) == ("e" * 64, True, None)
    data = json.loads((tmp_path / PREDICTOR_FILE).read_text())
    assert data["base"] == {"id": "tiny", "fingerprint": "f" * 64, "layers": LAYERS}
    assert data["held_out"] == {"right": 3}


def test_no_penalty_is_kept_as_none(tmp_path: Path) -> None:
    written = record()
    endless = replace(written, predictor=replace(written.predictor, penalty=math.inf))
    write_predictor(tmp_path, endless)
    assert json.loads((tmp_path / PREDICTOR_FILE).read_text())["penalty"] is None
    assert read_predictor(tmp_path, base_ref(), None).predictor.penalty == math.inf


def test_a_predictor_of_another_base_or_adapter_is_refused(tmp_path: Path) -> None:
    write_predictor(tmp_path, record())
    with pytest.raises(EngineError, match="belongs to tiny with other weights than tiny has here"):
        read_predictor(tmp_path, base_ref("0" * 64), None)
    write_predictor(tmp_path, replace(record(), origin=Origin("tiny", "f" * 64, LAYERS, "a" * 64)))
    with pytest.raises(EngineError, match="learned with another adapter.*Name that adapter with adapter"):
        read_predictor(tmp_path, base_ref(), None)


@pytest.mark.parametrize("field", ["chains", "base", "weights", "penalty", "offered", "format"])
@pytest.mark.parametrize("value", [None, ["9-3"], {"layers": "x"}])
def test_a_broken_predictor_is_told(tmp_path: Path, field: str, value: object) -> None:
    write_predictor(tmp_path, record())
    file = tmp_path / PREDICTOR_FILE
    data = json.loads(file.read_text())
    if value is None:
        del data[field]
    else:
        data[field] = value
    file.write_text(json.dumps(data))
    if field == "offered" and value is not None:
        return  # any truth value is one
    with pytest.raises(EngineError, match="predictor.json: is broken, or not the file of a predictor"):
        read_predictor(tmp_path, base_ref(), None)


def test_numbers_of_another_predictor_are_told(tmp_path: Path) -> None:
    write_predictor(tmp_path, record())
    (tmp_path / "predictor.safetensors").write_bytes(b"no numbers")
    with pytest.raises(EngineError, match="is broken"):
        read_predictor(tmp_path, base_ref(), None)
    with pytest.raises(EngineError, match="no such file. Name the folder of a search that was run with predictor"):
        read_predictor(tmp_path / "elsewhere", base_ref(), None)
