"""The LoRA layout of a base: which linear modules are adapted and the shapes of their matrices.

    config + LoraSpec --(the model on the meta device, no weights)--> Layout

Every shape in the engine comes from here; none is typed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.files import digest_json

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LAYER_NUMBER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class LoraSpec:
    """What kind of LoRA: the update of a weight is `alpha / rank * B @ A` (no rsLoRA, no dropout)."""

    rank: int = 8
    alpha: int = 16
    target_modules: tuple[str, ...] = ALL_LINEAR

    @property
    def scaling(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class LayoutModule:
    """One adapted linear module: A is (rank, in_features), B is (out_features, rank)."""

    path: str
    in_features: int
    out_features: int

    @property
    def kind(self) -> str:
        """Last part of the path, for example `q_proj`."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def layer(self) -> int:
        """Index of the transformer layer; -1 for a module outside of the layers."""
        found = _LAYER_NUMBER.search(self.path)
        return int(found.group(1)) if found else -1


@dataclass(frozen=True)
class Layout:
    """All adapted modules of a base, in the order of the model's own modules."""

    modules: tuple[LayoutModule, ...]
    lora: LoraSpec

    @property
    def parameters(self) -> int:
        """Number of values in all A and B matrices."""
        return self.lora.rank * sum(module.in_features + module.out_features for module in self.modules)

    def generated_parameters(self, kind: str) -> int:
        """Number of values that a generator makes in a frame of this kind (`engine.weights.frame`)."""
        if kind == "full":
            return self.parameters
        return self.lora.rank * sum(module.out_features for module in self.modules)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of module, each once, in order of appearance."""
        return tuple(dict.fromkeys(module.kind for module in self.modules))

    def to_json(self) -> dict[str, Any]:
        """As plain data; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Layout:
        """Read what `to_json` wrote."""
        lora = data["lora"] | {"target_modules": tuple(data["lora"]["target_modules"])}
        return cls(tuple(LayoutModule(**module) for module in data["modules"]), LoraSpec(**lora))

    @property
    def digest(self) -> str:
        """SHA-256 of the layout: two bases of equal layout take adapters of equal shapes."""
        return digest_json(self.to_json())


def derive_layout(config: PretrainedConfig, lora: LoraSpec | None = None) -> Layout:
    """The layout of any causal language model that transformers can build from `config`.

    The model is built on the meta device: no weights are loaded or allocated. Of a model that reads images too, the
    layers that read text are meant.

    Raises:
        EngineError: no linear module has one of the names in `lora.target_modules`; the ones there are listed.
    """
    import torch

    from engine.base.load import model_class, reads_images
    from engine.base.network import without_head

    lora = lora or LoraSpec()
    if lora.rank < 1 or lora.alpha < 1:
        raise EngineError(f"rank {lora.rank} and alpha {lora.alpha} must both be at least 1", where="LoRA")
    with torch.device("meta"):
        model = model_class(config).from_config(config)
    # The layers that read images have modules of the same names.
    parts = set(without_head(model).modules()) if reads_images(config) else None
    linear = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and (parts is None or module in parts)
    }
    modules = tuple(
        LayoutModule(path, module.in_features, module.out_features)
        for path, module in linear.items()
        if path.rsplit(".", 1)[-1] in lora.target_modules
    )
    if not modules:
        available = ", ".join(sorted({path.rsplit(".", 1)[-1] for path in linear}))
        raise EngineError(
            f"no linear module of {type(model).__name__} is named {', '.join(lora.target_modules)}",
            hint=f"Linear modules there: {available or 'none'}",
        )
    return Layout(modules, replace(lora, target_modules=selecting(model, modules, lora.target_modules)))


def selecting(model: torch.nn.Module, modules: Sequence[LayoutModule], kinds: Sequence[str]) -> tuple[str, ...]:
    """What selects exactly these modules of a model, as peft's target_modules does: `kinds`, or all full paths."""
    selected = {path for path, _ in model.named_modules() if path.rsplit(".", 1)[-1] in kinds}
    paths = tuple(module.path for module in modules)
    return tuple(kinds) if selected == set(paths) else paths
