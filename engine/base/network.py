"""What the layers of a base reach, what its cache holds, and from its last hidden states to logits."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.base.device import exact_products

if TYPE_CHECKING:
    from transformers import DynamicCache


def without_head(model: Any) -> Any:
    """A causal language model without its output head; of a model that reads images too, what reads text."""
    return model.base_model if model.config.get_text_config() is model.config else model.get_decoder()


def layer_list(model: Any) -> torch.nn.ModuleList | None:
    """The list of a model's layers; None where there is no list of as many as its config states."""
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = (part for part in without_head(model).modules() if isinstance(part, torch.nn.ModuleList))
    return next((part for part in lists if len(part) == count), None)


def empty_cache(network: Any) -> DynamicCache:
    """The cache that `network` fills while it generates, with nothing in it."""
    from transformers import DynamicCache

    return DynamicCache(config=network.config.get_text_config())


def has_full_attention(network: torch.nn.Module) -> bool:
    """Whether every token attends to all before it, in all layers.

    A sliding window or a recurrent or convolutional layer reaches by distance in the sequence, whatever a mask has:
    rows that share one can then see each other, or miss their own beginning.
    """
    from transformers.cache_utils import DynamicLayer

    layers = empty_cache(network).layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def takes_positions(network: Any) -> bool:
    """Whether the place of each token in its text can be given, as rows that share a sequence need it."""
    return "position_ids" in inspect.signature(without_head(network).forward).parameters


def has_plain_cache(network: torch.nn.Module) -> bool:
    """Whether all the model caches are keys and values of its layers: no state of recurrent layers.

    Only then can rows be taken out of a batch, and layers out of the model.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in empty_cache(network).layers)


def output_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (…, vocabulary) in float32 after the model's final norm gave `hidden` (…, hidden size)."""
    # The head is large and the positions are few: to round its weights would take longer than the product.
    with exact_products():
        logits: Tensor = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
