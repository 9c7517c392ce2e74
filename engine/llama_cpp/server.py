"""The one llama.cpp of this process: a base's GGUF file, LoRA files, and slots that keep what they have read.

A slot keeps keys and values of its last tokens, so the next request with the same beginning reads on from there: that
is what makes bursts of a few tokens free, and a chat of several turns quick.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError, setting
from engine.llama_cpp.choice import INSTALL
from engine.llama_cpp.threads import llama_threads

_CONTEXT_STEP = 256
# How often a thread that waits for the others looks again before it sleeps: some 10 microseconds. libgomp's own choice
# is milliseconds. Where a core is shared, the thread that waits then takes it from the one it waits for: two threads
# beside two busy processes write 1 to 3 tokens/s by default, 8 to 22 with this.
_SPINS = "1000"


@dataclass(frozen=True)
class Asked:
    """A request to one slot.

    ids: token ids to read, at least one. most: longest answer, in tokens.
    scales: by the place of a LoRA file, the factor it is multiplied with; the others are off.
    """

    slot: int
    ids: Sequence[int]
    most: int
    scales: Mapping[int, float]


class LlamaServer:
    """llama.cpp with one base and some LoRA files.

    Args:
        base: GGUF file; adapters: GGUF files of LoRA, read whole here: they are not needed afterwards.
        slots: how many answers can be written side by side. context: tokens of each, prompt and answer together.

    Raises:
        EngineError: llama.cpp cannot load them.
    """

    def __init__(self, base: Path, adapters: Sequence[Path], *, slots: int, context: int) -> None:
        xllamacpp = _library()
        self.slots = slots
        self.context = -(-context // _CONTEXT_STEP) * _CONTEXT_STEP
        self._adapters = len(adapters)
        settings = xllamacpp.CommonParams()
        settings.model.path = str(base)
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(file), 1.0) for file in adapters]
        settings.lora_init_without_apply = True
        settings.n_parallel = slots
        settings.n_ctx = slots * self.context
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = llama_threads()
        # Keys and values as exact as the reference has them; flash attention would round them to half precision.
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        # What it would keep beside the slots is looked up by prompt alone, whatever adapter has read it.
        settings.cache_ram_mib = settings.n_ctx_checkpoints = 0
        settings.cache_idle_slots = settings.fit_params = settings.ui = settings.endpoint_slots = False
        settings.verbosity = -1
        # It listens on a port of this machine whether it is wanted or not: nobody knows the key.
        settings.port = 0
        settings.api_keys = [secrets.token_hex()]
        try:
            self._server = xllamacpp.Server(settings)
        except RuntimeError as error:
            hint = f"Set {setting('decoder')} to transformers; the log has the details"
            raise EngineError(f"llama.cpp cannot load the base ({error})", where=str(base), hint=hint) from error
        finally:
            _take_signals_back()

    def ask(self, asked: Asked, on_token: Callable[[int], bool]) -> str | None:
        """Answer greedily; blocks, and may be called from several threads at a time, one a slot.

        Args:
            on_token: hears every token; True ends the answer.

        Returns:
            What went wrong, None when nothing did.
        """
        request = {
            "prompt": list(asked.ids),
            "id_slot": asked.slot,
            "max_tokens": asked.most,
            "lora": [{"id": place, "scale": asked.scales.get(place, 0.0)} for place in range(self._adapters)],
            "cache_prompt": True,
            "stream": True,
            "temperature": 0,
            "samplers": ["top_k"],
            "top_k": 1,
        }
        problem: list[str] = []

        def hear(chunk: Any) -> bool:
            # Whatever is raised in here, the library drops.
            try:
                choices = chunk.get("choices") if isinstance(chunk, dict) else ()
                if choices is None:
                    problem.append(str(chunk.get("message") or chunk.get("error") or chunk))
                    return True
                return any(on_token(int(word)) for each in choices for word in each["text"].split())
            except Exception as error:
                problem.append(f"{type(error).__name__}: {error}")
                return True

        self._server.handle_completions(request, hear)
        return problem[0] if problem else None


def public_server(base: Path, adapters: Sequence[Path], *, host: str, port: int, key: str, name: str) -> Any:
    """llama.cpp's server as other programs know it, with its chat page. It runs as long as what is returned lives.

    Args:
        base: GGUF file with a vocabulary. adapters: LoRA as GGUF files, read whole here; the first one is on unless a
            request says otherwise.
        key: what requests must show; "" for none. name: what it calls the base.

    Raises:
        EngineError: llama.cpp is not installed, cannot load them, or cannot listen there.
    """
    xllamacpp = _library()
    settings = xllamacpp.CommonParams()
    settings.model.path = str(base)
    settings.model_alias = {name}
    settings.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(str(file), float(place == 0)) for place, file in enumerate(adapters)
    ]
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = llama_threads()
    settings.hostnames = [host]
    settings.port = port
    settings.api_keys = [key] if key else []
    settings.use_jinja = True
    settings.verbosity = -1
    try:
        server = xllamacpp.Server(settings)
    except RuntimeError as error:
        hint = f"Choose another {setting('port')}, or check that the base's file is whole"
        raise EngineError(f"llama.cpp's server cannot start ({error})", where=f"{host}:{port}", hint=hint) from error
    finally:
        _take_signals_back()
    return server


def _library() -> Any:
    """xllamacpp, imported with what its threads must find in the environment."""
    had = os.environ.get("GOMP_SPINCOUNT")
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        import xllamacpp
    except ImportError as error:
        raise EngineError(f"llama.cpp is not installed ({error})", hint=INSTALL) from error
    finally:
        if had is None:
            del os.environ["GOMP_SPINCOUNT"]
    return xllamacpp


def _take_signals_back() -> None:
    """llama.cpp handles SIGINT and SIGTERM itself, by ending its server: let Python's handlers have them again."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler is not None:
                signal.signal(number, handler)
