"""The JSON of a chain: what it is, which base it belongs to, what is known of it.

{"format": 1, "chain": "0-12,15-29", "layers": [0, …], "base": {…}, "adapter": …, "search": {…}, "held_out": …, …}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.peft_folder import WEIGHTS_FILE
from engine.depth.chain import Chain, format_chain, parse_chain
from engine.errors import EngineError
from engine.files import digest_file, read_json

if TYPE_CHECKING:
    from engine.base.load import BaseRef

CHAIN_FILE = "chain.json"

_FORMAT = 1


@dataclass(frozen=True)
class ChainRecord:
    """A chain of one base.

    base_id, fingerprint, layers: of the base; its number of layers.
    adapter: SHA-256 of the weights of the adapter that was attached; None without one.
    figures: plain data, everything else that is known of it.
    """

    chain: Chain
    base_id: str
    fingerprint: str
    layers: int
    adapter: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data; `read_chain` reads it back."""
        return {
            "format": _FORMAT,
            "chain": format_chain(self.chain),
            "layers": list(self.chain),
            "base": {"id": self.base_id, "fingerprint": self.fingerprint, "layers": self.layers},
            "adapter": self.adapter,
            **self.figures,
        }


def chain_of(ref: BaseRef, chain: Chain, adapter: Path | None, figures: Mapping[str, Any] | None = None) -> ChainRecord:
    """The record of a chain of `ref`, with the adapter in this folder."""
    layers = int(ref.config.num_hidden_layers)
    return ChainRecord(chain, ref.id, ref.fingerprint, layers, adapter_digest(adapter), figures or {})


def adapter_digest(folder: Path | None) -> str | None:
    """SHA-256 of the weights of an adapter folder that was read before."""
    return digest_file(folder / WEIGHTS_FILE) if folder else None


def read_chain(place: Path, ref: BaseRef, adapter: Path | None) -> ChainRecord:
    """The record in a file or in the folder of a search.

    Args:
        ref, adapter: the base it is to run on, and the folder of the adapter with it.

    Raises:
        EngineError: there is none or it is broken; it belongs to another base or another adapter.
    """
    file = place / CHAIN_FILE if place.is_dir() else place
    data = read_json(file, hint="Name the folder of a search, its chain.json, or a chain such as 0-12,15-29")
    try:
        found = data["base"]
        layers = int(found["layers"])
        chain = parse_chain(data["chain"], layers)
        if data["format"] != _FORMAT or list(chain) != data["layers"]:
            raise ValueError
        record = ChainRecord(chain, str(found["id"]), str(found["fingerprint"]), layers, data["adapter"])
        known = record.to_json()
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EngineError("is not the file of a chain", where=str(file)) from None
    except EngineError as error:
        raise EngineError(f"is not the file of a chain: {error}", where=str(file)) from None
    if record.fingerprint != ref.fingerprint:
        problem = f"belongs to {record.base_id} with other weights than {ref.id} has here"
        raise EngineError(problem, where=str(file), hint="Choose its own base with --base")
    if record.adapter != adapter_digest(adapter):
        problem = (
            "was found without an adapter" if record.adapter is None else "was found with another adapter attached"
        )
        hint = "Leave --adapter out" if record.adapter is None else "Name that adapter with --adapter"
        raise EngineError(problem, where=str(file), hint=hint)
    figures = {name: value for name, value in data.items() if name not in known}
    return ChainRecord(chain, record.base_id, record.fingerprint, layers, record.adapter, figures)
