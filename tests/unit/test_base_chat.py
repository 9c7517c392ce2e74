"""How a base is asked and where its answers end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.chat import answer_ids, answers_ids, prompt_ids, prompt_text, prompts_ids, stop_ids
from engine.errors import EngineError
from tests.tiny_tokenizer import CHATML, TURNS, tiny_tokenizer

CHAT, GEMMA, PLAIN = tiny_tokenizer(CHATML), tiny_tokenizer(TURNS), tiny_tokenizer(None)


def test_a_prompt_ends_where_the_answer_begins() -> None:
    assert CHAT.decode(prompt_ids(CHAT, "Hi")) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_template_alone_sets_the_start_token() -> None:
    ids = prompt_ids(GEMMA, "Hi")
    assert ids.count(GEMMA.bos_token_id) == 1
    assert GEMMA.decode(ids) == "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"


def test_without_a_template_the_prompt_stands_alone() -> None:
    assert PLAIN.decode(prompt_ids(PLAIN, "Hi")) == "Hi\n"


def test_a_tokenizer_that_closes_every_text_leaves_the_prompt_open() -> None:
    class Closing:
        chat_template = None
        eos_token_id = 2

        def __call__(self, texts: list[str]) -> SimpleNamespace:
            return SimpleNamespace(input_ids=[[1, 7, 2] for _ in texts])

    assert prompt_ids(Closing(), "x") == [1, 7]  # type: ignore[arg-type]


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    texts = ["Yes", "", "a much longer one, ünïcode and all"]
    for tokenizer in (CHAT, GEMMA, PLAIN):
        assert prompts_ids(tokenizer, texts) == [prompt_ids(tokenizer, text) for text in texts]
        assert answers_ids(tokenizer, texts) == [answer_ids(tokenizer, text) for text in texts]
        assert prompts_ids(tokenizer, []) == answers_ids(tokenizer, []) == []


NO_SYSTEM = TURNS.replace(
    "{{ bos_token }}",
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}",
)
LEFT_OUT = CHATML.replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
)


def test_turns_and_a_system_text_stand_before_the_prompt() -> None:
    assert prompt_text(CHAT, "And?", [("Hi", "Yes")], "Be brief.") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt_text(PLAIN, "And?", [("Hi", "Yes")], "Be brief.") == "Be brief.\n\nHi\nYes\n\nAnd?\n"


@pytest.mark.parametrize("template", [NO_SYSTEM, LEFT_OUT], ids=["refused", "left out"])
def test_a_system_text_that_a_template_does_not_take_goes_into_the_first_message(template: str) -> None:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.chat_template = template
    shown = prompt_text(tokenizer, "And?", [("Hi", "Yes")], " Be brief. ")
    assert shown.count("Be brief.") == 1 and shown.index("Be brief.") < shown.index("Hi") < shown.index("And?")
    assert "user\n Be brief. \n\nHi" in shown or "user\nBe brief. \n\nHi" in shown
    assert "system" not in shown


def test_an_answer_ends_with_the_end_of_the_turn() -> None:
    assert answer_ids(CHAT, "Yes") == [*CHAT("Yes", add_special_tokens=False).input_ids, CHAT.eos_token_id]
    assert GEMMA.decode(answer_ids(GEMMA, "Yes")) == "Yes<end_of_turn>"
    assert PLAIN.decode(answer_ids(PLAIN, "Yes")) == "Yes<|im_end|>"


@given(st.text(max_size=40), st.text(max_size=40))
def test_prompt_and_answer_are_what_the_template_writes(prompt: str, answer: str) -> None:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    whole = CHAT(CHAT.apply_chat_template(turns, tokenize=False), add_special_tokens=False).input_ids
    ours = prompt_ids(CHAT, prompt) + answer_ids(CHAT, answer)
    assert whole[: len(ours)] == ours


def test_stop_ids_come_from_model_tokenizer_and_template() -> None:
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[2, 9]))
    marks = GEMMA.convert_tokens_to_ids("<end_of_turn>")
    assert stop_ids(GEMMA, model) == sorted({2, 9, marks})  # type: ignore[arg-type]
    model.generation_config.eos_token_id = None
    assert stop_ids(CHAT, model) == [CHAT.eos_token_id]  # type: ignore[arg-type]


def test_a_template_that_refuses_is_told() -> None:
    broken = tiny_tokenizer("{{ raise_exception('no user turns') }}")
    with pytest.raises(EngineError, match="no user turns"):
        prompt_ids(broken, "Hi")
