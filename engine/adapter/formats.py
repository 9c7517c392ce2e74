"""Every format in which an adapter or a chain of layers leaves the program, declared once.

To add one: an entry here, and the class that it names, a `Writer` of `engine.adapter.export`: it writes the format,
reads it back and compares. Which programs take an adapter's format, and how, stands in `engine.adapter.consumers`.

Light: no tensors here, so that a screen can ask before anything is loaded; a writer is imported when it is needed. So
the writers of chains can be named here too, though they stand above this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, setting

if TYPE_CHECKING:
    from engine.base.source import BaseSource
    from engine.weights.layout import Layout

NUMBER_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number, by the name of its format."""
ADAPTER_GGUF, MODEL_GGUF, BASE_GGUF, MODELFILE = "adapter.gguf", "model.gguf", "base.gguf", "Modelfile"
"""What files are called in their folders: an adapter, a merged model, the base's copy beside an adapter for Ollama."""

_ALL_TYPES = tuple(NUMBER_SIZES)
_LLAMA_CPP_TYPES = ("float32", "float16")
# Card, configs and checksums; names and places of the matrices in their file.
_TEXT_BYTES = 3_000
_BYTES_A_MATRIX = 110
# The vocabulary in a GGUF file, the tokenizer of a merged model: a few MB in either.
_VOCABULARY_BYTES = 3_000_000


@dataclass(frozen=True)
class Refusal:
    """Why a format cannot be written, and what to do instead."""

    reason: str
    fix: str


@dataclass(frozen=True)
class Format:
    """One format of export.

    name: as the command line has it. title: for people, in the singular.
    writer: "module:class" of its `Writer`.
    library: whose it is, as the hub calls that. about: what it is, in a sentence of the card.
    float_types: number formats that it can be written in, the most exact first; none where it has the base's own.
    holds_adapter, holds_base: what is in it as tensors of its own. holds_base_file: has a copy of the base's GGUF file,
        where there is one.
    needs_base_file: is made from the base's GGUF file too. uses_up_base: its check leaves the base without weights.
    refusal: why it cannot be written for an adapter of this layout and this base; None where nothing is known against
        it. Of a base whose architecture is not known here yet, that is found out when it is loaded.
    no_adapter: of a chain's format, why no adapter can go with the chain.
    """

    name: str
    title: str
    writer: str
    library: str = ""
    about: str = ""
    float_types: tuple[str, ...] = ()
    holds_adapter: bool = False
    holds_base: bool = False
    holds_base_file: bool = False
    needs_base_file: bool = False
    uses_up_base: bool = False
    refusal: Callable[[Layout, BaseSource], Refusal | None] = lambda layout, base: None
    no_adapter: Refusal | None = None

    def load_writer(self) -> Any:
        """The class that `writer` names."""
        return resolve_name(self.writer)

    def estimated_bytes(
        self, float_type: str, layout: Layout, base_parameters: int | None, base_file: Path | None
    ) -> int | None:
        """About how large an export will be; None where the size of the base is not known.

        Args:
            base_parameters: values in all of the base's weights.
            base_file: the base's own GGUF file.
        """
        size = _TEXT_BYTES
        if self.holds_adapter:
            size += layout.parameters * NUMBER_SIZES[float_type] + 2 * len(layout.modules) * _BYTES_A_MATRIX
        if self.holds_base:
            if base_parameters is None:
                return None
            size += base_parameters * NUMBER_SIZES[float_type] + _VOCABULARY_BYTES
        if self.holds_base_file and base_file is not None:
            size += base_file.stat().st_size
        return size


def chosen_format(name: str, float_type: str) -> Format:
    """An adapter's format of this name, after a look at whether it can be written in `float_type`.

    Raises:
        EngineError: there is no such format, or not in these numbers; those that there are, are listed.
    """
    if name not in FORMATS:
        hint = f"There is: {', '.join(FORMATS)}"
        raise EngineError(f"there is no format {name!r}", where=setting("format"), hint=hint)
    form = FORMATS[name]
    if float_type not in form.float_types:
        hint = f"There is: {', '.join(form.float_types)}"
        raise EngineError(f"{form.title}s cannot be written as {float_type}", where=setting("float_type"), hint=hint)
    return form


def chosen_chain_format(name: str, *, with_adapter: bool) -> Format:
    """A chain's format of this name, after a look at what is known without the base.

    Raises:
        EngineError: there is no such format, or it takes no adapter.
    """
    if name not in CHAIN_FORMATS:
        raise EngineError(f"there is no form {name!r}", hint=f"There are: {', '.join(CHAIN_FORMATS)}")
    form = CHAIN_FORMATS[name]
    if with_adapter and form.no_adapter:
        raise EngineError(form.no_adapter.reason, where=name, hint=form.no_adapter.fix)
    return form


