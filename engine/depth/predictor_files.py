"""A predictor of chains on disk, beside the search that it comes from: safetensors and JSON.

predictor.safetensors   middle (C,), weights (C, K), offsets (K,), float64
predictor.json          {"format": 1, "chains": [...], "base": {…}, "adapter": …, "encoder": {…}, "offered": …, …}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.depth.chain import format_chain, parse_chain
from engine.depth.predictor import ChainPredictor
from engine.depth.record import adapter_digest
from engine.errors import EngineError
from engine.files import digest_file, read_json, replacing_file, write_json

if TYPE_CHECKING:
    from engine.base.load import BaseRef

PREDICTOR_FILE = "predictor.json"
_WEIGHTS_FILE = "predictor.safetensors"
_FORMAT = 1
_AGAIN = "Run depth with --predictor once more"


@dataclass(frozen=True)
class PredictorRecord:
    """A predictor and what it belongs to.

    base_id, fingerprint, layers: of the base.
    adapter: SHA-256 of the weights of the adapter that was attached; None without one.
    encoder: fingerprint of the text encoder.
    offered: held-out rows showed a reliable gain. reason: why not.
    figures: plain data, everything else that is known of it.
    """

    predictor: ChainPredictor
    base_id: str
    fingerprint: str
    layers: int
    adapter: str | None
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
        "penalty": None if math.isinf(predictor.penalty) else predictor.penalty,
        "weights": digest_file(weights),
        "base": {"id": record.base_id, "fingerprint": record.fingerprint, "layers": record.layers},
        "adapter": record.adapter,
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
    data = read_json(file, hint="Name the folder of a search that was run with --predictor")
    try:
        found = data["base"]
        layers = int(found["layers"])
        chains = tuple(parse_chain(text, layers) for text in data["chains"])
        if data["format"] != _FORMAT or data["weights"] != digest_file(folder / _WEIGHTS_FILE):
            raise ValueError
        tensors = load_file(folder / _WEIGHTS_FILE)
        middle, weights, offsets = tensors["middle"], tensors["weights"], tensors["offsets"]
        if weights.shape != (len(middle), len(chains)) or offsets.shape != (len(chains),):
            raise ValueError
        penalty = math.inf if data["penalty"] is None else float(data["penalty"])
        predictor = ChainPredictor(chains, middle, weights, offsets, penalty)
        record = PredictorRecord(
            predictor,
            str(found["id"]),
            str(found["fingerprint"]),
            layers,
            data["adapter"],
            str(data["encoder"]),
            bool(data["offered"]),
            str(data["reason"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError, EngineError):
        raise EngineError("is broken, or not the file of a predictor", where=str(file), hint=_AGAIN) from None
    if record.fingerprint != ref.fingerprint:
        problem = f"belongs to {record.base_id} with other weights than {ref.id} has here"
        raise EngineError(problem, where=str(file), hint="Choose its own base with --base")
    if record.adapter != adapter_digest(adapter):
        hint = "Leave --adapter out" if record.adapter is None else "Name that adapter with --adapter"
        raise EngineError("was learned with another adapter, or without one", where=str(file), hint=hint)
    return record
