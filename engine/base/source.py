"""Where other programs find the base of an adapter, and how large it is. Light: no weights are read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base.catalog import BundledBase, base_of_adapters
from engine.base.convert import conversion_folder
from engine.base.fetch import find_model_files
from engine.base.gguf import gguf_field, open_gguf
from engine.base.hub import looks_like_hub_id
from engine.base.weight_files import weight_count
from engine.errors import EngineError
from engine.files import read_json

if TYPE_CHECKING:
    from engine.base.load import BaseRef


@dataclass(frozen=True)
class BaseSource:
    """The base of an adapter as other programs find it.

    name: what they are given: a hub id, a folder, or a .gguf file.
    architecture: `model_type` of its config; None when that is not known here.
    local: a .gguf file or a folder of it on this machine, if there is one.
    bundled: the model of the catalogue that it is, if it is one.
    """

    name: str
    architecture: str | None
    local: Path | None = None
    bundled: BundledBase | None = None

    @property
    def is_gguf(self) -> bool:
        """Whether it is a GGUF file."""
        return self.name.lower().endswith(".gguf")

    @property
    def gguf(self) -> Path | None:
        """The GGUF file of it on this machine, if there is one."""
        return self.local if self.local and self.local.suffix.lower() == ".gguf" else None


def source_of(ref: BaseRef) -> BaseSource:
    """Of a base that was found."""
    bundled = base_of_adapters(ref.id)
    if bundled:
        return _bundled_source(bundled)
    if ref.gguf_file:
        file = Path(ref.folder) / ref.gguf_file
        return BaseSource(str(file), ref.config.model_type, file)
    return BaseSource(ref.hub_id or ref.folder, ref.config.model_type, Path(ref.folder))


def source_named(base_id: str, chosen: str) -> BaseSource:
    """Of the base that an adapter's config calls `base_id`; nothing is fetched.

    Args:
        chosen: the base that a person chose; it is the one meant when its id is `base_id`.
    """
    bundled = base_of_adapters(base_id)
    if bundled:
        return _bundled_source(bundled)
    for name in (chosen, base_id):
        # A name out of somebody's file may be no path at all.
        with suppress(OSError, ValueError, RuntimeError):
            path = Path(name).expanduser()
            if path.is_dir() and base_id in (name, path.resolve().name):
                return BaseSource(str(path.absolute()), _architecture(path / "config.json"), path.absolute())
            if path.is_file() and base_id in (name, path.stem):
                return BaseSource(str(path.absolute()), _gguf_architecture(path), path.absolute())
    return BaseSource(base_id, _cached_architecture(base_id))


def loader_name(architecture: str | None) -> str:
    """The class of transformers that loads a base of this `model_type`; None is not known here."""
    if architecture is None:
        return "AutoModelForCausalLM"
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    causal = architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    pictured = architecture in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return "AutoModelForImageTextToText" if pictured and not causal else "AutoModelForCausalLM"


def base_parameters(base: BaseSource) -> int | None:
    """How many values all of the base's weights have, by the catalogue or its files' headers; None where neither is."""
    if base.bundled:
        return base.bundled.parameters
    try:
        if base.local is not None and base.local.is_dir():
            return weight_count(base.local) or None
        if base.gguf is not None:
            return sum(int(tensor.n_elements) for tensor in open_gguf(base.gguf).tensors)
    except EngineError:
        return None
    return None


def _bundled_source(base: BundledBase) -> BaseSource:
    files = find_model_files(base)
    local = files / base.weights.path if files else None
    # The hub's model of a rescaled one has other weights: its adapters need the folder, which is made at first use.
    name = str(conversion_folder(base)) if base.rescaled else base.hub_id
    return BaseSource(name, base.architecture, local, base)


def _cached_architecture(hub_id: str) -> str | None:
    """From the config in the hub's cache."""
    if not looks_like_hub_id(hub_id):
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(hub_id, "config.json")
    except (OSError, ValueError):  # names that the hub does not have
        return None
    return _architecture(Path(found)) if isinstance(found, str) else None


def _gguf_architecture(file: Path) -> str | None:
    try:
        name = gguf_field(open_gguf(file), "general.architecture")
    except EngineError:
        return None
    return name if isinstance(name, str) else None


def _architecture(config: Path) -> str | None:
    try:
        data = read_json(config)
    except EngineError:
        return None
    name = data.get("model_type") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None
