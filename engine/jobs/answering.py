"""What answers in a comparison or a chat: the arms, and which decoder.

llama.cpp with the base and adapters of the last request is kept for the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from engine.adapter.attach import BASE_ROW, AttachedModel, check_fits, naming_adapter
from engine.adapter.gguf import GGUF_ARCHITECTURES, tensor_name
from engine.base.chat import stop_ids
from engine.base.device import dtype_name
from engine.base.load import LoadedBase
from engine.depth.record import read_chain
from engine.depth.view import chain_view
from engine.errors import EngineError
from engine.events import AnswersBy, Reporter
from engine.files import digest_bytes
from engine.llama_cpp.base_file import base_file, unnamed_parameter
from engine.llama_cpp.choice import chosen_decoder
from engine.llama_cpp.decoder import LlamaDecoder
from engine.pipeline import Kept
from engine.requests import LLAMA_CPP, ChatRequest, CompareRequest
from engine.weights.lora import LoraAdapter

_decoder: Kept[LlamaDecoder] = Kept()


def answering(
    request: CompareRequest | ChatRequest,
    base: LoadedBase,
    adapters: Mapping[str, LoraAdapter],
    at_once: int,
    reporter: Reporter,
) -> tuple[LlamaDecoder | None, AnswersBy]:
    """Choose; for llama.cpp the base's GGUF file is written at first need. None is transformers. Emits what was chosen.

    Float16 halves what is read at every token, and on a CPU that is the time it takes; `--dtype float32` takes the
    numbers of the reference.

    Args:
        base: with nothing attached. adapters: by the names that `AttachedModel` would have for them.
        at_once: as of `chosen_decoder`.

    Raises:
        EngineError: llama.cpp was asked for by name and cannot answer; the disk is too full for the file.
    """
    dtype = dtype_name(base.dtype)
    stops = stop_ids(base.tokenizer, base.model)
    choice = chosen_decoder(
        request.decoder,
        base.model.config,
        device=base.device.type,
        dtype=dtype,
        chain=request.chain is not None,
        temperature=request.temperature,
        hindrance=_hindrance(base, adapters, stops),
        at_once=at_once,
    )
    decoder = None
    if choice.name == LLAMA_CPP:
        dtype = "float32" if request.models.dtype == "float32" else "float16"
        file = base_file(base, stops, dtype, reporter)
        key = (file, tuple((name, _digest(adapter)) for name, adapter in adapters.items()))
        decoder = _decoder.get(key, lambda: LlamaDecoder(file, base.model.config, adapters), reporter.quiet())
    by = AnswersBy(choice.name, dtype, choice.reason)
    reporter.emit(by)
    return decoder, by


def answering_arms(
    request: CompareRequest | ChatRequest,
    base: LoadedBase,
    adapters: Mapping[str, LoraAdapter],
    attached: AttachedModel | None,
) -> dict[str, str]:
    """By the name of an arm, the adapter that answers, `BASE_ROW` for none; chains are not among them.

    Args:
        adapters: by names of ours. They are attached, or, where `attached` is None, only looked at: do they fit?
    """
    arms = {request.base_arm: BASE_ROW} if request.base_arm else {}
    for place, (arm, name) in enumerate(zip(request.adapted_arms, adapters, strict=False)):
        arms[arm] = name
        with naming_adapter(request.adapters[place], base.ref.id) if request.adapters else nullcontext():
            if attached is None:
                check_fits(base.model, adapters[name])
            else:
                attached.add(name, adapters[name])
    # Selected as a whole, adapters need not be turned on and off at every token.
    if attached is not None and attached.names:
        attached.use(attached.names[0])
    return arms


def chain_views(request: CompareRequest | ChatRequest, base: LoadedBase, attached: AttachedModel) -> dict[str, Any]:
    """By the name of its arm, the chain with the adapter that is selected; nothing where no chain is asked for."""
    if request.chain is None:
        return {}
    record = read_chain(request.chain, base.ref, next(iter(request.adapters), None))
    return {request.arms[-1]: chain_view(attached.model, record.chain)}


def _hindrance(base: LoadedBase, adapters: Mapping[str, LoraAdapter], stops: list[int]) -> str:
    """Why llama.cpp cannot answer with these; "" where it can."""
    if base.streamed:
        return "the base's layers are not in memory"
    if not stops:
        return "the base has no token that ends an answer"
    if base.model.config.model_type in GGUF_ARCHITECTURES and (name := unnamed_parameter(base)):
        return f"GGUF has no name for the base's {name}"
    for adapter in adapters.values():
        for module in adapter.layout.modules:
            try:
                tensor_name(module.path)
            except EngineError:
                return f"GGUF has no name for the LoRA of {module.path}"
    return ""


def _digest(adapter: LoraAdapter) -> str:
    matrices = (matrix for half in (adapter.a, adapter.b) for matrix in half.values())
    return digest_bytes(repr(adapter.layout).encode(), *(matrix.numpy().tobytes() for matrix in matrices))
