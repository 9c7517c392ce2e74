"""Weighted sums of LoRA adapters of one base: exact, or of a smaller rank.

    sum_i w_i * s_i * B_i @ A_i  =  [w_1 s_1 B_1, w_2 s_2 B_2, ...] @ [A_1; A_2; ...]        s_i = alpha_i / rank_i
                                    (out, R)                          (R, in)                R = sum of the ranks

    B = Q_b R_b,  A^T = Q_a R_a  -->  R_b R_a^T = U S V^T  (at most R x R)
                                 -->  B' = Q_b U sqrt(S),  A' = sqrt(S) V^T Q_a^T

Notable
- The result has alpha = rank, a scaling of 1: what scaled the parts is in its B. So ranks and alphas may differ.
- The truncated SVD is the nearest sum of that rank in the Frobenius norm (Eckart-Young). Through QR of the factors it
  is the SVD of an R x R matrix; the update (out, in) itself is never made.
- Kept energy is the share of the squared Frobenius norm that is left.
- peft's `add_weighted_adapter` is not used: it needs the adapters on a model, its "svd" makes the whole update of
  every module and takes the SVD of that, and it gives no energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.adapter.peft_folder import LARGEST_RANK, module_place
from engine.errors import EngineError, setting
from engine.events import Stage
from engine.weights.layout import Layout, LayoutModule, LoraSpec
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Combined:
    """A sum of adapters.

    kept: shares of the squared norm of the updates, from 0 to 1, of "all" modules and by kind; None for an exact sum.
    """

    adapter: LoraAdapter
    kept: dict[str, float] | None


def check_weights(adapters: int, weights: Sequence[float], rank: int | None) -> None:
    """Raises EngineError when there is not one finite weight an adapter, or the sum would be a mere copy."""
    if len(weights) != adapters:
        hint = f"Give one {setting('weights')} for each adapter, in their order, or none at all"
        problem = f"{len(weights)} weights do not go with {adapters} adapters"
        raise EngineError(problem, where=setting("weights"), hint=hint)
    for weight in weights:
        if not math.isfinite(weight):
            hint = "Give a number like 0.5 or -1"
            raise EngineError(f"{weight} is not a finite number", where=setting("weights"), hint=hint)
    if tuple(weights) == (1,) and rank is None:
        hint = f"Name a second adapter, or give {setting('rank')} for a smaller one or another {setting('weights')}"
        raise EngineError("one adapter of weight 1 would only be copied", hint=hint)


def combine(
    adapters: Sequence[LoraAdapter], weights: Sequence[float], rank: int | None = None, stage: Stage | None = None
) -> Combined:
    """The weighted sum of the adapters' updates, on every module that one of them adapts.

    Args:
        weights: one factor an adapter; 1 and -1 give the difference of two.
        rank: of the result; None keeps the sum exact, with the ranks added up.
        stage: hears every module.

    Raises:
        EngineError: weights and adapters do not go together, the adapters are of different bases, the rank is not
            possible, or a value of the sum is not finite.
    """
    check_weights(len(adapters), weights, rank)
    layout = _summed_layout(adapters, rank)
    if stage is not None:
        stage.total = len(layout.modules)
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    energies: dict[str, list[tuple[float, float]]] = {}
    for module in layout.modules:
        down, up = _stacked(module, adapters, weights)
        if not (down.isfinite().all() and up.isfinite().all()):
            raise EngineError("a value of the sum is not finite", where=module.path, hint="Give smaller weights")
        if rank is not None:
            down, up, kept, whole = truncated(down, up, rank)
            energies.setdefault(module.kind, []).append((kept, whole))
        a[module.path], b[module.path] = _padded(down, up, layout.lora.rank)
        if stage is not None:
            stage.advance()
    return Combined(LoraAdapter(layout, a, b), None if rank is None else _kept(energies))


def truncated(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    """The nearest product of at most `rank`.

    Args:
        down: A, (R, in). up: B, (out, R).

    Returns:
        A (k, in) and B (out, k) in float64, k = min(rank, R, in, out); the energy kept and the whole energy.
    """
    import torch

    left, left_core = torch.linalg.qr(up.double())  # (out, p), (p, R)
    right, right_core = torch.linalg.qr(down.double().T)  # (in, q), (q, R)
    u, s, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)  # at most R x R
    root = s[:rank].sqrt()  # half on each side: both halves stay in reach of float16
    energy = s.square()
    return (
        (root[:, None] * vh[:rank]) @ right.T,
        (left @ u[:, :rank]) * root,
        float(energy[:rank].sum()),
        float(energy.sum()),
    )


def _summed_layout(adapters: Sequence[LoraAdapter], rank: int | None) -> Layout:
    modules: dict[str, LayoutModule] = {}
    for adapter in adapters:
        for module in adapter.layout.modules:
            known = modules.setdefault(module.path, module)
            if known != module:
                problem = (
                    f"one adapter maps {known.in_features} to {known.out_features} values, "
                    f"another {module.in_features} to {module.out_features}"
                )
                hint = "They were made for different bases; only adapters of one base can be combined"
                raise EngineError(problem, where=module.path, hint=hint)
    summed = sum(adapter.layout.lora.rank for adapter in adapters)
    if rank is not None and not 1 <= rank <= summed:
        hint = f"The exact sum has rank {summed}: give a smaller one, or no {setting('rank')}"
        raise EngineError(f"{rank} is not a rank from 1 to {summed}", where=setting("rank"), hint=hint)
    result = summed if rank is None else rank
    if result > LARGEST_RANK:
        hint = f"Give a smaller {setting('rank')}"
        raise EngineError(f"the sum has rank {result}, more than {LARGEST_RANK}", hint=hint)
    ordered = tuple(sorted(modules.values(), key=lambda module: module_place(module.path)))
    return Layout(ordered, LoraSpec(result, result, _targets(adapters, ordered)))


def _targets(adapters: Sequence[LoraAdapter], modules: tuple[LayoutModule, ...]) -> tuple[str, ...]:
    """Kinds of module where every adapter has its kinds in all layers; otherwise the full path of every module."""
    if all(set(each.layout.lora.target_modules) == set(each.layout.kinds) for each in adapters):
        return tuple(dict.fromkeys(module.kind for module in modules))
    return tuple(module.path for module in modules)


def _stacked(module: LayoutModule, adapters: Sequence[LoraAdapter], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """A (R, in) and B (out, R) of the exact sum on a module, R of the adapters that have it."""
    import torch

    having = [(each, weight) for each, weight in zip(adapters, weights, strict=True) if module.path in each.a]
    down = torch.cat([each.a[module.path] for each, _ in having])
    up = torch.cat([each.b[module.path] * (weight * each.layout.lora.scaling) for each, weight in having], dim=1)
    return down, up


def _padded(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Zeros up to the rank that all modules share, in float32: an adapter may lack a module, a module may be narrow."""
    from torch.nn.functional import pad

    more = rank - down.shape[0]
    return pad(down, (0, 0, 0, more)).float().contiguous(), pad(up, (0, more)).float().contiguous()


def _kept(energies: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    groups = {"all": [pair for pairs in energies.values() for pair in pairs], **energies}
    return {name: _share(pairs) for name, pairs in groups.items()}


def _share(pairs: Sequence[tuple[float, float]]) -> float:
    whole = sum(pair[1] for pair in pairs)
    # Of an update of zeros nothing is lost.
    return sum(pair[0] for pair in pairs) / whole if whole else 1.0
