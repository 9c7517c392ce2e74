"""Which program decodes: a pure choice, and its reason in a line. Light: no tensors here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from engine.adapter.gguf import GGUF_ARCHITECTURES
from engine.errors import EngineError, setting
from engine.requests import LLAMA_CPP, TRANSFORMERS

if TYPE_CHECKING:
    from transformers import PretrainedConfig


INSTALL = "Install it: pip install 'dnd-tui[fast]'"
"""What to do where llama.cpp is not here."""


@dataclass(frozen=True)
class DecoderChoice:
    """name: "transformers" or "llama.cpp". reason: why it is transformers, where a person did not choose it."""

    name: str
    reason: str = ""


def installed() -> bool:
    """Whether llama.cpp is here."""
    return find_spec("xllamacpp") is not None


def chosen_decoder(
    asked: str,
    config: PretrainedConfig,
    *,
    device: str,
    dtype: str,
    chain: bool,
    temperature: float,
    hindrance: str = "",
    at_once: int = 1,
    here: bool | None = None,
) -> DecoderChoice:
    """The decoder for a request.

    Args:
        asked: "auto", "transformers" or "llama.cpp".
        config: of the base.
        device, dtype: where and in which numbers the base was loaded, "cpu" and "float32".
        chain: a chain of the base's layers answers too.
        hindrance: what else speaks against llama.cpp.
        at_once: how many texts every arm reads. Of several, transformers reads the common beginning once and all rests
            together; llama.cpp reads each by itself, and what it wins at every token of an answer is lost.
        here: whether llama.cpp is installed; None looks.

    Raises:
        EngineError: llama.cpp was asked for by name and cannot answer.
    """
    if asked == TRANSFORMERS:
        return DecoderChoice(TRANSFORMERS)
    if not (installed() if here is None else here):
        reason, fix = "llama.cpp is not installed", INSTALL
    else:
        reason = _hindrance(config, device, dtype, chain, temperature) or hindrance
        fix = f"Set {setting('decoder')} to transformers"
    if not reason and asked != LLAMA_CPP and at_once > 1:
        return DecoderChoice(TRANSFORMERS, "it reads several prompts at once, which takes less time")
    if not reason:
        return DecoderChoice(LLAMA_CPP)
    if asked == LLAMA_CPP:
        raise EngineError(f"llama.cpp cannot answer: {reason}", where=setting("decoder"), hint=fix)
    return DecoderChoice(TRANSFORMERS, reason)


def _hindrance(config: PretrainedConfig, device: str, dtype: str, chain: bool, temperature: float) -> str:
    if device != "cpu":
        return f"the base is on {device}, and llama.cpp is used on a CPU only"
    if dtype != "float32":
        return f"the base is loaded in {dtype}, and llama.cpp answers as float32 does"
    if chain:
        return "it runs no chains of layers"
    if temperature:
        return "above temperature 0 all arms draw with the same random numbers, which llama.cpp cannot"
    return unwritable(config)


def unwritable(config: PretrainedConfig) -> str:
    """Why a base cannot be written as a GGUF file here; "" where nothing is known against it.

    What is refused are settings that llama.cpp computes in another way, or that its file would have to name.
    """
    kind = config.model_type
    if kind not in GGUF_ARCHITECTURES:
        return f"the GGUF names of a base of type {kind} are not known"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "the base's rotary positions are scaled or partial"
    windows = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if windows or (kind == "mistral" and getattr(config, "sliding_window", None)):
        return "the base's attention has a window"
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return "the base has biases that its GGUF architecture has not"
    if getattr(config, "hidden_act", "silu") != "silu":
        return f"the base's activation is {config.hidden_act}, not silu"
    return ""