def _gguf_refusal(layout: Layout, base: BaseSource) -> Refusal | None:
    from engine.adapter.gguf import GGUF_ARCHITECTURES, tensor_name

    if base.architecture is not None and base.architecture not in GGUF_ARCHITECTURES:
        known = ", ".join(sorted(GGUF_ARCHITECTURES))
        reason = f"a base of type {base.architecture} is not one of those whose GGUF names are known ({known})"
        return Refusal(reason, "Export a PEFT folder or a merged model, for llama.cpp's own scripts to convert")
    for module in layout.modules:
        try:
            tensor_name(module.path)
        except EngineError:
            return Refusal(f"GGUF has no name for the LoRA of {module.path}", "Export a PEFT folder or a merged model")
    return None


def _gguf_merged_refusal(layout: Layout, base: BaseSource) -> Refusal | None:
    if (refused := _gguf_refusal(layout, base)) or base.gguf is not None:
        return refused
    reason = "the base is not here as a GGUF file, whose vocabulary and settings it needs"
    return Refusal(reason, "Take the .gguf file as base, or export a merged model for convert_hf_to_gguf.py")


def _mlx_refusal(layout: Layout, base: BaseSource) -> Refusal | None:
    if any(module.layer < 0 for module in layout.modules):
        return Refusal("mlx-lm adapts modules of the layers only", "Export a merged model")
    if any({"language_model", "text_model"} & set(module.path.split(".")) for module in layout.modules):
        return Refusal("mlx-lm adapts models that read text only, not images", "Export a PEFT folder")
    return None


_NO_ADAPTER = Refusal(
    "a passthrough merge takes layers of a base, not an adapter",
    f"Choose {setting('format')} dense, which merges the adapter",
)
_MATRICES, _WEIGHTS = "Matrices of every adapted linear module", "The base's weights with the adapter's update added"
_FORMATS = (
    # adapter_config.json, adapter_model.safetensors
    Format(
        "peft", "PEFT folder", "engine.adapter.writers:PeftFolder", "peft", f"{_MATRICES}, in the format of peft.",
        _ALL_TYPES, holds_adapter=True,
    ),
    # the base with the update added, as transformers saves it
    Format(
        "merged", "merged model", "engine.adapter.writers:MergedModel", "transformers",
        f"{_WEIGHTS}, in the format of transformers.", _ALL_TYPES, holds_base=True, uses_up_base=True,
    ),
    # adapter.gguf, to be used with the base's own GGUF file
    Format(
        "gguf", "GGUF adapter", "engine.adapter.writers:GgufAdapter", "gguf",
        f"{_MATRICES}, as a GGUF file for llama.cpp.", _LLAMA_CPP_TYPES, holds_adapter=True, refusal=_gguf_refusal,
    ),
    # model.gguf, base and update in one file
    Format(
        "gguf-merged", "merged GGUF model", "engine.adapter.writers:MergedGguf", "gguf",
        f"{_WEIGHTS}, as a GGUF file for llama.cpp.", _ALL_TYPES, holds_base=True, needs_base_file=True,
        refusal=_gguf_merged_refusal,
    ),
    # Modelfile, adapter.gguf and the base's GGUF file
    Format(
        "ollama", "Ollama folder", "engine.adapter.writers:OllamaFolder", "gguf",
        "A Modelfile and what it names, for Ollama.", _LLAMA_CPP_TYPES, holds_adapter=True, holds_base_file=True,
        needs_base_file=True, refusal=_gguf_refusal,
    ),
    # adapters.safetensors, adapter_config.json
    Format(
        "mlx", "MLX adapter folder", "engine.adapter.writers:MlxFolder", "mlx",
        f"{_MATRICES}, in the format of mlx-lm.", _ALL_TYPES, holds_adapter=True, refusal=_mlx_refusal,
    ),
)  # fmt: skip
_CHAIN_FORMATS = (
    Format("mergekit", "mergekit recipe (a passthrough merge)", "engine.depth.export:Mergekit", no_adapter=_NO_ADAPTER),
    Format("dense", "Dense model folder, an adapter merged in", "engine.depth.export:Dense"),
    Format("peft", "PEFT folder with layer_replication", "engine.depth.export:Replicated"),
    Format("json", "chain.json alone", "engine.depth.export:ChainFile"),
)
FORMATS: Mapping[str, Format] = {each.name: each for each in _FORMATS}
"""Of an adapter, by name."""
CHAIN_FORMATS: Mapping[str, Format] = {each.name: each for each in _CHAIN_FORMATS}
"""Of a chain of layers, by name; chain.json goes with each."""
