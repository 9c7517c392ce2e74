"""The job behind `chat`: every arm reads the chat with its own answers, as far back as the base reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_parts import random_adapter

from engine.base.chat import prompts_ids, stop_ids
from engine.decode import answer_all
from engine.errors import EngineError
from engine.events import AnswersBy, AnswerText, Event, Reporter, TurnsLeftOut
from engine.jobs import run
from engine.jobs.command_line import command_line
from engine.pipeline import load_chosen_base
from engine.requests import ChatRequest, Exchange, ModelChoice
from tests.tiny import tiny_config
from tests.unit.adapter_parts import write_peft_folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "lo.ra"
    write_peft_folder(folder, random_adapter(tiny_config("llama")), "tiny")
    return folder


@pytest.fixture
def ask(tiny_llama_folder: Path, adapter: Path) -> ChatRequest:
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu", dtype="float32")
    return ChatRequest(
        models=models, adapters=(adapter,), with_base=True, message="hello", max_new_tokens=6, decoder="transformers"
    )


def answer(request: ChatRequest, sink: Any = lambda event: None) -> dict[str, str]:
    answers: dict[str, str] = run(request, Reporter(sink)).to_json()["answers"]
    return answers


def lengths(request: ChatRequest) -> dict[str, int]:
    """How many tokens each arm reads."""
    events: list[Event] = []
    run(request, Reporter(events.append))
    return {event.arm: event.asked for event in events if isinstance(event, AnswerText)}


def by_the_base(request: ChatRequest, earlier: list[tuple[str, str]]) -> str:
    """What the base answers to the whole chat, asked in another way."""
    base = load_chosen_base(request.models, Reporter())
    ids = prompts_ids(base.tokenizer, [request.message], earlier, request.system)
    stops = stop_ids(base.tokenizer, base.model)
    [text] = answer_all(base.model, base.tokenizer, ids, max_new_tokens=request.max_new_tokens, stop_ids=stops, batch=1)
    return text


@pytest.mark.parametrize(
    ("changed", "arms"),
    [
        ({}, ("base",)),
        ({"adapters": (Path("x/lora"),)}, ("adapted",)),
        ({"adapters": (Path("x/lora"),), "with_base": True}, ("base", "adapted")),
        ({"adapters": (Path("x/one"), Path("x/base")), "with_base": True}, ("base", "one", "base 2")),
        ({"adapters": (Path("x/one"), Path("x/base"))}, ("one", "base")),
        ({"chain": "0"}, ("chain",)),
        ({"chain": "0", "adapters": (Path("x"),), "with_base": True}, ("base", "adapted", "chain")),
    ],
)
def test_who_answers(changed: dict[str, Any], arms: tuple[str, ...]) -> None:
    assert ChatRequest(models=ModelChoice(), **changed).arms == arms


def test_each_goes_on_from_its_own_answers(ask: ChatRequest) -> None:
    first = answer(ask)
    assert first["base"] == by_the_base(ask, []) and first["base"] != first["adapted"]
    events: list[Event] = []
    second = replace(ask, message="and now?", earlier=(Exchange(message="hello", answers=first),))
    answers = answer(second, events.append)
    assert answers["base"] == by_the_base(second, [("hello", first["base"])])
    # An answer of the other one in its place makes another chat of it.
    swapped = replace(second, earlier=(Exchange(message="hello", answers=dict.fromkeys(first, first["base"])),))
    assert answer(swapped)["base"] == answers["base"] and answer(swapped)["adapted"] != answers["adapted"]
    pieces = [event for event in events if isinstance(event, AnswerText)]
    assert {piece.row for piece in pieces} == {2} and {piece.arm for piece in pieces} == {"base", "adapted"}
    for arm, text in answers.items():
        own = [piece for piece in pieces if piece.arm == arm]
        assert "".join(piece.text for piece in own) == text and [piece.done for piece in own].count(True) == 1


def test_what_an_arm_did_not_answer_it_does_not_read(ask: ChatRequest) -> None:
    before = lengths(ask)
    after = lengths(replace(ask, earlier=(Exchange(message="stopped", answers={"adapted": "so"}),)))
    assert before["base"] == before["adapted"] == after["base"] < after["adapted"]


def test_the_system_text_is_read_first(ask: ChatRequest) -> None:
    told = replace(ask, system="Be brief.")
    assert answer(told)["base"] == by_the_base(told, []) != answer(ask)["base"]


def test_one_adapter_and_a_chain_answer_alone_as_they_do_together(ask: ChatRequest) -> None:
    together = answer(ask)
    assert answer(replace(ask, with_base=False)) == {"adapted": together["adapted"]}
    assert answer(replace(ask, adapters=())) == {"base": together["base"]}
    # The base's own layers, with the adapter.
    chained = answer(replace(ask, chain="0-1"))
    assert chained == together | {"chain": together["adapted"]}


def test_the_oldest_messages_go_where_the_base_reads_no_more(ask: ChatRequest) -> None:
    window = load_chosen_base(ask.models, Reporter()).ref.config.max_position_embeddings
    long = "x" * (window // 3)
    earlier = tuple(Exchange(message=long, answers={"base": "yes", "adapted": "no"}) for _ in range(3))
    events: list[Event] = []
    answers = answer(replace(ask, earlier=earlier), events.append)
    left_out = [event for event in events if isinstance(event, TurnsLeftOut)]
    assert [(event.arm, event.window) for event in left_out] == [("base", window), ("adapted", window)]
    [turns] = {event.turns for event in left_out}
    assert 0 < turns < 3 and answers == answer(replace(ask, earlier=earlier[turns:]))
    assert str(left_out[0]).endswith(f"no longer read: the base reads {window:,} tokens")
    with pytest.raises(EngineError, match=f"and the base reads {window:,}"):
        answer(replace(ask, message="x" * window))


def test_drawn_answers_differ_by_seed_and_by_message(ask: ChatRequest) -> None:
    drawn = replace(ask, temperature=1.5)
    assert answer(drawn) == answer(drawn) != answer(replace(drawn, sampling_seed=1))


def test_llama_cpp_goes_on_with_what_it_has_read(ask: ChatRequest, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")
    monkeypatch.setenv("DND_TUI_CACHE", str(tmp_path))
    events: list[Event] = []
    fast = replace(ask, decoder="llama.cpp")
    first = answer(fast, events.append)
    assert first == answer(ask) and [e.decoder for e in events if isinstance(e, AnswersBy)] == ["llama.cpp"]
    earlier = (Exchange(message="hello", answers=first),)
    assert answer(replace(fast, earlier=earlier)) == answer(replace(ask, earlier=earlier))


def test_what_cannot_be_is_told_before_anything_is_loaded(ask: ChatRequest, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="adapter_config.json|no such"):
        answer(replace(ask, adapters=(tmp_path / "nothing",)))
    with pytest.raises(EngineError, match="one adapter at most"):
        answer(replace(ask, adapters=ask.adapters * 2, chain="0"))
    with pytest.raises(EngineError, match="no message"):
        answer(replace(ask, message=" \n"))


def test_its_command_holds_no_messages(ask: ChatRequest) -> None:
    line = command_line(replace(ask, system="Be brief.", earlier=(Exchange(message="hello"),)))
    assert line.startswith(f"dnd-tui chat {ask.adapters[0]} --with-base --system 'Be brief.'") and "hello" not in line
