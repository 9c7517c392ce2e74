"""A base and adapters behind llama.cpp's own server: OpenAI-compatible, with its chat page for a browser."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from pathlib import Path

from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM

from engine.adapter.attach import check_fits, naming_adapter
from engine.adapter.gguf import write_gguf_adapter
from engine.adapter.peft_folder import read_peft_folder
from engine.base.load import BaseRef
from engine.base.source import source_of
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.jobs.results import Result
from engine.llama_cpp.server import public_server
from engine.loopback import is_loopback
from engine.pipeline import find_chosen_base
from engine.requests import ServeModelRequest

_LISTEN_SECONDS = 0.2


def serve_model_job(request: ServeModelRequest, reporter: Reporter) -> Result:
    """Serve until the person stops it; every request chooses its adapters by `lora`, without it the first one answers.

    Raises:
        EngineError: the base is not here as a GGUF file, an adapter does not fit, the port is taken.
    """
    ref = find_chosen_base(request.models, reporter)
    base = _gguf_of(ref)
    # Where others could reach it, they need a key; one is made, and printed once.
    key = "" if is_loopback(request.host) else secrets.token_urlsafe(24)
    names = [folder.resolve().name for folder in request.adapters]
    with tempfile.TemporaryDirectory(prefix="dnd-tui-") as place:
        with reporter.stage("convert", len(names), "adapters") as stage:
            with init_empty_weights():
                shape = AutoModelForCausalLM.from_config(ref.config)
            files = []
            for number, folder in enumerate(request.adapters):
                adapter, _ = read_peft_folder(folder)
                with naming_adapter(folder, ref.id):
                    check_fits(shape, adapter)
                files.append(Path(place) / f"{number}.gguf")
                write_gguf_adapter(files[-1], adapter, ref.config, name=names[number])
                stage.advance()
        with reporter.stage("load"):
            server = public_server(  # noqa: F841, it runs as long as it is held
                base, files, host=request.host, port=request.port, key=key, name=ref.id
            )
        # llama.cpp has read the files.
    address = f"http://{request.host}:{request.port}"
    reporter.note(f"{ref.id} answers at {address}: open it in a browser to chat; Ctrl-C ends it")
    for number, name in enumerate(names):
        reporter.note(f'{name} answers requests with "lora": {json.dumps(_lora(number, 1))}')
    if names:
        reporter.note(f'the base alone answers those with "lora": {json.dumps(_lora(0, 0))}')
    if key:
        reporter.note(f"others can reach it, so it asks for a key: {key}", warning=True)
    reporter.note(curl_line(address, key, bool(names)))
    listening = reporter.quiet()
    while True:
        # The wish to stop leaves the job, and with it the server ends.
        listening.note("")
        time.sleep(_LISTEN_SECONDS)


def curl_line(address: str, key: str, has_adapter: bool) -> str:
    """One question to the server, ready to be pasted into a shell."""
    asked: dict[str, object] = {"messages": [{"role": "user", "content": "Hello"}]}
    if has_adapter:
        asked["lora"] = _lora(0, 1)
    secret = f" -H 'Authorization: Bearer {key}'" if key else ""
    kind = "-H 'Content-Type: application/json'"
    return f"curl {address}/v1/chat/completions {kind}{secret} -d '{json.dumps(asked)}'"


def _lora(number: int, scale: int) -> list[dict[str, int]]:
    """What chooses an adapter in a request; those that are not named are off."""
    return [{"id": number, "scale": scale}]


def _gguf_of(ref: BaseRef) -> Path:
    found = source_of(ref).gguf
    if found is None:
        hint = f"Name the base's .gguf file with {setting('base')}; llama.cpp's convert_hf_to_gguf.py makes one"
        raise EngineError("llama.cpp needs the base as a GGUF file", where=ref.name, hint=hint)
    return found
