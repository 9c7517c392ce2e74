"""Texts that begin alike: what they share is read once, its keys and values serve all of them.

    beginning --read once--> cache --> rests of the rows --> last hidden states

Where the model takes a mask of ours, the rests of several rows are one line after the beginning, so that its keys and
values are there once; elsewhere they are copied, once a row.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.base.network import empty_cache, has_full_attention, takes_positions

if TYPE_CHECKING:
    from transformers import DynamicCache

_CACHED_TOKENS = 6144
# Longer lines waste attention between rows that do not see one another.
_LINE_TOKENS = 512


def rows_at_once(model: Any, beginning: int, longest: int) -> int:
    """How many rows with at most `longest` tokens after a beginning are read at a time."""
    if beginning and takes_lines(model):
        return max(1, _LINE_TOKENS // longest)
    return max(1, _CACHED_TOKENS // (beginning + longest))


class SharedBeginning:
    """A beginning that the model has read. What is attached to the model takes part.

    Only for models whose cache is keys and values alone (`engine.base.network.has_plain_cache`), unless the beginning
    is empty.
    """

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        """Take token ids; none is a beginning too."""
        self._model = model
        self._ids = list(ids)
        self._cache = empty_cache(model) if ids else None
        self._in_line = bool(ids) and takes_lines(model)

    def begin(self) -> None:
        """Read the beginning. Where `in_step` runs the passes, a layer of it is read before rows reach that layer."""
        if self._ids:
            ids = torch.tensor([self._ids], device=next(self._model.parameters()).device)
            self._model.base_model(input_ids=ids, past_key_values=self._cache, use_cache=True)

    def read(self, ids: Tensor) -> Tensor:
        """Rows after the beginning, ids (rows, width) padded at their ends -> last hidden states (rows, width, hidden).

        The model's modules see the same tokens in the same order, all rows in one line or each in its own.
        """
        if self._cache is None:
            # Padding comes after the row: the model's own causal mask is right.
            return self._hidden(input_ids=ids, use_cache=False)
        if not self._in_line:
            cache = copy.deepcopy(self._cache)
            cache.batch_repeat_interleave(len(ids))
            return self._hidden(input_ids=ids, past_key_values=cache, use_cache=True)
        rows, width = ids.shape
        positions = torch.arange(len(self._ids), len(self._ids) + width, device=ids.device).repeat(rows)
        hidden = self._hidden(
            input_ids=ids.reshape(1, -1),
            position_ids=positions[None],
            attention_mask=self._mask(rows, width, ids.device),
            past_key_values=_after(self._cache, len(self._ids)),
            use_cache=True,
        )
        return hidden.reshape(rows, width, -1)

    def _hidden(self, **inputs: Any) -> Tensor:
        hidden: Tensor = self._model.base_model(**inputs).last_hidden_state
        return hidden

    def _mask(self, rows: int, width: int, device: torch.device) -> Tensor:
        """Added to attention scores (1, 1, tokens, beginning and tokens): a row sees the beginning and itself."""
        dtype = next(self._model.parameters()).dtype
        own = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        seen = torch.block_diag(*[own] * rows).bool()
        before = seen.new_ones(rows * width, len(self._ids))
        mask = torch.zeros(rows * width, len(self._ids) + rows * width, dtype=dtype, device=device)
        return mask.masked_fill_(~torch.cat([before, seen], 1), torch.finfo(dtype).min)[None, None]


def _after(beginning: DynamicCache, length: int) -> DynamicCache:
    """A cache of one line after a beginning of `length` tokens. It gives the beginning's keys and values, of each layer
    when they are asked for, and keeps nothing itself.
    """
    from transformers import DynamicCache

    class After(DynamicCache):
        def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
            layer: Any = beginning.layers[layer_idx]
            return torch.cat([layer.keys, key_states], -2), torch.cat([layer.values, value_states], -2)

        def get_seq_length(self, layer_idx: int = 0) -> int:
            return length

    return After()


def takes_lines(model: Any) -> bool:
    """Whether rows can be one line after their beginning."""
    return has_full_attention(model) and takes_positions(model)
