"""A teacher answers prompts: a real llama.cpp server, behind a door that can go wrong; and a model of this machine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from engine.adapter.provenance import read_provenance
from engine.base.catalog import DEFAULT_BASE
from engine.base.fetch import find_model_files
from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter
from engine.jobs import run
from engine.prompts import read_prompts
from engine.prompts.answer_sheet import SheetRow, read_sheet, write_sheet
from engine.requests import ContextChoice, GenerateRequest, ModelChoice, PromptChoice, TeachRequest
from tests.tiny import ends_its_answers, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer

KEY = "sk-the-right-key-of-this-test"
ASKED = ["Name a colour.", "Name an animal.", "Name a city.", "Name a fruit.", "Name a tool.", "Name a river."]


SERVE = """
import sys, time
import xllamacpp
parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.api_keys = [sys.argv[2]]
parameters.n_ctx = 2048
parameters.n_parallel = 2
parameters.warmup = False
parameters.verbosity = -1
parameters.cpuparams.n_threads = 2
parameters.port = 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
time.sleep(3600)
"""
"""A process of its own, as a server is; it ends when it is killed."""


class Door:
    """Passes requests on to the real server, but for the next ones in `plan`, which go wrong as it says.

    asked: the last user turn of every chat that came. dead: connections are broken off.
    """

    def __init__(self, server: str) -> None:
        self.plan: list[str] = []
        self.asked: list[str] = []
        self.chats: list[list[dict[str, str]]] = []
        self.dead = False
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.url = ""
        threading.Thread(target=self._serve, daemon=True).start()
        assert self._ready.wait(30)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _shut(self) -> None:
        self._over.set()
        await self._runner.cleanup()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", self._handle)
        self._over = asyncio.Event()
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if body:
            self.chats.append(json.loads(body)["messages"])
            self.asked.append(self.chats[-1][-1]["content"])
        wrong = self.plan.pop(0) if self.plan and body else ""
        if wrong == "die":
            self.dead = True
        if self.dead:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        made: dict[str, Callable[[], Awaitable[web.StreamResponse]]] = {
            "429": lambda: _answer(429, '{"error": {"message": "slow down"}}', {"Retry-After": "0"}),
            "503": lambda: _answer(503, '{"error": {"message": "loading"}}'),
            "broken": lambda: _answer(200, '{"choices": [{"mess'),
            "page": lambda: _answer(200, "<html>welcome</html>", kind="text/html"),
            "empty": lambda: _answer(200, '{"id": "x", "choices": []}'),
            "400": lambda: _answer(400, '{"error": {"message": "the prompt is too long"}}'),
            "hang": self._hang,
        }
        return await (made[wrong]() if wrong else self._pass_on(request, body))

    async def _hang(self) -> web.Response:
        await self._over.wait()
        return web.Response()

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self._server + request.path, data=body, headers=headers) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)


async def _answer(status: int, text: str, headers: Any = None, kind: str = "application/json") -> web.Response:
    return web.Response(status=status, text=text, headers=headers, content_type=kind)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A llama.cpp server with the default base that wants a key."""
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")
    folder = find_model_files(DEFAULT_BASE)
    if folder is None:
        pytest.skip("the default base is not installed as a package")
    serve = [sys.executable, "-c", SERVE, str(folder / DEFAULT_BASE.weights.path), KEY]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        # llama.cpp prints lines of its own
        address = next((line for line in running.stdout if line.startswith("http")), "")
        yield address.strip()
        running.kill()


