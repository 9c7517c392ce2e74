"""Token ids in, text out, piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextStream:
    """Token ids in, text out, such that the pieces joined are the decoded whole.

    A character of several bytes can be spread over several tokens: text that ends in a replacement character is
    held back until the character is complete.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # Only ids from `_context` on are decoded; the text of those before `_told` has been handed out already.
        self._context = 0
        self._told = 0

    def push(self, token: int) -> str:
        """Take one token; the text that is certain now, perhaps empty."""
        self._ids.append(token)
        fresh = self._fresh()
        if not fresh or fresh.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._context, self._told = self._told, len(self._ids)
        return fresh

    def flush(self) -> str:
        """What was held back, to be shown as it is because nothing follows."""
        fresh = self._fresh()
        self._context = self._told = len(self._ids)
        return fresh

    @property
    def tokens(self) -> int:
        """How many tokens were taken."""
        return len(self._ids)

    def _fresh(self) -> str:
        told = self._decoded(self._ids[self._context : self._told])
        return self._decoded(self._ids[self._context :])[len(told) :]

    def _decoded(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)  # it is a list only for a batch
        return text
