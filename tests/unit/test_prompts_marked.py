"""Chats written as one text are cut at their marks, and only those."""

from __future__ import annotations

import pytest

from engine.prompts.chats import last_exchange
from engine.prompts.marked import marked_turns


@pytest.mark.parametrize(
    ("text", "prompt", "answer"),
    [
        ("### Human: Ask### Assistant: Say", "Ask", "Say"),
        ("<|im_start|>system\nBe brief.<|im_end|><|im_start|>user\nAsk<|im_end|><|im_start|>assistant\nSay<|im_end|>",
         "Be brief.\n\nAsk", "Say"),
        ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nAsk [/INST] Say </s>", "Be brief.\n\nAsk", "Say"),
        ("<s>[INST] One [/INST] Two</s>[INST] Ask [/INST] Say</s>", "Ask", "Say"),
        ("<|user|>\nAsk</s>\n<|assistant|>\nSay</s>", "Ask", "Say"),
        ("<|start_header_id|>user<|end_header_id|>\n\nAsk<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSay",
         "Ask", "Say"),
        ("<start_of_turn>user\nAsk<end_of_turn>\n<start_of_turn>model\nSay<end_of_turn>", "Ask", "Say"),
        ("Do what is asked.\n\n### Instruction:\nAsk\n\n### Input:\nthis\n\n### Response:\nSay",
         "Do what is asked.\n\nAsk\n\nthis", "Say"),
        ("\n\nHuman: One\n\nAssistant: Two\n\nHuman: Ask\n\nAssistant: Say\nmore", "Ask", "Say\nmore"),
        ("User: Ask\nAssistant: Say", "Ask", "Say"),
        ("User: Ask Assistant: Say", "Ask", "Say"),
        ("Q: Ask\nA: Say", "Ask", "Say"),
        ("Instruction: Ask\nOutput: Say", "Ask", "Say"),
        ("A chat. USER: Ask ASSISTANT: Say</s>", "A chat.\n\nAsk", "Say"),
        ("<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>Ask<\uff5cAssistant\uff5c>Say", "Ask", "Say"),
        ("<|start_of_role|>user<|end_of_role|>Ask<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>Say"
         "<|end_of_text|>", "Ask", "Say"),
        ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Ask<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Say",
         "Ask", "Say"),
        ("<|start|>user<|message|>Ask<|end|><|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
         "<|start|>assistant<|channel|>final<|message|>Say<|return|>", "Ask", "Say"),
        ("<|im_start|>user\nAsk<|im_end|><|im_start|>tool\nfound<|im_end|><|im_start|>assistant\nSay<|im_end|>",
         "Ask", "Say"),
    ],
)  # fmt: skip
def test_marks_part_the_prompt_from_the_answer(text: str, prompt: str, answer: str) -> None:
    turns = marked_turns(text)
    assert turns is not None
    assert last_exchange(turns) == (prompt, answer)


@pytest.mark.parametrize(
    "text",
    [
        "Ask",
        "Q: One\nA: Two\nQ: Ask\nA:",  # examples before a question: one prompt
        "### Human: Ask\n### Assistant:",
        "A user: asks. The answer: unknown",
        "Why does the User: field stay empty? Assistant: see below",
        "### Heading\nText",
        "A: first option\nB: second option",
    ],
)
def test_other_texts_stay_whole(text: str) -> None:
    assert marked_turns(text) is None
