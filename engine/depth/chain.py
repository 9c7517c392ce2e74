"""Chains of layers: text and back, what can be changed in one, in which order. Light: no tensors here.

A chain is a tuple of layer indices of the base in the order they run. `(0, 1, …, N - 1)` is the base itself; a
missing index is a skipped layer, one that comes again is a looped one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, TypeAlias

from engine.errors import EngineError

Chain: TypeAlias = tuple[int, ...]

SKIP, LOOP = "skip", "loop"
MOST_LAYERS, MOST_TIMES = 4, 4
"""An edit takes 1 to 4 contiguous layers, and repeats them 1 to 4 times (arXiv 2507.07996, section 3)."""

MOVES = {"both": (SKIP, LOOP), "skip": (SKIP,), "loop": (LOOP,)}
"""What a search may do to a chain, by the request's word for it."""

_PART = re.compile(r"\s*(?P<first>[0-9]{1,6})\s*(?:-\s*(?P<last>[0-9]{1,6})\s*)?", re.ASCII)
_FORM = "Write layers and ranges in the order they run, for example 0-12,10-12,15-29"
_LONGEST = 100_000
_MOST_BASE_LAYERS = 10_000  # more than any base; the base itself is asked once it is there


class Edit(NamedTuple):
    """One action of the search on a chain.

    kind: SKIP or LOOP.
    place: position in the chain of the first layer concerned.
    layers: how many contiguous positions.
    times: how often they are repeated, after the time they run anyway; 0 for SKIP.
    """

    kind: str
    place: int
    layers: int
    times: int


def identity(layers: int) -> Chain:
    """The base's own chain."""
    return tuple(range(layers))


def parse_chain(text: str, layers: int) -> Chain:
    """`0-12,10-12,15-29` or the full list `0,1,2` -> a chain for a base of `layers` layers.

    Raises:
        EngineError: the text is empty, is no chain, or names a layer that is not there.
    """
    if not text.strip():
        raise EngineError("the chain is empty", hint=_FORM)
    chain: list[int] = []
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise EngineError(f"{part.strip()[:40]!r} is no layer and no range of layers", where="chain", hint=_FORM)
        first = int(found["first"])
        last = first if found["last"] is None else int(found["last"])
        if last < first:
            problem = f"the range {first}-{last} runs backwards"
            raise EngineError(problem, where="chain", hint=f"Write each layer by itself, for example {first},{last}")
        _check_layer(last, layers)
        if len(chain) + last - first >= _LONGEST:
            raise EngineError(f"the chain is longer than {_LONGEST:,} layers", where="chain", hint=_FORM)
        chain.extend(range(first, last + 1))
    return tuple(chain)


def check_chain(chain: Chain, layers: int) -> None:
    """Raises EngineError when the chain is empty or names a layer that a base of `layers` layers has not."""
    if not chain:
        raise EngineError("the chain is empty", hint=_FORM)
    for layer in chain:
        _check_layer(layer, layers)


def chain_place(chain: str) -> Path | None:
    """The file or folder that a chain is named by; None when the chain itself is given in words."""
    place = Path(chain)
    words = not set(chain) - set("0123456789-, ")
    # An empty text would be the folder we are in.
    return None if words and (not chain.strip() or not place.exists()) else place


def check_chain_words(chain: str) -> None:
    """Raises EngineError when the chain is given in words that are none, whatever base it is for."""
    if chain_place(chain) is None:
        parse_chain(chain, _MOST_BASE_LAYERS)


def format_chain(chain: Chain) -> str:
    """The chain with its ascending runs as ranges: `0-12,10-12,15-29`. Different chains give different texts."""
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs(chain))


def length_words(chain: Chain, layers: int) -> str:
    """`0-12,15-29 (28 layers, the base has 30)`."""
    return f"{format_chain(chain)} ({len(chain)} layers, the base has {layers})"


def runs(chain: Chain) -> list[tuple[int, int]]:
    """First and last layer of each ascending run, in order; the runs joined are the chain."""
    found: list[tuple[int, int]] = []
    for layer in chain:
        if found and layer == found[-1][1] + 1:
            found[-1] = (found[-1][0], layer)
        else:
            found.append((layer, layer))
    return found


def edited(chain: Chain, edit: Edit) -> Chain:
    """The chain after one edit."""
    end = edit.place + edit.layers
    block = chain[edit.place : end]
    if edit.kind == SKIP:
        return chain[: edit.place] + chain[end:]
    return chain[:end] + block * edit.times + chain[end:]


def edits(chain: Chain, kinds: tuple[str, ...], longest: int) -> list[Edit]:
    """Every edit of these kinds that leaves a chain of 1 to `longest` layers."""
    found = []
    for place in range(len(chain)):
        for layers in range(1, min(MOST_LAYERS, len(chain) - place) + 1):
            if SKIP in kinds and layers < len(chain):
                found.append(Edit(SKIP, place, layers, 0))
            if LOOP in kinds:
                most = min(MOST_TIMES, (longest - len(chain)) // layers)
                found += [Edit(LOOP, place, layers, times) for times in range(1, most + 1)]
    return found


def _check_layer(layer: int, layers: int) -> None:
    if not 0 <= layer < layers:
        hint = f"The base has the layers 0 to {layers - 1}"
        raise EngineError(f"there is no layer {layer}", where="chain", hint=hint)
