"""Texts that begin alike: what they share is read once, its keys and values serve all of them.

    beginning --read once--> cache --a copy a row--> rests of the rows, padded at their ends --> last hidden states
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.base.attention import empty_cache

_CACHED_TOKENS = 6144


def rows_at_once(longest: int) -> int:
    """How many rows of at most `longest` tokens, their beginning among them, are read at a time: for their keys and
    values, which the beginning has once a row.
    """
    return max(1, _CACHED_TOKENS // longest)


class SharedBeginning:
    """A beginning that the model has read. What is attached to the model takes part.

    Only for models whose cache is keys and values alone (`engine.base.attention.has_plain_cache`), unless the beginning
    is empty.
    """

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        """Read token ids; none is a beginning too."""
        self._model = model
        self._cache = None
        if ids:
            self._cache = empty_cache(model)
            told = torch.tensor([list(ids)], device=next(model.parameters()).device)
            model.base_model(input_ids=told, past_key_values=self._cache, use_cache=True)

    def read(self, ids: Tensor) -> Tensor:
        """Rows after the beginning, ids (rows, width) padded at their ends -> last hidden states (rows, width, hidden).

        No mask is needed: padding comes after the row, so the model's own causal mask is right for every attention.
        """
        cache = copy.deepcopy(self._cache)
        if cache is not None:
            cache.batch_repeat_interleave(len(ids))
        hidden: Tensor = self._model.base_model(
            input_ids=ids, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        return hidden
