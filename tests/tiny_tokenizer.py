"""A byte-level tokenizer made on the spot: no merges, one token a byte, special tokens first."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def tiny_tokenizer(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """Ids: 0 pad, 1 start of text, 2 end of text, then the marks of the turns, then the 256 bytes."""
    if template == TURNS:
        special, marks = ["<pad>", "<bos>", "<eos>"], ["<start_of_turn>", "<end_of_turn>"]
    else:
        special, marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], []
    words = [*special, *marks, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # As in Gemma: the marks are added tokens, but not declared special.
    backend.add_tokens(marks)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=special[0], bos_token=special[1], eos_token=special[2]
    )
    tokenizer.chat_template = template
    return tokenizer
