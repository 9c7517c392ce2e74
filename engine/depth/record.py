"""The JSON of a chain: what it is, which base it belongs to, what is known of it.

{"format": 1, "chain": "0-12,15-29", "layers": [0, …], "base": {…}, "adapter": …, "search": {…}, "held_out": …, …}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.peft_folder import WEIGHTS_FILE
from engine.depth.chain import Chain, chain_place, format_chain, parse_chain
from engine.errors import EngineError, setting
from engine.files import digest_file, read_json

if TYPE_CHECKING:
    from engine.base.load import BaseRef

CHAIN_FILE = "chain.json"

_FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """The base, and the adapter on it, that something was found with.

    base_id, fingerprint, layers: of the base; its number of layers.
    adapter: SHA-256 of the weights of the adapter that was attached; None without one.
    """

    base_id: str
    fingerprint: str
    layers: int
    adapter: str | None = None

    @classmethod
    def of(cls, ref: BaseRef, adapter: Path | None) -> Origin:
        """A base, and the folder of the adapter on it."""
        return cls(ref.id, ref.fingerprint, int(ref.config.num_hidden_layers), adapter_digest(adapter))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Origin:
        """What `to_json` made. Raises KeyError, TypeError or ValueError where it is no origin."""
        base = data["base"]
        return cls(str(base["id"]), str(base["fingerprint"]), int(base["layers"]), data["adapter"])

    def to_json(self) -> dict[str, Any]:
        """As plain data, two entries of a larger record."""
        base = {"id": self.base_id, "fingerprint": self.fingerprint, "layers": self.layers}
        return {"base": base, "adapter": self.adapter}

    def check_same(self, ref: BaseRef, adapter: Path | None, file: Path, done: str) -> None:
        """Raises EngineError when the base or the adapter at hand is another one.

        Args:
            file: whose origin it is. done: what was done with it, such as "found".
        """
        if self.fingerprint != ref.fingerprint:
            problem = f"belongs to {self.base_id} with other weights than {ref.id} has here"
            raise EngineError(problem, where=str(file), hint=f"Choose its own base with {setting('base')}")
        if self.adapter == adapter_digest(adapter):
            return
        if self.adapter is None:
            raise EngineError(f"was {done} without an adapter", where=str(file), hint=f"Leave {setting('adapter')} out")
        problem = f"was {done} with another adapter attached"
        raise EngineError(problem, where=str(file), hint=f"Name that adapter with {setting('adapter')}")


@dataclass(frozen=True)
class ChainRecord:
    """A chain of one base.

    figures: plain data, everything else that is known of it.
    """

    chain: Chain
    origin: Origin
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data; `read_chain` reads it back."""
        chain = {"format": _FORMAT, "chain": format_chain(self.chain), "layers": list(self.chain)}
        return chain | self.origin.to_json() | dict(self.figures)


def chain_of(ref: BaseRef, chain: Chain, adapter: Path | None, figures: Mapping[str, Any] | None = None) -> ChainRecord:
    """The record of a chain of `ref`, with the adapter in this folder."""
    return ChainRecord(chain, Origin.of(ref, adapter), figures or {})


def adapter_digest(folder: Path | None) -> str | None:
    """SHA-256 of the weights of an adapter folder that was read before."""
    return digest_file(folder / WEIGHTS_FILE) if folder else None


def read_chain(chain: str, ref: BaseRef, adapter: Path | None) -> ChainRecord:
    """The chain that is given in words, or named by its file or by the folder of its search.

    Args:
        ref, adapter: the base it is to run on, and the folder of the adapter with it.

    Raises:
        EngineError: there is none or it is broken; it belongs to another base or another adapter.
    """
    place = chain_place(chain)
    if place is None:
        return chain_of(ref, parse_chain(chain, int(ref.config.num_hidden_layers)), adapter)
    file = place / CHAIN_FILE if place.is_dir() else place
    data = read_json(file, hint="Name the folder of a search, its chain.json, or a chain such as 0-12,15-29")
    form = data.get("format") if isinstance(data, dict) else None
    if isinstance(form, int) and form > _FORMAT:
        problem = f"has format {form}, this program reads format {_FORMAT}"
        raise EngineError(problem, where=str(file), hint="Search anew, or take a newer version of this program")
    try:
        origin = Origin.from_json(data)
        found = parse_chain(data["chain"], origin.layers)
        if data["format"] != _FORMAT or list(found) != data["layers"]:
            raise ValueError
        known = ChainRecord(found, origin).to_json()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise EngineError("is not the file of a chain", where=str(file)) from None
    except EngineError as error:
        raise EngineError(f"is not the file of a chain: {error}", where=str(file)) from None
    origin.check_same(ref, adapter, file, "found")
    return ChainRecord(found, origin, {name: value for name, value in data.items() if name not in known})
