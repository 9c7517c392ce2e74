"""The forms in which an adapter leaves the program: what each holds, in which number formats, how large, when not.

    peft         adapter_config.json, adapter_model.safetensors             peft, vLLM, SGLang, Ollama
    merged       the base with the update added, as transformers saves it   whatever takes models
    gguf         adapter.gguf, to be used with the base's own GGUF file     llama.cpp, Ollama
    gguf-merged  model.gguf, base and update in one file                    llama.cpp, Ollama
    ollama       Modelfile, adapter.gguf and the base's GGUF file           Ollama
    mlx          adapters.safetensors, adapter_config.json                  mlx-lm

Light: no tensors here, so that a screen can ask before anything is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapter.gguf_names import GGUF_ARCHITECTURES, tensor_name
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.base.source import BaseSource
    from engine.weights.layout import Layout

NUMBER_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of a number, by the name of its format."""

_ALL_TYPES = tuple(NUMBER_SIZES)
_LLAMA_CPP_TYPES = ("float32", "float16")
# Card, configs and checksums; names and places of the matrices in their file.
_TEXT_BYTES = 3_000
_BYTES_A_MATRIX = 110
# The vocabulary in a GGUF file, the tokenizer of a merged model: a few MB in either.
_VOCABULARY_BYTES = 3_000_000


@dataclass(frozen=True)
class Format:
    """One form of export.

    name: as the command line has it. title: for people, in the singular.
    float_types: number formats that it can be written in, the most exact first.
    holds_adapter, holds_base: what is in it as tensors of its own.
    """

    name: str
    title: str
    float_types: tuple[str, ...]
    holds_adapter: bool = True
    holds_base: bool = False


FORMATS = {
    each.name: each
    for each in (
        Format("peft", "PEFT folder", _ALL_TYPES),
        Format("merged", "merged model", _ALL_TYPES, holds_adapter=False, holds_base=True),
        Format("gguf", "GGUF adapter", _LLAMA_CPP_TYPES),
        Format("gguf-merged", "merged GGUF model", _ALL_TYPES, holds_adapter=False, holds_base=True),
        Format("ollama", "Ollama folder", _LLAMA_CPP_TYPES),
        Format("mlx", "MLX adapter folder", _ALL_TYPES),
    )
}


@dataclass(frozen=True)
class Refusal:
    """Why a form cannot be written for an adapter and its base, and what to do instead."""

    reason: str
    fix: str


def chosen_format(name: str, float_type: str) -> Format:
    """The form called `name`, after a look at whether it can be written in `float_type`.

    Raises:
        EngineError: there is no such form, or not in this number format; those that there are, are listed.
    """
    if name not in FORMATS:
        raise EngineError(f"there is no format {name!r}", where="--format", hint=f"There is: {', '.join(FORMATS)}")
    form = FORMATS[name]
    if float_type not in form.float_types:
        hint = f"There is: {', '.join(form.float_types)}"
        raise EngineError(f"{form.title}s cannot be written as {float_type}", where="--float-type", hint=hint)
    return form


def refusal(name: str, layout: Layout, base: BaseSource) -> Refusal | None:
    """Why the form called `name` cannot be written for this adapter and base; None where nothing is known against it.

    Of a base whose architecture is not known here yet, that is found out when it is loaded.
    """
    if name in ("gguf", "gguf-merged", "ollama"):
        if base.architecture is not None and base.architecture not in GGUF_ARCHITECTURES:
            known = ", ".join(sorted(GGUF_ARCHITECTURES))
            reason = f"a base of type {base.architecture} is not one of those whose GGUF names are known ({known})"
            return Refusal(reason, "Export a PEFT folder or a merged model, for llama.cpp's own scripts to convert")
        others = _without_gguf_name(layout)
        if others:
            return Refusal(f"GGUF has no name for the LoRA of {others[0]}", "Export a PEFT folder or a merged model")
    if name == "gguf-merged" and base.gguf is None:
        reason = "the base is not here as a GGUF file, whose vocabulary and settings it needs"
        return Refusal(reason, "Take the .gguf file as base, or export a merged model for convert_hf_to_gguf.py")
    if name == "mlx" and any(module.layer < 0 for module in layout.modules):
        return Refusal("mlx-lm adapts modules of the layers only", "Export a merged model")
    return None


def estimated_bytes(
    form: Format, float_type: str, layout: Layout, base_parameters: int | None, base_file: Path | None
) -> int | None:
    """About how large an export will be; None where the size of the base is not known.

    Args:
        base_parameters: values in all of the base's weights.
        base_file: the base's own GGUF file, which an Ollama folder gets a copy of.
    """
    size = _TEXT_BYTES
    if form.holds_adapter:
        size += layout.parameters * NUMBER_SIZES[float_type] + 2 * len(layout.modules) * _BYTES_A_MATRIX
    if form.holds_base:
        if base_parameters is None:
            return None
        size += base_parameters * NUMBER_SIZES[float_type] + _VOCABULARY_BYTES
    if form.name == "ollama" and base_file is not None:
        size += base_file.stat().st_size
    return size


def _without_gguf_name(layout: Layout) -> list[str]:
    others = []
    for module in layout.modules:
        try:
            tensor_name(module.path)
        except EngineError:
            others.append(module.path)
    return others
