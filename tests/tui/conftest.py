"""The app on a tiny base: real engine processes, folders of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from textual.app import App
from textual.pilot import Pilot

from engine.condition import ConditionSpec, TextEncoder
from engine.forge.card import generator_card
from engine.generator.artifact import save_generator
from engine.generator.generator import Generator, GeneratorSpec
from engine.host import EngineProcess, Message
from engine.requests import ModelChoice
from engine.weights.frame import Frame, fresh_frame, generated_shapes, in_half_precision
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.tokens import token_grid
from tests.tui.on_screen import lines

# A wait that long has failed; machines that are busy with other things are slow.
PATIENCE = 90.0


@pytest.fixture
def app_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings and data of the app live under this folder."""
    monkeypatch.setenv("DND_TUI_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("DND_TUI_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_generator(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator artifact for the tiny Llama."""
    return random_generator(tiny_llama_folder, tmp_path_factory.mktemp("generators") / "tiny-generator")


def random_generator(base: Path, folder: Path) -> Path:
    """Write a generator for a tiny base to `folder`: random weights and the real text encoder."""
    from engine.base.fetch import resolve_encoder
    from engine.base.load import resolve_base

    ref = resolve_base(str(base))
    encoder = TextEncoder(resolve_encoder(), torch.device("cpu"), None)
    layout = derive_layout(ref.config, LoraSpec(rank=2, alpha=4))
    fresh = fresh_frame(layout, "shared_a", seed=1)
    torch.manual_seed(0)
    b = {path: in_half_precision(torch.randn(matrix.shape) * 0.05) for path, matrix in fresh.b.items()}
    frame = Frame(layout, "shared_a", fresh.a, b)
    condition = ConditionSpec(prompts=4, tokens=6, channels=384, encoder=encoder.fingerprint)
    tokens = token_grid(generated_shapes(layout, "shared_a"), layout.lora.rank).tokens
    spec = GeneratorSpec(condition, ((4, 4, 8),), 3, {"id": ref.id, "fingerprint": ref.fingerprint})
    generator = Generator(spec, frame, torch.full((tokens,), 0.02))
    torch.nn.init.normal_(generator.decoder.blocks[-1].over_n.weight)
    save_generator(folder, generator.eval().requires_grad_(False), generator_card(generator))
    return folder


class KeptEngine(EngineProcess):
    """An engine process that one app after the other uses: importing its libraries takes longer than most tests.

    To an app it is one of its own, with models of earlier tests in memory. Not for tests of cold starts, crashes,
    limits or left-over processes.
    """

    def lend(self, on_message: Callable[[Message], None]) -> KeptEngine:
        """To the next app."""
        self._on_message = on_message
        return self

    def close(self) -> None:
        """The app ends: its jobs end, the process stays."""
        self._on_message = lambda message: None
        for job in list(self._waiting):
            self.cancel(job)
        while self._waiting:
            time.sleep(0.01)

    def end(self) -> None:
        """No test follows."""
        super().close()


@pytest.fixture(scope="session")
def _engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, KeptEngine]]:
    logs = tmp_path_factory.mktemp("logs")
    engines = {name: KeptEngine(lambda message: None, logs / name) for name in ("engine.log", "files.log")}
    yield engines
    for engine in engines.values():
        engine.end()


@pytest.fixture(autouse=True)
def _keep_engines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apps use engine processes that are there already, except where a test is marked `own_engine`."""
    if "app_folders" in request.fixturenames and request.node.get_closest_marker("own_engine") is None:
        engines = request.getfixturevalue("_engines")
        monkeypatch.setattr(
            "dnd_tui.engine_link.EngineProcess", lambda on_message, log: engines[log.name].lend(on_message)
        )


@pytest.fixture
def tiny_models(tiny_llama_folder: Path, tiny_generator: Path) -> ModelChoice:
    """The tiny base and its generator, on the CPU."""
    return ModelChoice(base=str(tiny_llama_folder), generator=tiny_generator, device="cpu")


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """Twelve labelled prompts."""
    file = tmp_path / "animals and legs.jsonl"
    names = ["cat", "dog", "ant", "spider", "crab", "hen", "cow", "bee", "owl", "fox", "eel", "bat"]
    rows = [{"prompt": f"How many legs has a {name}?", "response": str(len(name))} for name in names]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def until(pilot: Pilot[None], condition: Callable[[], object], what: str = "") -> None:
    """Let the app go on until `condition` holds; fails when it never does."""
    began = time.monotonic()
    while not (_has_its_widgets(pilot.app) and condition()):
        if time.monotonic() - began > PATIENCE:
            screen = "\n".join(lines(pilot.app))
            raise AssertionError(f"waited in vain for {what or condition}; the screen:\n{screen}")
        await pilot.pause(0.02)


def _has_its_widgets(app: App[None]) -> bool:
    """A screen that was just pushed is the app's screen before it has composed: nothing can be asked of it yet."""
    return not app.screen_stack or app.screen.is_mounted
