"""The chain that is looked at, found just now or accepted before: what is told of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dnd_tui.screens.compare.arms import BASE, Compared
from dnd_tui.screens.depth.chains import FoundChains, Lines, accepted_lines, chain_lines
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.chains import AcceptedChain
from dnd_tui.state.lines import now
from dnd_tui.text import one_line
from engine.depth.chain import format_chain, identity, parse_chain
from engine.requests import DepthRequest, ModelChoice, PromptChoice


@dataclass(frozen=True)
class Subject:
    """A chain of a base of `layers` layers.

    place: how jobs name the chain: its folder, or the chain in words.
    record: what is kept when it is accepted. data: its chain.json, None where it is accepted already.
    lines: label and value of what is known.
    """

    record: AcceptedChain
    place: str
    lines: Lines
    data: Mapping[str, Any] | None = None

    @classmethod
    def of_found(cls, found: FoundChains, number: int, request: DepthRequest, adapter: AdapterRecord | None) -> Subject:
        """The chain of this number among those that a search found."""
        one = found.chains[number]
        record = AcceptedChain(
            chain=one.chain,
            length=one.length,
            layers=found.layers,
            base_id=found.base_id,
            fingerprint=found.fingerprint,
            base=request.models.base,
            device=request.models.device,
            dtype=request.models.dtype,
            source=request.source,
            column=request.column,
            dataset=request.source.name,
            held_out=request.held_out,
            adapter=request.adapter,
            adapter_name=adapter.name if adapter else request.adapter.name if request.adapter else "",
            right=one.right or 0,
            rows=found.rows,
            judged=one.judged,
            when=now(),
        )
        place = str(request.out) if number == found.best else one.chain
        data = found.chain_data(number, parse_chain(one.chain, found.layers))
        return cls(record, place, chain_lines(found, number), data)

    @classmethod
    def of_accepted(cls, record: AcceptedChain, place: Path) -> Subject:
        """A chain that was accepted before."""
        return cls(record, str(place), accepted_lines(record))

    @property
    def chain(self) -> str:
        """In words."""
        return self.record.chain

    @property
    def layers(self) -> int:
        """Of the base."""
        return self.record.layers

    @property
    def is_other(self) -> bool:
        """Whether it is another chain than the base's own."""
        return self.chain != format_chain(identity(self.layers))

    @property
    def acceptable(self) -> bool:
        """Whether it can be accepted: it is not the base, and not accepted already."""
        return self.is_other and self.data is not None

    @property
    def models(self) -> ModelChoice:
        """The base it runs on."""
        return self.record.models

    @property
    def adapter(self) -> Path | None:
        """The adapter that goes with it."""
        return self.record.adapter

    @property
    def name(self) -> str:
        """What a folder of it should be called."""
        return f"{Path(self.record.dataset).stem}-chain-{self.record.length}-of-{self.layers}"

    def accepted(self) -> tuple[AcceptedChain, Mapping[str, Any]]:
        """What is kept of it: the record, accepted now, and its chain.json."""
        return replace(self.record, when=now()), self.data or {}

    def compared(self) -> Compared:
        """Base and chain, with the adapter if there is one, on the held-out rows."""
        record = self.record
        adapted = (one_line(record.adapter_name),) if record.adapter else ()
        return Compared(
            models=record.models,
            prompts=PromptChoice(source=record.held_out or record.source, column=record.column),
            labels=(BASE, *adapted, f"chain, {record.length} layers"),
            base_id=record.base_id,
            name=self.name,
            adapters=(record.adapter,) if record.adapter else (),
            chain=self.place,
        )
