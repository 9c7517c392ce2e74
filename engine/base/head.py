"""From the last hidden states to logits, for those positions that are asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.base.products import exact_products


def output_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (…, vocabulary) in float32 after the model's final norm gave `hidden` (…, hidden size)."""
    # The head is large and the positions are few: to round its weights would take longer than the product.
    with exact_products():
        logits: Tensor = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
