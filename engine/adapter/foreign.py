"""An adapter that another tool made, brought into our form: one rank, one whole alpha, an update of alpha / rank · B A.

    pairs (from a header) --fit--> modules of the base --plan--> layout, factors --fold--> LoraAdapter

    scale_m · B_m A_m  =  alpha / R · (f_m B_m, 0) (A_m; 0)        f_m = scale_m · R / alpha,  R = the largest rank

Notable
- The shared alpha is chosen so that for most modules f_m is 1: their matrices stay bit for bit what they were. Where
  alpha would not be whole, a power of two goes into B, which changes no digit either; otherwise alpha = R and B is
  rounded once.
- Modules that the adapter does not have are left out of ours too. They cost nothing, and every form of export takes a
  part of the modules.
- Nothing here trusts the header: shapes are compared with the base before a matrix is read, and how much the zeros
  may add is limited, or one matrix of a huge rank would blow up all others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.peft_folder import LARGEST_ALPHA, LARGEST_RANK, LARGEST_WEIGHTS, shown
from engine.errors import EngineError, setting
from engine.events import Stage
from engine.text import readable_size
from engine.weights.layout import Layout, LayoutModule, LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

BROKEN = "This adapter is broken: get it again from where it comes from"
OTHER_BASE = f"The adapter was made for another base: name that with {setting('base')}"
MOST_TENSORS = 2**16
"""In a file: far above seven matrices in a few hundred layers, two halves each."""
FLOAT_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Names of the number formats that are read, as files have them and as we do."""
# Zeros may make an adapter this much larger, or any adapter up to this many bytes.
_MOST_GROWTH, _ALWAYS_ALLOWED = 16, 2**30
# A power of two up to this goes into B where alpha would not be whole.
_LARGEST_HALVING = 2**10


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


Read = Callable[[str, Pair], "tuple[Tensor, Tensor]"]
"""Given a path in the base and its pair: A (rank, in) and B (out, rank) in float32, in memory of their own."""


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

    def check_weights(self, model: Any) -> tuple[str, ...]:
        """Compare weights of the file that are no LoRA matrices with those of the loaded base; what was left out.

        Raises:
            EngineError: they are others.
        """
        return ()

    @abstractmethod
    def scales_for(self, fitted: Fitted) -> Mapping[str, Fraction]:
        """By path in the base, what its tool multiplies B A by.

        Raises:
            EngineError: the matrices are not those that it claims.
        """

    @abstractmethod
    def reading(self, config: PretrainedConfig) -> AbstractContextManager[Read]:
        """Opens its file, for a base with this config."""


def widened(kinds: Iterable[str]) -> tuple[str, ...]:
    """What is noted of matrices in these `FLOAT_TYPES`."""
    short = " and ".join(sorted(FLOAT_TYPES[kind] for kind in kinds if kind != "F32"))
    return (f"Numbers of {short} became float32, all of the same value.",) if short else ()


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


@dataclass(frozen=True)
class FoldPlan:
    """How an adapter becomes ours. factors: what B is multiplied by, by path; 1 leaves it alone."""

    layout: Layout
    pairs: Mapping[str, Pair]
    factors: Mapping[str, Fraction]
    changes: tuple[str, ...]


def fit(pairs: Sequence[Pair], config: PretrainedConfig) -> Fitted:
    """Find every pair's module in the base that has this config; nothing of the base is loaded.

    Paths may lack the `model.` that the base's have, or have one more: so adapters of a model without its head look.

    Raises:
        EngineError: the base has no such module, or one of other sizes.
    """
    kinds = tuple(dict.fromkeys(_kind(pair.path) for pair in pairs))
    try:
        base = {module.path: module for module in derive_layout(config, LoraSpec(1, 1, kinds)).modules}
    except EngineError as error:
        # It would list all the names that somebody's file has.
        problem = f"the base has no linear module of any of its {len(kinds)} kinds"
        raise EngineError(problem, where=shown(pairs[0].path), hint=error.hint) from None
    renamed = {each.path: each.path for each in pairs}
    changes: tuple[str, ...] = ()
    for rename, change in (
        (lambda path: path, None),
        (lambda path: f"model.{path}", "Module paths got a model. in front, as this base has them."),
        (lambda path: path.removeprefix("model."), "Module paths lost a model. in front, as this base has them."),
    ):
        tried = {each.path: rename(each.path) for each in pairs}
        if len(set(tried.values())) == len(pairs) and set(tried.values()) <= set(base):
            renamed, changes = tried, (change,) if change else ()
            break
    for pair in pairs:
        _check_module(pair, base.get(renamed[pair.path]))
    by_path = {renamed[pair.path]: pair for pair in pairs}
    ordered = {path: by_path[path] for path in base if path in by_path}
    whole = len(ordered) == len(base)
    return Fitted(ordered, tuple(dict.fromkeys(_kind(path) for path in base)) if whole else tuple(ordered), changes)


