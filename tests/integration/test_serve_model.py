"""llama.cpp's own server with the default base and an adapter: asked as other programs ask it."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Cancelled, EngineError
from engine.events import Note, Reporter
from engine.jobs import run
from engine.jobs.serve_model import curl_line
from engine.requests import ModelChoice, ServeModelRequest

pytest.importorskip("xllamacpp")
QUESTION = {"messages": [{"role": "user", "content": "What is it about?\n\nThe goalkeeper saved."}], "max_tokens": 12}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(request: ServeModelRequest) -> Iterator[list[str]]:
    """While open, the server runs; what it printed."""
    notes: list[str] = []
    stopped, ready = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def hear(event: Any) -> None:
        if isinstance(event, Note):
            notes.append(event.text)
            if event.text.startswith("curl"):
                ready.set()

    def serve() -> None:
        try:
            run(request, Reporter(hear, stopped.is_set))
        except Cancelled:
            pass
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(120) and not failed, failed
        yield notes
    finally:
        stopped.set()
        thread.join(30)
        assert not thread.is_alive()


def asked(port: int, path: str, body: dict[str, Any] | None = None, key: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)) as reply:
        return json.loads(reply.read())


def answer(port: int, **more: Any) -> str:
    reply = asked(port, "/v1/chat/completions", QUESTION | {"temperature": 0} | more)
    return str(reply["choices"][0]["message"]["content"])


@pytest.mark.usefixtures("default_base")
def test_base_and_adapter_answer_by_the_scale_of_a_request(generated_adapter: Path) -> None:
    port = free_port()
    with served(ServeModelRequest(models=ModelChoice(), adapters=(generated_adapter,), port=port)) as notes:
        models = asked(port, "/v1/models")["data"]
        assert "SmolLM2-135M-Instruct" in models[0]["id"]
        adapted, base = answer(port), answer(port, lora=[{"id": 0, "scale": 0}])
        assert adapted != base and adapted == answer(port, lora=[{"id": 0, "scale": 1}])
        assert any("topics answers" in note for note in notes) and f"http://127.0.0.1:{port}" in notes[-1]
    with pytest.raises(urllib.error.URLError):
        asked(port, "/v1/models")


@pytest.mark.usefixtures("default_base")
def test_others_need_the_key_that_is_printed() -> None:
    port = free_port()
    with served(ServeModelRequest(models=ModelChoice(), host="0.0.0.0", port=port)) as notes:
        (key,) = [note.rpartition(" ")[2] for note in notes if "asks for a key" in note]
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(port, "/v1/chat/completions", QUESTION)
        assert refused.value.code == 401
        assert asked(port, "/v1/chat/completions", QUESTION, key)["choices"]


def test_what_cannot_be_served_is_refused(generated_adapter: Path, tiny_llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="as a GGUF file"):
        run(ServeModelRequest(models=ModelChoice(base=str(tiny_llama_folder))), Reporter())
    with pytest.raises(EngineError, match="adapter_config"):
        run(ServeModelRequest(models=ModelChoice(), adapters=(tmp_path,)), Reporter())


def test_the_line_for_a_shell() -> None:
    line = curl_line("http://127.0.0.1:8080", "secret", True)
    assert line.startswith("curl http://127.0.0.1:8080/v1/chat/completions ") and "Bearer secret" in line
    assert json.loads(line.partition("-d '")[2].rstrip("'"))["lora"] == [{"id": 0, "scale": 1}]
