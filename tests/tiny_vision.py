"""Tiny random models that read images and text, as folders; where Pillow alone carries it, with their processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Idefics3Config,
    LlavaConfig,
    PretrainedConfig,
    Qwen2_5_VLConfig,
    SmolVLMConfig,
)

from tests.tiny import tiny_config
from tests.tiny_tokenizer import tiny_tokenizer

IMAGE = "<image>"
PARTS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template that takes a turn as a list of parts, and nothing of a turn that is a text."""
PATCH, SIDE = 8, 32


def vision_config(family: str) -> PretrainedConfig:
    """Two layers for text, two for images; the image token comes after those of `tiny_tokenizer`."""
    text = tiny_config("qwen2" if family.startswith("qwen") else "llama", initializer_range=0.15)
    marks = {"image_token_id": 259, "pad_token_id": 0, "tie_word_embeddings": True}
    seen: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    seen |= {"image_size": SIDE, "patch_size": PATCH}
    if family == "qwen2_5_vl":
        words = text.to_dict() | {
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
        }
        eyes = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
        places = {"vision_start_token_id": 298, "vision_end_token_id": 299, "video_token_id": 301}
        return Qwen2_5_VLConfig(text_config=words, vision_config=eyes, **places, **marks)
    if family == "llava":
        return LlavaConfig(text_config=text, vision_config=CLIPVisionConfig(**seen), **marks)
    kind = {"smolvlm": SmolVLMConfig, "idefics3": Idefics3Config}[family]
    return kind(text_config=text, vision_config=seen, scale_factor=2, **marks)


def vision_folder(folder: Path, family: str) -> Path:
    """A random model of the family in `folder`, with tokenizer and, of "llava", the processor."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(vision_config(family))
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer(PARTS)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    tokenizer.save_pretrained(folder)
    if family == "llava":
        from transformers import CLIPImageProcessor, LlavaProcessor

        eyes = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
        LlavaProcessor(
            eyes, tokenizer, patch_size=PATCH, vision_feature_select_strategy="default",
            num_additional_image_tokens=1, image_token=IMAGE, chat_template=PARTS,
        ).save_pretrained(folder)  # fmt: skip
    return folder
