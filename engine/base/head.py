"""From the last hidden states to logits, for those positions that are asked for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def output_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (…, vocabulary) in float32 after the model's final norm gave `hidden` (…, hidden size)."""
    logits: Tensor = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
