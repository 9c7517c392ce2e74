"""Chains of layers as the screen shows them: what a search found, what was accepted, the one looked at.

data of the depth job, or chain.json of a stopped search --> FoundChains --> table, facts, another chain.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from dnd_tui.screens.compare.arms import BASE, Compared
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.chains import AcceptedChain
from dnd_tui.state.stored import now
from dnd_tui.text import figure, one_line
from engine.depth.chain import format_chain, identity, parse_chain
from engine.depth.scores import GAIN, LOSS, Judgement
from engine.requests import DepthRequest, ModelChoice, PromptChoice

Data = Mapping[str, Any]
Lines = list[tuple[str, str]]


@dataclass(frozen=True)
class FoundChain:
    """One chain; figures that are not known are None.

    chain: in words; `length` layers.
    right, value: on the rows of the search.
    judged: against the base on held-out rows; of the base itself too.
    speed: tokens a second, of reading and of writing.
    """

    chain: str
    length: int
    right: int | None = None
    value: float | None = None
    judged: Judgement | None = None
    speed: tuple[float, float] | None = None


@dataclass(frozen=True)
class FoundChains:
    """The base first, then the chains to choose from, shortest first.

    layers: of the base. base_id, fingerprint: what it is.
    best: number of the chain that the search chose.
    rows: of the search, on which right answers are counted.
    stopped: it was stopped before its end, in the search or after it.
    data: all that is known, as in chain.json.
    """

    chains: tuple[FoundChain, ...]
    best: int
    layers: int
    base_id: str
    fingerprint: str
    rows: int
    stopped: bool
    data: Data

    @classmethod
    def of(cls, data: Data) -> FoundChains:
        """What the data of a job or of a chain.json holds.

        Raises:
            KeyError, TypeError, ValueError: the data is no chain's.
        """
        layers, search, held_out = int(data["base"]["layers"]), data["search"], data.get("held_out")
        speed = data.get("speed", {})
        best_speed, base_speed = _speed(speed.get("chain")), _speed(speed.get("base"))
        own = format_chain(identity(layers))
        best = FoundChain(
            data["chain"], len(data["layers"]), search["right"], search["value"], _judged(held_out), best_speed
        )
        # A search that was stopped may have scored the base on more rows than the best chain.
        on_search = search["base"] if search["base"]["rows"] == search["rows"] else {}
        base_judged = _base_judged(_judged(held_out))
        base = FoundChain(own, layers, on_search.get("right"), on_search.get("value"), base_judged, base_speed)
        menu = [
            FoundChain(
                each["chain"],
                each["length"],
                each["search"]["right"],
                each["search"]["value"],
                _judged(each["held_out"]),
                best_speed if each["chain"] == best.chain else None,
            )
            for each in data.get("menu", ())
            # Of the best chain, judged for itself, the judgement that counts is not the one among several.
            if each["chain"] != best.chain
        ]
        others = [] if best.chain == own else [best]
        chains = (base, *sorted([*menu, *others], key=lambda one: one.length))
        place = next(number for number, one in enumerate(chains) if one.chain == best.chain)
        who = data["base"]
        stopped = bool(data.get("stopped"))
        return cls(chains, place, layers, who["id"], who["fingerprint"], search["rows"], stopped, data)

    @property
    def base(self) -> FoundChain:
        """The base's own chain."""
        return self.chains[0]

    def chain_data(self, number: int, layers: tuple[int, ...]) -> dict[str, Any]:
        """The chain.json of one of them, whose layers these are."""
        if number == self.best:
            return dict(self.data)
        own = {name: self.data[name] for name in ("format", "base", "adapter")}
        chain, menu = self.chains[number].chain, self.data.get("menu", ())
        entry: Data = next((each for each in menu if each["chain"] == chain), {})
        figures = {name: entry[name] for name in ("search", "held_out") if name in entry}
        return own | {"chain": chain, "layers": list(layers)} | figures


def verdict(judged: Judgement) -> str:
    """The verdict in words: `no reliable gain (+ 1.2 points, p = 0.58)`."""
    points = 100 * (judged.chain_right - judged.base_right) / judged.rows
    p = f"p = {judged.p_value:.2g}"
    if judged.verdict == GAIN:
        return f"better by {points:.1f} points, {p}"
    if judged.verdict == LOSS:
        return f"worse by {-points:.1f} points, {p}"
    return f"no reliable gain ({points:+.1f} points, {p})"


