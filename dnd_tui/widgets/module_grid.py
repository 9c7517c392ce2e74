"""Norms by module path, put in order as a grid: a row for each kind of module, a column for each layer.

    model.layers.12.self_attn.q_proj  ->  layer 12, kind self_attn.q_proj, label q
    lm_head                           ->  the column for what is in no layer, kind lm_head

The first number in a path is the layer. Further numbers (experts) are left out of the kind, so that modules may share
a cell; a cell shows the mean of its modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from statistics import fmean

# The order of the way through a layer; other kinds follow in the order they came.
_KNOWN = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class Cell:
    """Modules of one kind in neighbouring layers.

    layers: first and last layer; None for modules in no layer.
    generated, base: mean norm of the generated update and of the base adapter's.
    """

    kind: str
    layers: tuple[int, int] | None
    modules: int
    generated: float
    base: float

    @property
    def difference(self) -> float | None:
        """(generated - base) / base; None where the base adapter does nothing."""
        return (self.generated - self.base) / self.base if self.base else None

    @property
    def where(self) -> str:
        """`layer 12`, `layers 12 to 15`, `in no layer`."""
        if self.layers is None:
            return "in no layer"
        first, last = self.layers
        return f"layer {first}" if first == last else f"layers {first} to {last}"


@dataclass
class ModuleGrid:
    """All modules known so far; some are expected and have no norms yet."""

    _norms: dict[tuple[int | None, str], dict[str, tuple[float, float] | None]] = field(default_factory=dict)

    def expect(self, paths: Iterable[str]) -> None:
        """Keep a place for modules whose norms are still to come."""
        for path in paths:
            self._norms.setdefault(_place(path), {}).setdefault(path, None)

    def add(self, norms: Mapping[str, tuple[float, float]]) -> None:
        """Take in norms by module path: (of the generated update, of the base adapter's update)."""
        for path, pair in norms.items():
            self._norms.setdefault(_place(path), {})[path] = pair

    @property
    def kinds(self) -> list[str]:
        """Rows."""
        kinds = list(dict.fromkeys(kind for _, kind in self._norms))
        return sorted(kinds, key=lambda kind: _KNOWN.index(_short(kind)) if _short(kind) in _KNOWN else len(_KNOWN))

    @property
    def framed(self) -> bool:
        """Whether there is a base adapter to compare with: that of a solved or imported one does nothing anywhere."""
        pairs = [pair for norms in self._norms.values() for pair in norms.values() if pair is not None]
        return not pairs or any(base != 0 for _, base in pairs)

    def labels(self) -> list[str]:
        """A short name for each row: `q` for `self_attn.q_proj` where no other row would be called so."""
        short = [_short(kind) for kind in self.kinds]
        return [name if short.count(name) == 1 else kind for name, kind in zip(short, self.kinds, strict=True)]

    @property
    def layers(self) -> int:
        """How many columns there are when none is shared."""
        return len({layer for layer, _ in self._norms})

    def columns(self, most: int) -> list[tuple[int | None, ...]]:
        """Layers by column, at most `most` columns: neighbours share one where there are more layers."""
        layers = sorted({layer for layer, _ in self._norms if layer is not None})
        outside: list[tuple[int | None, ...]] = [(None,)] if any(layer is None for layer, _ in self._norms) else []
        share = -(-len(layers) // max(most - len(outside), 1)) or 1
        return [tuple(layers[at : at + share]) for at in range(0, len(layers), share)] + outside

    def has(self, kind: str, layers: tuple[int | None, ...]) -> bool:
        """Whether there is such a module, with or without norms."""
        return any((layer, kind) in self._norms for layer in layers)

    def cell(self, kind: str, layers: tuple[int | None, ...]) -> Cell | None:
        """The modules of a kind in these layers; None without norms."""
        pairs = [pair for layer in layers for pair in self._norms.get((layer, kind), {}).values() if pair is not None]
        if not pairs:
            return None
        first, last = layers[0], layers[-1]
        span = None if first is None or last is None else (first, last)
        generated, base = (fmean(norms) for norms in zip(*pairs, strict=True))
        return Cell(kind, span, len(pairs), generated, base)

    def cells(self, columns: Iterable[tuple[int | None, ...]]) -> dict[tuple[int, int], Cell]:
        """All cells with norms, by row and column."""
        kinds = self.kinds
        found = {
            (row, column): self.cell(kind, layers)
            for column, layers in enumerate(columns)
            for row, kind in enumerate(kinds)
        }
        return {place: cell for place, cell in found.items() if cell is not None}


def scale_of(values: Iterable[float | None]) -> tuple[float, float]:
    """Smallest and largest of the finite values; (0, 0) without any."""
    finite = [value for value in values if value is not None and isfinite(value)]
    low, high = min(finite, default=inf), max(finite, default=-inf)
    return (low, high) if low <= high else (0.0, 0.0)


def _place(path: str) -> tuple[int | None, str]:
    parts = path.split(".")
    number = next((at for at, part in enumerate(parts) if part.isdecimal()), None)
    if number is None:
        return None, path
    kind = ".".join(part for part in parts[number + 1 :] if not part.isdecimal())
    return int(parts[number]), kind or ".".join(parts[:number])


def _short(kind: str) -> str:
    return kind.rpartition(".")[2].removesuffix("_proj")
