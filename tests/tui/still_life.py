"""The app with nothing in it that changes from run to run: its engine answers at once, and always the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

import pytest

from dnd_tui.config import data_folder
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore
from dnd_tui.state.histories import AskedPrompt
from dnd_tui.state.library import Library
from engine.adapter.consumers import consumers
from engine.adapter.formats import FORMATS, NUMBER_SIZES
from engine.base.source import BaseSource
from engine.events import (
    AnswersScored,
    AnswerText,
    Event,
    Reporter,
    StageAdvanced,
    StageFinished,
    StageStarted,
    TurnsLeftOut,
    UpdateNorms,
)
from engine.host import Finished, JobEnded, JobEvent, Message
from engine.jobs import run
from engine.jobs.results import Result
from engine.requests import (
    ChatRequest,
    CompareRequest,
    DepthRequest,
    GenerateRequest,
    InfoRequest,
    LoadRequest,
    ModelsRequest,
    PreviewRequest,
    RefineRequest,
    Request,
)
from engine.weights.layout import Layout, LayoutModule, LoraSpec
from tests.tui.still_chains import chain_data, chain_events

EXAMPLE = Path(__file__).parents[2] / "assets" / "examples" / "topics.jsonl"
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
NORMS = {
    f"model.layers.{layer}.{module}": (1 + layer / 10 + at / 7, 1.0)
    for layer in range(30)
    for at, module in enumerate(
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    )
}  # fmt: skip
ANSWERS = {
    1: {"base": ("The text is about a marathon.", 0.0), "adapter": ("sport", 1.0)},
    2: {"base": ("A warm wind from the south dried the fields.", 0.0), "adapter": ("weather", 1.0)},
    3: {"base": ("Food and parties.", 1.0), "adapter": ("music", 0.0)},
}
UNSCORED = {"base": ("Ships and lights.", None), "adapter": ("Lights and ships.", None)}
ASKED = [
    AskedPrompt(
        prompt=prompt,
        answers={"base": base, "topics, 8 prompts": adapted},
        when=f"2024-11-0{day}T12:00:00+00:00",
        base=BASE,
        adapters=("topics, 8 prompts",),
        source=source,
        turn=turn,
    )
    for day, prompt, base, adapted, source, turn in (
        (2, "Which topic is this?\nRain stopped the match.", "A match.", "sport", "topics.jsonl", 0),
        (3, "Who won?", "The home team.", "sport", "", 2),
        (4, "She baked two loaves.", "Bread.", "food", "", 0),
    )
]
MODELS = [
    {"name": "SmolLM2-135M-Instruct", "kind": "base", "size": 93_000_000, "where": "/models/smollm2"},
    {"name": "all-MiniLM-L6-v2", "kind": "encoder", "size": 84_000_000, "where": "/models/minilm"},
    {"name": "released generator", "kind": f"generator for {BASE}", "size": 13_000_000, "where": "/models/generator"},
]
SOLVED_NORMS = {path: (norm, 0.0) for path, (norm, _) in NORMS.items() if path.endswith(("o_proj", "down_proj"))}
ARMS = {"base": (38, 0.21), "examples": (402, 0.64), "solved": (38, 0.21)}
HELD_OUT: dict[str, Any] = {
    "sentence": "7 of 8 right; the base alone 2; always answering 'sport' 2; with examples in the prompt 7",
    "metric": "label",
    "rows": 8,
    "scores": {"base": 0.25, "examples": 0.875, "solved": 0.875},
    "differences": ["The solved adapter is better than the base alone (p = 0.016)"],
    "arms": {
        arm: {"tokens_per_query": tokens, "seconds_per_query": seconds} for arm, (tokens, seconds) in ARMS.items()
    },
}
ADAPTER = Layout((LayoutModule("model.layers.0.self_attn.q_proj", 576, 576),), LoraSpec(8, 16, ("q_proj",)))


def _verdicts(form: str) -> list[dict[str, Any]]:
    base = BaseSource(BASE, "llama", Path("/models/base.gguf"))
    return [asdict(each) for each in consumers(PurePath("/library/topics/adapter"), ADAPTER, base, form=form)]


FORM_DATA = {
    name: {
        "bytes": {
            each: size * (134_515_008 if form.holds_base else 2_442_240)
            for each, size in NUMBER_SIZES.items()
            if each in form.float_types
        },
        "refused": None,
        "consumers": _verdicts(name),
    }
    for name, form in FORMATS.items()
}


class StillEngine:
    """Stands where `engine.host.EngineProcess` does. Reading prompts is the real job; nothing else is done.

    A generator's adapter is left unfinished, at its end; one from answered rows is done.
    """

    pid = None

    def __init__(self, on_message: Callable[[Message], None]) -> None:
        self._on_message = on_message
        self._jobs = 0

    def submit(self, request: Request) -> int:
        """Answer before anybody could wait."""
        self._jobs += 1
        for event in _events(request):
            self._on_message(JobEvent(self._jobs, event))
        if not (isinstance(request, GenerateRequest) and request.solve.made_from == "generator"):
            self._on_message(JobEnded(self._jobs, Finished(_result(request))))
        return self._jobs

    def cancel(self, job: int) -> None:
        """There is nothing to stop."""

    def close(self) -> None:
        """There is nothing to end."""


def _result(request: Request) -> Result:
    if isinstance(request, PreviewRequest):
        return run(request, Reporter())
    data: dict[type[Request], dict[str, Any]] = {
        ModelsRequest: {
            "models": [entry | {"licence": "Apache-2.0", "present": True, "source": "a package"} for entry in MODELS]
        },
        InfoRequest: {"kind": "adapter", "consumers": FORM_DATA["peft"]["consumers"], "formats": FORM_DATA},
        LoadRequest: {},
        CompareRequest: {},
        ChatRequest: {},
        DepthRequest: chain_data(),
    }
    if isinstance(request, GenerateRequest):
        return Result(_solved(request), ())
    if isinstance(request, RefineRequest):
        return Result(_trained(request), ())
    return Result(data[type(request)], ())


def _events(request: Request) -> list[Event]:
    if isinstance(request, GenerateRequest):
        if request.solve.made_from == "generator":
            return [*_stages(GENERATED), UpdateNorms(NORMS)]
        layers = [UpdateNorms({path: pair}) for path, pair in SOLVED_NORMS.items()]
        return [*_stages(SOLVED), *layers]
    if isinstance(request, RefineRequest):
        losses = [StageAdvanced("train", step, 400, step / 2, {"loss": 3 / step**0.5}) for step in range(1, 49)]
        looks = [
            StageAdvanced("train", step, 400, step / 2, {"watched_nats": nats, "watched_right": right})
            for step, nats, right in ((0, 2.1, 1.0), (8, 1.2, 3.0), (16, 0.9, 5.0), (24, 0.95, 4.0), (48, 1.0, 4.0))
        ]
        return [StageStarted("train", 400), *looks, *losses, *_stages(TRAINED), UpdateNorms(SOLVED_NORMS)]
    if isinstance(request, DepthRequest):
        return chain_events()
    if isinstance(request, ChatRequest):
        left_out = [TurnsLeftOut("base", 1, 8192)] if len(request.earlier) == 2 else []
        texts = {"base": f"This is answer {request.number}. How can I help you?", "adapted": "sport"}
        pieces = [AnswerText(request.number, arm, texts[arm], True, 9, 1.5, asked=48) for arm in request.arms]
        return [*left_out, *pieces]
    if isinstance(request, CompareRequest):
        return [
            AnswersScored("label", ("sport", "weather", "food", "music")),
            *(
                AnswerText(row, arm, text, done=True, tokens=9, seconds=1.5, score=score, asked=48)
                for row in (*(-place for place in range(1, len(request.texts) + 1)), *request.numbers)
                for arm, (text, score) in zip(request.arms, ANSWERS.get(row, UNSCORED).values(), strict=False)
                if row < 0 or row in ANSWERS
            ),
        ]
    return []


GENERATED = {"import": 2.1, "load": 3.4, "read": 0.01, "encode": 0.52, "decode": 0.08, "detokenise": 0.06}
SOLVED = {
    "import": 2.1, "read": 0.01, "load": 3.4, "context": 4.2, "solve": 1.9, "fit": 4.1, "check": 8.6,
    "attach": 0.1, "write": 0.2,
}  # fmt: skip
TRAINED = {"import": 2.1, "read": 0.01, "load": 3.4, "train": 24.0, "check": 8.6, "attach": 0.1, "write": 0.2}
STEPS = {"encode": 32, "context": 30, "solve": 30, "fit": 8, "check": 24}


def _solved(request: GenerateRequest) -> dict[str, Any]:
    """What a run with answered rows tells at its end."""
    assert request.prompts is not None
    request.out.mkdir(parents=True)
    (request.out / "adapter_config.json").write_text('{"r": 8}')
    return {
        "adapter": str(request.out),
        "bytes": 1_226_398,
        "parameters": 301_440,
        "base": BASE,
        "seconds": SOLVED,
        "made_from": "examples",
        "reason": "40 answers found",
        "instruction": "",
        "rows": 32,
        "examples": 8,
        "fit_steps": 8,
        "start": "base",
        "held_out": HELD_OUT,
        "prompts": {"column": "prompt", "labels": "response", "digest": "5819b61a8842"},
    }


def _trained(request: RefineRequest) -> dict[str, Any]:
    """What a training tells at its end."""
    request.out.mkdir(parents=True)
    (request.out / "adapter_config.json").write_text('{"r": 8}')
    arms = {"base": "base", "examples": "examples", "solved": "refined"}
    held_out = HELD_OUT | {
        name: {arms[arm]: value for arm, value in HELD_OUT[name].items()} for name in ("scores", "arms")
    }
    return {
        "adapter": str(request.out),
        "bytes": 1_226_398,
        "parameters": 301_440,
        "base": BASE,
        "seconds": TRAINED,
        "start": "adapter",
        "rows": 26,
        "watched": 6,
        "steps": 48,
        "best_step": 16,
        "ended": "no more gain",
        "held_out": held_out | {"differences": []},
    }


def _stages(seconds: dict[str, float]) -> list[Event]:
    events: list[Event] = []
    for stage, took in seconds.items():
        steps = STEPS.get(stage)
        events.append(StageStarted(stage, steps))
        if steps:
            events.append(StageAdvanced(stage, steps, steps, took))
        events.append(StageFinished(stage, took, memory=684_000_000))
    return events


@pytest.fixture
def still_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the example prompts; the folders of the app in it."""
    home = tmp_path / "home"
    data = home / "data"
    data.mkdir(parents=True)
    prompts = data / "topics.jsonl"
    prompts.write_bytes(EXAMPLE.read_bytes())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DND_TUI_CONFIG", str(home / "config"))
    monkeypatch.setenv("DND_TUI_DATA", str(home / "app"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir("/")
    monkeypatch.setattr("dnd_tui.screens.generate.facts.when_words", lambda when, now: "12:00")
    monkeypatch.setattr("dnd_tui.engine_link.EngineProcess", lambda on_message, log: StillEngine(on_message))
    return prompts


def fill_library(prompts: Path) -> list[AdapterRecord]:
    """Two adapters of long ago, the newer one measured; the newer first."""
    library = Library(data_folder() / "library")
    made = []
    for number, name in enumerate(("topics", "topics, 8 prompts")):
        id = f"2024110{number + 1}-120000-000000"
        folder = library.folder / id / "adapter"
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"")
        (folder / "adapter_config.json").write_text('{"r": 8}')
        record = AdapterRecord(
            id=id,
            name=name,
            folder=folder,
            dataset=prompts.name,
            source=prompts,
            column=None,
            count=8 if number else None,
            seed=0,
            base_id=BASE,
            base="default",
            generator=None,
            generator_digest="5819b61a8842",
            device="auto",
            dtype="auto",
            made=f"2024-11-0{number + 1}T12:00:00+00:00",
            seconds={"import": 2.1, "load": 3.4, "encode": 0.5, "decode": 0.1, "detokenise": 0.1, "write": 0.2},
            warm=bool(number),
            parameters=2_442_240,
            bytes=9_826_398,
            norms=NORMS,
            scores=_scores() if number else (),
            picks={"base": 1, "adapted": 3} if number else {},
        )
        made.append(library.add(record))
    return made[::-1]


def _scores() -> tuple[AdapterScore, ...]:
    means = {"base": 0.05, "adapted": 0.28}
    return tuple(AdapterScore(arm=arm, metric="rouge_l", rows=40, mean=mean) for arm, mean in means.items())
