"""Which program decodes, and how many threads it takes: pure choices."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError
from engine.llama_cpp.choice import chosen_decoder, unwritable
from engine.llama_cpp.threads import free_cores, llama_threads
from engine.requests import LLAMA_CPP, TRANSFORMERS
from tests.tiny import tiny_config

CAN = {"device": "cpu", "dtype": "float32", "chain": False, "temperature": 0.0, "here": True}


def choose(asked: str = "auto", family: str = "llama", config: dict[str, Any] | None = None, **changed: Any) -> Any:
    return chosen_decoder(asked, tiny_config(family, **(config or {})), **(CAN | changed))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_llama_cpp_wherever_it_answers_as_transformers_does(family: str) -> None:
    found = choose(family=family)
    assert (found.name, found.reason) == (LLAMA_CPP, "")
    assert choose(LLAMA_CPP, family) == found


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"here": False}, "not installed"),
        ({"device": "cuda"}, "on cuda"),
        ({"dtype": "bfloat16"}, "in bfloat16"),
        ({"chain": True}, "chains of layers"),
        ({"temperature": 0.7}, "temperature"),
        ({"family": "gemma2"}, "type gemma2"),
        ({"config": {"attention_bias": True}}, "biases"),
        ({"config": {"hidden_act": "gelu"}}, "gelu"),
        (
            {"config": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}},
            "rotary positions",
        ),
        (
            {"family": "qwen2", "config": {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}},
            "window",
        ),
        ({"hindrance": "GGUF has no name for this"}, "no name for this"),
    ],
)
def test_transformers_otherwise_with_the_reason(changed: dict[str, Any], reason: str) -> None:
    found = choose(**changed)
    assert found.name == TRANSFORMERS
    assert reason in found.reason
    with pytest.raises(EngineError, match=reason) as refused:
        choose(LLAMA_CPP, **changed)
    assert refused.value.where == "decoder"
    assert ("pip install" if "here" in changed else "transformers") in str(refused.value.hint)


def test_transformers_by_name_needs_no_reason() -> None:
    assert choose(TRANSFORMERS).reason == choose(TRANSFORMERS, here=False).reason == ""


def test_several_prompts_are_read_by_transformers_unless_llama_cpp_is_asked_for() -> None:
    found = choose(at_once=2)
    assert found.name == TRANSFORMERS and "several prompts" in found.reason
    assert choose(LLAMA_CPP, at_once=2).name == LLAMA_CPP


def test_a_window_of_mistral_is_seen() -> None:
    config = tiny_config("llama")
    config.model_type, config.sliding_window = "mistral", 64
    assert "window" in unwritable(config)
    config.sliding_window = None
    assert unwritable(config) == ""


@pytest.mark.parametrize(
    ("physical", "busy", "threads"), [(2, 0.1, 1), (4, 0.6, 3), (2, 2.0, 1), (8, 3.2, 5), (1, 0.0, 1), (8, 20.0, 1)]
)
def test_as_many_threads_as_cores_are_free(physical: int, busy: float, threads: int) -> None:
    assert free_cores(physical, busy) == threads


def test_there_is_always_a_thread_on_this_machine() -> None:
    assert llama_threads() >= 1
