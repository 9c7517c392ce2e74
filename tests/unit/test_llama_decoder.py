"""llama.cpp against transformers on tiny random models, in float32: the same tokens, the same ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.adapter.attach import BASE_ROW, AttachedModel
from engine.decode import AnswerPiece, stream_answers
from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageFinished
from engine.llama_cpp.base_file import base_file
from engine.llama_cpp.decoder import LlamaDecoder
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.adapter_parts import random_adapter

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

PROMPTS = [[1, 40, 50, 60], [1, 70, 80, 90, 100, 110, 120], [200]]
STOP = [2]


class Tiny(SimpleNamespace):
    """A tiny base, an adapter, and llama.cpp with both."""

    base: Any
    adapter: LoraAdapter
    decoder: LlamaDecoder

    def reference(self, prompts: list[list[int]], name: str, **changed: Any) -> list[AnswerPiece]:
        adapter = changed.pop("adapter", self.adapter)
        given = {"max_new_tokens": 20, "stop_ids": STOP} | changed
        with AttachedModel(self.base) as attached:
            attached.add("adapted", adapter)
            attached.use(None if name == BASE_ROW else name)
            return list(stream_answers(attached, self.base.tokenizer, prompts, **given))

    def answer(self, prompts: list[list[int]], names: list[str] | None = None, **changed: Any) -> list[AnswerPiece]:
        given = {"max_new_tokens": 20, "stop_ids": STOP} | changed
        return list(self.decoder.stream_answers(self.base.tokenizer, prompts, adapter_names=names, **given))


def made(family: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("DND_TUI_CACHE", str(folder))
    model = tiny_model(family)
    ref = SimpleNamespace(id=f"tiny {family}", fingerprint=family, config=model.config)
    base = SimpleNamespace(model=model, tokenizer=tiny_tokenizer(), ref=ref)
    adapter = random_adapter(derive_layout(model.config, LoraSpec(rank=2, alpha=3)), size=0.3)
    file = base_file(base, STOP, "float32", Reporter())  # type: ignore[arg-type]
    return Tiny(base=base, adapter=adapter, decoder=LlamaDecoder(file, model.config, {"adapted": adapter}))


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3"])
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield made(request.param, tmp_path_factory.mktemp("cache"), patch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield made("llama", tmp_path_factory.mktemp("cache"), patch)


def told(pieces: list[AnswerPiece], row: int) -> tuple[str, int]:
    """Text and length of an answer, which ends exactly once."""
    own = [piece for piece in pieces if piece.row == row]
    assert [piece.done for piece in own] == [False] * (len(own) - 1) + [True]
    assert own == sorted(own, key=lambda piece: piece.seconds)
    return "".join(piece.text for piece in own), own[-1].tokens


def test_base_and_adapter_answer_as_in_transformers(each: Tiny) -> None:
    pieces = each.answer(PROMPTS * 2, [BASE_ROW] * 3 + ["adapted"] * 3)
    base, adapted = each.reference(PROMPTS, BASE_ROW), each.reference(PROMPTS, "adapted")
    for row in range(3):
        assert told(pieces, row) == told(base, row)
        assert told(pieces, row + 3) == told(adapted, row)
        assert told(base, row) != told(adapted, row)


def test_a_scale_a_request(tiny: Tiny) -> None:
    layout = replace(tiny.adapter.layout, lora=replace(tiny.adapter.layout.lora, alpha=1.5))
    half = LoraAdapter(layout, tiny.adapter.a, tiny.adapter.b)
    expected = told(tiny.reference(PROMPTS[:1], "adapted", adapter=half), 0)
    assert told(tiny.answer(PROMPTS[:1], ["adapted"], scale=0.5), 0) == expected
    assert told(tiny.answer(PROMPTS[:1], ["adapted"]), 0) != expected


def test_an_answer_ends_at_any_stop_token_and_at_its_longest(tiny: Tiny) -> None:
    whole, length = told(tiny.answer(PROMPTS[:1], max_new_tokens=12, stop_ids=[2, 299]), 0)
    assert length <= 12
    ids = tiny.base.tokenizer(whole, add_special_tokens=False).input_ids
    for stops in ([ids[3]], [299, ids[3]]):
        given = {"max_new_tokens": 12, "stop_ids": stops}
        ended = told(tiny.answer(PROMPTS[:1], **given), 0)
        assert ended == told(tiny.reference(PROMPTS[:1], BASE_ROW, **given), 0)
        assert ended[1] < length
    assert told(tiny.answer(PROMPTS[:1], max_new_tokens=1), 0)[1] == 1
    # Nothing is left over from an answer that was cut off.
    assert told(tiny.answer(PROMPTS[:1], max_new_tokens=12, stop_ids=[2, 299]), 0) == (whole, length)


def test_more_turns_and_more_room_than_before(tiny: Tiny) -> None:
    turns = PROMPTS[:1]
    for more in ([130, 140], [150] * 300):
        assert told(tiny.answer(turns, ["adapted"]), 0) == told(tiny.reference(turns, "adapted"), 0)
        turns = [[*turns[0], *more]]
    assert told(tiny.answer(turns, ["adapted"]), 0) == told(tiny.reference(turns, "adapted"), 0)


def test_a_wish_to_stop_is_heard_between_tokens(tiny: Tiny) -> None:
    heard: list[AnswerPiece] = []

    def stop() -> None:
        if len(heard) >= 3:
            raise Cancelled

    stream = tiny.decoder.stream_answers(
        tiny.base.tokenizer, PROMPTS[:1], max_new_tokens=100, stop_ids=[299], on_step=stop
    )
    with pytest.raises(Cancelled):
        for piece in stream:
            heard.append(piece)
    assert 3 <= len(heard) <= 4
    assert told(tiny.answer(PROMPTS[:1]), 0) == told(tiny.reference(PROMPTS[:1], BASE_ROW), 0)


def test_a_stream_that_nobody_reads_on_leaves_nothing_behind(tiny: Tiny) -> None:
    stream = tiny.decoder.stream_answers(tiny.base.tokenizer, PROMPTS, max_new_tokens=100, stop_ids=[299])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert told(tiny.answer(PROMPTS), 1) == told(tiny.reference(PROMPTS, BASE_ROW), 1)


def test_streams_in_turns_have_slots_of_their_own(tiny: Tiny) -> None:
    tiny.decoder.prepare(4, 64)

    def stream(prompts: list[list[int]], name: str) -> Iterator[AnswerPiece]:
        names = [name] * len(prompts)
        return tiny.decoder.stream_answers(
            tiny.base.tokenizer, prompts, max_new_tokens=20, stop_ids=STOP, adapter_names=names
        )

    both = stream(PROMPTS, BASE_ROW), stream(PROMPTS[1:2], "adapted")
    found: tuple[list[AnswerPiece], list[AnswerPiece]] = [], []
    for pieces in zip_longest(*both):
        for taken, piece in zip(found, pieces, strict=True):
            taken += [piece] if piece else []
    for row in range(3):
        assert told(found[0], row) == told(tiny.reference(PROMPTS, BASE_ROW), row)
    assert told(found[1], 0) == told(tiny.reference(PROMPTS[1:2], "adapted"), 0)

    first = stream(PROMPTS[:1], BASE_ROW)
    next(first)
    with pytest.raises(ValueError, match="before the first"):
        tiny.decoder.prepare(4, 100_000)
    first.close()  # type: ignore[attr-defined]


def test_signals_stay_with_python(tiny: Tiny, tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        LlamaDecoder(tiny.decoder._base, tiny.base.model.config, {}).prepare(1, 32)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_the_base_is_written_once_and_whole(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DND_TUI_CACHE", str(tmp_path))
    events: list[Event] = []

    def stop_at(tensors: int) -> Callable[[], bool]:
        asked = iter(range(tensors))
        return lambda: next(asked, None) is None

    with pytest.raises(Cancelled):
        base_file(tiny.base, STOP, "float32", Reporter(cancelled=stop_at(6)))
    assert not list((tmp_path / "gguf").glob("*.gguf")) and not list((tmp_path / "gguf").glob("*.part"))
    file = base_file(tiny.base, STOP, "float32", Reporter(events.append))
    [written] = [event for event in events if isinstance(event, StageFinished)]
    assert file.name in str(written.note) and "once" in str(written.note)
    before = file.stat().st_ino
    assert base_file(tiny.base, STOP, "float32", Reporter(events.append)) == file
    assert file.stat().st_ino == before and len([event for event in events if isinstance(event, StageFinished)]) == 1
    half = base_file(tiny.base, STOP, "float16", Reporter())
    assert half != file and half.stat().st_size < file.stat().st_size


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EngineError, match="llama.cpp cannot load the base"):
        LlamaDecoder(broken, None, {}).prepare(1, 32)  # type: ignore[arg-type]
