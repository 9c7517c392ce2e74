"""Log-probabilities of the real llama.cpp, through the prebuilt wheel `xllamacpp`; all in float32 and repeatable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

_PRINTABLE = 40


def log_probabilities(model: Path, ids: Sequence[int], vocabulary: int, adapter: Path | None = None) -> np.ndarray:
    """Of every next token after each of the last two prefixes of `ids`: (2, vocabulary)."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx = 256
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = 2
    parameters.port = 0
    # Keys and values in half precision would hide what is compared.
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if adapter is not None:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = xllamacpp.Server(parameters)
    return np.stack([_next(server, ids[:length], vocabulary) for length in (len(ids) - 1, len(ids))])


def _next(server: object, ids: Sequence[int], vocabulary: int) -> np.ndarray:
    # Nothing is told of an end of text or of half a character: let it choose a printable one. What is told is from
    # before the choice.
    request = {"prompt": list(ids), "max_tokens": 1, "temperature": 0, "logit_bias": [[_PRINTABLE, 1000.0]]}
    answer = server.handle_completions(request | {"logprobs": vocabulary, "cache_prompt": False})  # type: ignore[attr-defined]
    found = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    values = np.full(vocabulary, np.nan)
    values[[each["id"] for each in found]] = [each["logprob"] for each in found]
    assert not np.isnan(values).any()
    return values