def outcome_words(found: FoundChains | None, *, stopped: bool) -> str:
    """How the search ended."""
    if found is None:
        return "Stopped before a chain was scored" if stopped else "The search failed"
    best = found.chains[found.best]
    length = f"{best.length} layers of {found.layers}"
    if best.judged is None:
        return f"Stopped early: the best so far runs {length}, not judged on held-out rows"
    if best is found.base:
        return "No chain is better than the base's own"
    words = verdict(best.judged)
    return f"{words[:1].upper()}{words[1:]}: {length}"


def chain_lines(found: FoundChains, number: int) -> Lines:
    """Label and value of what is known of a chain beside its base."""
    one, base = found.chains[number], found.base
    lines = [("chain", f"{one.chain} ({layers_words(one.length, found.layers)})")]
    if one.right is not None:
        words = f"{one.right} of {found.rows} right"
        beside = f", the base {base.right}" if base.right is not None and one is not base else ""
        lines.append(("search", words + beside + (f", score {one.value:.3f}" if one.value is not None else "")))
    lines += judged_lines(one.judged, base=one is base)
    if one.judged is None:
        lines.append(("verdict", "stopped early: not judged on held-out rows"))
    if one.speed and base.speed and one is not base:
        read, write = (mine / theirs for mine, theirs in zip(one.speed, base.speed, strict=True))
        lines.append(("speed, chain", f"{_speed_words(one.speed)}, {read:.2f} and {write:.2f} x the base's"))
        lines.append(("speed, base", _speed_words(base.speed)))
    elif base.speed:
        own = _speed_words(base.speed) if one is base else "measured for the chain that the search chose"
        lines.append(("speed", own))
    return lines


def accepted_lines(record: AcceptedChain) -> Lines:
    """Label and value of what is known of an accepted chain."""
    return [
        ("chain", f"{record.chain} ({layers_words(record.length, record.layers)})"),
        ("accepted for", record.dataset),
        ("base", record.base_id),
        ("adapter", record.adapter_name or "none"),
        ("search", f"{record.right} right of {record.rows}"),
        *(judged_lines(record.judged) if record.judged else [("verdict", "not judged on held-out rows")]),
    ]


def judged_lines(judged: Judgement | None, *, base: bool = False) -> Lines:
    """Accuracy on held-out rows, and the verdict; of the base its accuracy only."""
    if judged is None:
        return []
    own = (judged.chain_right, judged.chain_interval)
    lines = [("held out", _accuracy(*own, judged.rows))]
    if base:
        return lines
    return [
        *lines,
        ("base, held out", _accuracy(judged.base_right, judged.base_interval, judged.rows)),
        ("changed", f"{judged.gained} gained, {judged.lost} lost"),
        ("verdict", verdict(judged)),
    ]


def layers_words(length: int, layers: int) -> str:
    """`28 layers, the base has 30`."""
    return f"{length} layers, the base has {layers}"


def _accuracy(right: int, interval: tuple[float, float], rows: int) -> str:
    low, high = interval
    return f"{right} of {rows}, {right / rows:.1%} (95 % interval {low:.1%} to {high:.1%})"


def _speed_words(speed: tuple[float, float]) -> str:
    return f"reads {figure(speed[0])}, writes {figure(speed[1])} tokens/s"


def _speed(data: Data | None) -> tuple[float, float] | None:
    return (data["prefill"], data["decode"]) if data else None


def _judged(data: Data | None) -> Judgement | None:
    if not data:
        return None
    known = {each.name: data[each.name] for each in fields(Judgement) if each.name in data}
    intervals = {name: tuple(known[name]) for name in ("base_interval", "chain_interval")}
    return Judgement(**known | intervals)


def _base_judged(judged: Judgement | None) -> Judgement | None:
    """The base's own figures, as those of a chain that changes nothing."""
    if judged is None:
        return None
    right, interval = judged.base_right, judged.base_interval
    return replace(judged, chain_right=right, chain_interval=interval, gained=0, lost=0, p_value=1.0, verdict="")


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
            label=request.label,
            template=request.template,
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
        prompts = PromptChoice(
            source=record.held_out or record.source,
            column=record.column,
            label=record.label,
            template=record.template,
        )
        return Compared(
            models=record.models,
            prompts=prompts,
            labels=(BASE, *adapted, f"chain, {record.length} layers"),
            base_id=record.base_id,
            name=self.name,
            adapters=(record.adapter,) if record.adapter else (),
            chain=self.place,
        )