@pytest.fixture
def door(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    opened = Door(server)
    yield opened
    opened.close()


def prompts(folder: Path, rows: list[dict[str, str]] | None = None) -> Path:
    file = folder / "prompts.jsonl"
    rows = rows if rows is not None else [{"prompt": text} for text in ASKED]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def request_to(door: Door, folder: Path, **changes: Any) -> TeachRequest:
    settings = {"max_new_tokens": 200, "tries": 2, "timeout": 20} | changes
    places = {"source": prompts(folder), "out": folder / "answers.jsonl"} if "source" not in settings else {}
    return TeachRequest(teacher=door.url, **({"out": folder / "answers.jsonl"} | places | settings))


def tiny_base(folder: Path) -> Path:
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def answered(folder: Path) -> list[SheetRow]:
    rows = read_sheet(folder / "answers.jsonl")
    assert rows is not None
    return [row for row in rows if row.response]


def test_a_file_of_answers_that_an_adapter_is_made_from(door: Door, tmp_path: Path) -> None:
    door.plan = ["429", "503", "broken", "page", "empty"]
    events: list[Event] = []
    result = run(request_to(door, tmp_path, tries=5), Reporter(events.append)).to_json()
    assert [row.prompt for row in answered(tmp_path)] == ASKED
    (name,) = result["answered_by"]
    # llama.cpp calls it by its whole path.
    assert name == DEFAULT_BASE.weights.path
    assert {row.answered_by for row in answered(tmp_path)} == {name} and result["answered_by"][name] == len(ASKED)
    assert result["tokens"] > 0 and result["missing"] == 0
    # Every prompt was answered once, and asked once more for each time it went wrong.
    assert len(door.asked) == len(ASKED) + 5
    # Marked wherever it goes on.
    rows = list(read_prompts(tmp_path / "answers.jsonl"))
    assert {row.answered_by for row in rows} == {name}
    made = GenerateRequest(
        models=ModelChoice(base=str(tiny_base(tmp_path / "base"))),
        prompts=PromptChoice(source=tmp_path / "answers.jsonl"),
        solve=ContextChoice(fit_steps=0, start="base", examples=2),
        out=tmp_path / "adapter",
    )
    notes: list[Event] = []
    told = run(made, Reporter(notes.append)).to_json()
    assert told["taught_by"] == {name: len(ASKED)}
    record = read_provenance(tmp_path / "adapter")
    assert record.taught_by == {name: len(ASKED)}  # type: ignore[union-attr]
    assert f"written by a model: {len(ASKED)} by `{name}`" in (tmp_path / "adapter" / "README.md").read_text()
    assert any(isinstance(event, Note) and name in event.text for event in notes)


def test_a_server_that_dies_costs_no_answer_and_is_asked_for_the_rest(door: Door, tmp_path: Path) -> None:
    asked = request_to(door, tmp_path, at_once=1, tries=0)
    door.plan = ["", "", "die"]
    with pytest.raises(EngineError, match=r"cannot be reached.*the same command goes on"):
        run(asked, Reporter())
    before = answered(tmp_path)
    assert len(before) == 2
    # What the person changed meanwhile stays.
    sheet = read_sheet(tmp_path / "answers.jsonl") or []
    mine = SheetRow(before[0].prompt, "mine", "")
    write_sheet(tmp_path / "answers.jsonl", [mine if row.prompt == mine.prompt else row for row in sheet])
    door.dead, door.asked = False, []
    result = run(asked, Reporter()).to_json()
    assert set(door.asked) == set(ASKED) - {row.prompt for row in before}
    assert result["own_answers"] == 1 and mine in answered(tmp_path) and before[1] in answered(tmp_path)
    assert len(answered(tmp_path)) == len(ASKED)


def test_what_answers_too_late_is_asked_again_and_then_reported(door: Door, tmp_path: Path) -> None:
    door.plan = ["hang", "hang"]
    with pytest.raises(EngineError, match=r"did not answer within 1 s, tried 2 times.*timeout"):
        run(request_to(door, tmp_path, count=1, tries=1, timeout=1), Reporter())
    door.plan, door.asked = ["hang"], []
    result = run(request_to(door, tmp_path, count=1, tries=1, timeout=2, max_new_tokens=2), Reporter()).to_json()
    assert len(door.asked) == 2 and result["tokens"] > 0


def test_a_wrong_key_is_said_and_no_key_is_written(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-wrong-key-of-this-test")
    events: list[Event] = []
    with pytest.raises(EngineError, match=r"refuses the key \(401\).*OTHER_KEY") as refused:
        run(request_to(door, tmp_path, key_from="OTHER_KEY"), Reporter(events.append))
    run(request_to(door, tmp_path, count=2), Reporter(events.append))
    seen = str(refused.value) + repr(events) + "".join(file.read_text() for file in tmp_path.iterdir())
    assert KEY not in seen and "sk-wrong" not in seen
    assert len(answered(tmp_path)) == 2


def test_an_endpoint_that_keeps_answering_nonsense(door: Door, tmp_path: Path) -> None:
    door.plan = ["broken"] * 2
    with pytest.raises(EngineError, match=r"^http://127.0.0.1:\d+/v1: answers with something broken"):
        run(request_to(door, tmp_path, at_once=1, tries=1), Reporter())


def test_a_model_that_is_not_there_and_a_place_that_is_none(door: Door, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"refuses: 404.*Check teacher"):
        run(TeachRequest(source=prompts(tmp_path), out=tmp_path / "a.jsonl", teacher=f"{door.url}/nothing"), Reporter())
    nowhere = TeachRequest(
        source=prompts(tmp_path), out=tmp_path / "b.jsonl", teacher="http://name:secret@127.0.0.1:9/v1", tries=0
    )
    with pytest.raises(EngineError, match=r"^http://127.0.0.1:9/v1: cannot be reached"):
        run(nowhere, Reporter())


def test_examples_instruction_and_limits(door: Door, tmp_path: Path) -> None:
    rows = [{"prompt": "Name a bird.", "response": "robin"}, *({"prompt": text, "response": ""} for text in ASKED)]
    asked = request_to(
        door, tmp_path, source=prompts(tmp_path, rows), context="Answer in one word.", at_once=1, most_tokens=1
    )
    events: list[Event] = []
    result = run(asked, Reporter(events.append)).to_json()
    assert door.chats == [
        [
            {"role": "user", "content": "Answer in one word.\n\nName a bird."},
            {"role": "assistant", "content": "robin"},
            {"role": "user", "content": door.asked[0]},
        ]
    ]
    assert door.asked[0].startswith("Answer in one word.\n\n")
    assert result["missing"] >= len(ASKED) - 1 and result["own_answers"] == 1
    assert any(isinstance(event, Note) and "most tokens" in event.text for event in events)
    assert not any("Answer in one word" in row.prompt for row in read_sheet(asked.out) or [])


def test_a_refused_prompt_does_not_hold_up_the_others(door: Door, tmp_path: Path) -> None:
    door.plan = ["400"]
    events: list[Event] = []
    result = run(request_to(door, tmp_path, count=2, at_once=1), Reporter(events.append)).to_json()
    assert result["missing"] == 1 and len(answered(tmp_path)) == 1
    assert any(isinstance(event, Note) and event.warning and "too long" in event.text for event in events)
    door.plan = ["400"] * 2
    with pytest.raises(EngineError, match=r"refuses every prompt: .*too long"):
        run(request_to(door, tmp_path, count=1, out=tmp_path / "none.jsonl"), Reporter())


def test_an_answer_without_its_end_is_left_out(door: Door, tmp_path: Path) -> None:
    events: list[Event] = []
    source = prompts(tmp_path, [{"prompt": "Write a long story about the sea."}])
    result = run(request_to(door, tmp_path, source=source, max_new_tokens=3), Reporter(events.append)).to_json()
    assert result["missing"] == 1 and answered(tmp_path) == []
    assert any(isinstance(event, Note) and event.warning and "longer than 3 tokens" in event.text for event in events)


def test_stopping_is_heard_while_the_server_thinks(door: Door, tmp_path: Path) -> None:
    door.plan = ["", *["hang"] * 20]

    def asked_to_stop() -> bool:
        return len(door.asked) > 4  # one has its answer, four hang

    with pytest.raises(Cancelled):
        run(request_to(door, tmp_path, timeout=50), Reporter(lambda event: None, asked_to_stop))
    assert len(answered(tmp_path)) == 1


def test_a_model_of_this_machine_teaches_too(tmp_path: Path) -> None:
    teacher = str(ends_its_answers(tiny_base(tmp_path / "teacher")))
    asked = TeachRequest(source=prompts(tmp_path), out=tmp_path / "answers.jsonl", teacher=teacher, max_new_tokens=200)
    result = run(asked, Reporter()).to_json()
    rows = read_sheet(asked.out) or []
    assert [row.prompt for row in rows] == ASKED and result["tokens"] > 0
    assert result["answered_by"]["teacher"] + result["missing"] == len(ASKED)


def test_other_files_are_not_taken_for_answers(tmp_path: Path) -> None:
    source = prompts(tmp_path)
    teacher = "http://127.0.0.1:9/v1"
    (tmp_path / "notes.jsonl").write_text('{"note": "mine"}\n')
    with pytest.raises(EngineError, match="already exists"):
        run(TeachRequest(source=source, out=tmp_path / "notes.jsonl", teacher=teacher), Reporter())
    with pytest.raises(EngineError, match="is the file of the prompts"):
        run(TeachRequest(source=source, out=source, teacher=teacher), Reporter())
    write_sheet(tmp_path / "other.jsonl", [SheetRow("Something else.", "yes")])
    with pytest.raises(EngineError, match=r"holds 1 answers to prompts that are not in"):
        run(TeachRequest(source=source, out=tmp_path / "other.jsonl", teacher=teacher), Reporter())
    full = prompts(tmp_path, [{"prompt": text, "response": "x"} for text in ASKED])
    with pytest.raises(EngineError, match="answered already"):
        run(TeachRequest(source=full, out=tmp_path / "full.jsonl", teacher=teacher), Reporter())