def plan(fitted: Fitted, scales: Mapping[str, Fraction]) -> FoldPlan:
    """Rank, alpha and factors of our form.

    Args:
        scales: by path in the base, what the tool multiplies B A by.

    Raises:
        EngineError: filled up to one rank, the adapter would be out of all proportion.
    """
    pairs = fitted.pairs
    rank = max(pair.rank for pair in pairs.values())
    _check_growth(pairs, rank)
    usual = Counter(scales.values()).most_common(1)[0][0]
    alpha = usual * rank
    halving = alpha.denominator
    if halving > _LARGEST_HALVING or halving & (halving - 1) or not 1 <= alpha.numerator <= LARGEST_ALPHA:
        alpha, halving = Fraction(rank), 1
    ours = Fraction(alpha.numerator, rank)
    factors = {path: scales[path] / ours for path in pairs}
    modules = tuple(LayoutModule(path, pair.in_features, pair.out_features) for path, pair in pairs.items())
    layout = Layout(modules, LoraSpec(rank, alpha.numerator, fitted.targets))
    return FoldPlan(layout, pairs, factors, (*fitted.changes, *_changes(layout, pairs, factors)))


def fold(made: FoldPlan, read: Read, stage: Stage | None = None) -> LoraAdapter:
    """The adapter in our form; `stage` hears every module.

    Raises:
        EngineError: a matrix has another shape than was planned with, or a value that is not finite.
    """
    import torch

    if stage is not None:
        stage.total = len(made.pairs)
    rank = made.layout.lora.rank
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for path, pair in made.pairs.items():
        down, up = read(path, pair)
        if made.factors[path] != 1:
            up = (up.double() * float(made.factors[path])).float()
        for name, matrix, shape in (
            (pair.a, down, (pair.rank, pair.in_features)),
            (pair.b, up, (pair.out_features, pair.rank)),
        ):
            if tuple(matrix.shape) != shape:
                raise EngineError("was changed while it was read", where=shown(name), hint="Try again")
            if not torch.isfinite(matrix).all():
                raise EngineError("a value is not finite", where=shown(name), hint=BROKEN)
        if pair.rank < rank:
            down = torch.nn.functional.pad(down, (0, 0, 0, rank - pair.rank))
            up = torch.nn.functional.pad(up, (0, rank - pair.rank))
        a[path], b[path] = down, up
        if stage is not None:
            stage.advance()
    return LoraAdapter(made.layout, a, b)


def _check_module(pair: Pair, module: LayoutModule | None) -> None:
    where = shown(pair.path)
    if module is None:
        raise EngineError("the base has no such linear module", where=where, hint=OTHER_BASE)
    if (module.in_features, module.out_features) != (pair.in_features, pair.out_features):
        problem = (
            f"the adapter maps {pair.in_features} to {pair.out_features} values, "
            f"the base {module.in_features} to {module.out_features}"
        )
        raise EngineError(problem, where=where, hint=OTHER_BASE)


def _check_growth(pairs: Mapping[str, Pair], rank: int) -> None:
    sides = sum(pair.in_features + pair.out_features for pair in pairs.values())
    own = 4 * sum(pair.rank * (pair.in_features + pair.out_features) for pair in pairs.values())
    filled = 4 * rank * sides
    if filled > LARGEST_WEIGHTS or filled > max(_ALWAYS_ALLOWED, _MOST_GROWTH * own):
        largest = max(pairs.values(), key=lambda pair: pair.rank)
        problem = (
            f"is of rank {rank}; with all modules of that rank the adapter would have {readable_size(filled)}, "
            f"of which {readable_size(own)} are no zeros"
        )
        hint = "Reduce that module's rank where the adapter was made"
        raise EngineError(problem, where=shown(largest.path), hint=hint)


def _changes(layout: Layout, pairs: Mapping[str, Pair], factors: Mapping[str, Fraction]) -> list[str]:
    """What became of scales, ranks and modules, in sentences; nothing where all is as it was."""
    lora, changes = layout.lora, []
    folded = Counter(factor for factor in factors.values() if factor != 1)
    if folded:
        ours = f"alpha / rank = {lora.alpha} / {lora.rank}"
        if len(folded) == 1:
            factor, count = next(iter(folded.items()))
            changes.append(
                f"The scale of {_counted(count, 'module')} went into lora_B, times {float(factor):g}; {ours}."
            )
        else:
            changes.append(f"The scales of {_counted(folded.total(), 'module')} went into lora_B; {ours}.")
    smaller = Counter(pair.rank for pair in pairs.values() if pair.rank < lora.rank)
    if smaller:
        ranks = ", ".join(str(rank) for rank in sorted(smaller))
        changes.append(f"{_counted(smaller.total(), 'module')} of rank {ranks} got zeros up to rank {lora.rank}.")
    if lora.target_modules != layout.kinds:
        layers = {module.layer for module in layout.modules}
        kinds = ", ".join(layout.kinds)
        changes.append(
            f"Adapted are {_counted(len(layout.modules), 'module')} in {_counted(len(layers), 'layer')} ({kinds}); "
            "all others stay as the base has them."
        )
    return changes


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _kind(path: str) -> str:
    return path.rsplit(".", 1)[-1]
