"""An adapter that somebody else made: what is known of it before a matrix is read, and how its matrices are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.adapter.peft_config import LARGEST_RANK
from engine.errors import EngineError
from engine.weights.layout import LayoutModule

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

BROKEN = "This adapter is broken: get it again from where it comes from"
OTHER_BASE = "The adapter was made for another base: name that with --base"
MOST_TENSORS = 2**16
"""In a file: far above seven matrices in a few hundred layers, two halves each."""
_LONGEST_SHOWN = 160


@dataclass(frozen=True)
class Pair:
    """The two matrices of a module, as a header lists them: A is (rank, in_features), B is (out_features, rank).

    path: of the module. a, b: what the file calls the two.
    """

    path: str
    rank: int
    in_features: int
    out_features: int
    a: str
    b: str


@dataclass(frozen=True)
class Fitted:
    """Pairs under the base's own paths, in the order of its modules.

    pairs: path in the base -> the pair as its file has it.
    targets: for the layout: kinds of module where all of each kind are adapted, full paths where not.
    changes: what was done to make them fit, in sentences.
    """

    pairs: Mapping[str, Pair]
    targets: tuple[str, ...]
    changes: tuple[str, ...]


class Read(Protocol):
    """Reads the matrices of a pair."""

    def __call__(self, path: str, pair: Pair) -> tuple[Tensor, Tensor]:
        """Given its path in the base: A (rank, in) and B (out, rank) in float32, in memory of their own."""
        ...


@dataclass(frozen=True, kw_only=True)
class Foreign(ABC):
    """Somebody's adapter, its header looked through and no matrix read.

    weights: the file that its matrices are in. pairs: of that file's header.
    named_base: the base that it names, if it names one.
    changes: what reading it changes, in sentences.
    """

    weights: Path
    pairs: tuple[Pair, ...]
    named_base: str | None = None
    changes: tuple[str, ...] = ()

    def check_base(self, config: PretrainedConfig) -> None:  # noqa: B027
        """Raises EngineError when it is for other bases, whatever the sizes of this one."""

    @abstractmethod
    def scales_for(self, fitted: Fitted) -> Mapping[str, Fraction]:
        """By path in the base, what its tool multiplies B A by.

        Raises:
            EngineError: the matrices are not those that it says they are.
        """

    @abstractmethod
    def reading(self, config: PretrainedConfig) -> AbstractContextManager[Read]:
        """Opens its file, for a base with this config."""


def shown(text: str) -> str:
    """A name out of somebody's file, no longer than a line."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def paired(halves: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]], where: str) -> tuple[Pair, ...]:
    """The pairs of a header.

    Args:
        halves: by path, then by "A" and "B": the tensor's name and shape.
        where: the file, for errors.

    Raises:
        EngineError: a half is missing, a shape is none of a LoRA matrix, a module lies outside of the layers.
    """
    if not halves:
        raise EngineError("holds no matrices of LoRA", where=where, hint=BROKEN)
    found = []
    for path, pair in halves.items():
        place = f"{where}, {shown(path)}"
        if LayoutModule(path, 1, 1).layer < 0:
            hint = "Only LoRA on the linear modules of the layers is read; merge it into its base where it was made"
            raise EngineError("is LoRA of a module outside of the layers", where=place, hint=hint)
        for half, other in (("A", "B"), ("B", "A")):
            if half not in pair:
                raise EngineError(f"has a lora_{other} and no lora_{half}", where=place, hint=BROKEN)
            name, shape = pair[half]
            if len(shape) != 2 or min(shape) < 1:
                raise EngineError(f"has the shape {shape}", where=f"{where}, {shown(name)}", hint=BROKEN)
        (a, (rank, inputs)), (b, (outputs, inner)) = pair["A"], pair["B"]
        if rank != inner:
            raise EngineError(f"lora_A is of rank {rank}, lora_B of rank {inner}", where=place, hint=BROKEN)
        if rank > LARGEST_RANK:
            raise EngineError(f"is of rank {rank}, more than {LARGEST_RANK}", where=place)
        found.append(Pair(path, rank, inputs, outputs, a, b))
    return tuple(found)
