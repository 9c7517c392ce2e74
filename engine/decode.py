"""Answers to a batch of prompts, streamed.

A decode loop of its own instead of `model.generate`, for what that does not offer in one call:

    text of every row as it comes            a pane of the app follows each answer
    rows leave the batch when they are done   short answers stay cheap on a CPU
    the prompts' common beginning runs once   the rows of a task share their instruction and the system prompt
    logits of the last position only          no (rows, length, vocabulary) tensor in the prefill

Key columns of the cache, one row: common beginning | padding | rest of the prompt | answer. The attention mask hides
the padding and positions count real tokens only, so in float32 the greedy tokens are those of greedy `generate`.
Penalties of a model's generation config do not apply.

Tokens are chosen from the logits by Gumbel's trick: the one with the largest logit + temperature * noise is a sample of
softmax(logits / temperature). The noise depends on seed, prompt and step only, so all arms of a prompt draw with the
same random numbers (coupled sampling): where their logits are equal they choose the same token, and what differs
between their answers is the adapters' doing and not the dice's.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

from engine.base.network import empty_cache, has_full_attention, has_plain_cache
from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from engine.adapter.attach import AttachedModel


# Below this a prefill of its own for the common beginning costs more than it saves.
_SHORTEST_COMMON = 8


Choose: TypeAlias = "Callable[[Tensor, Sequence[int], int], Tensor]"
"""(logits (slots, vocabulary), the batch row of each slot, number of the token from 1) -> token ids (slots,)."""


def greedy(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
    """The likeliest token of each slot."""
    return logits.argmax(dim=-1)


def chooser(temperature: float, seed: int, numbers: Sequence[int]) -> Choose:
    """Greedy at temperature 0, drawn above.

    Args:
        numbers: the prompt of each row of the batch; rows with the same number draw with the same random numbers.

    Raises:
        EngineError: the temperature is negative or not finite.
    """
    if not 0 <= temperature < math.inf:
        raise EngineError(f"the temperature {temperature} is not possible", hint="0 is the lowest")
    if temperature == 0:
        return greedy

    def drawn(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
        size = logits.shape[-1]
        noise = {number: _gumbel(size, seed, number, step) for number in {numbers[row] for row in rows}}
        added = torch.stack([noise[numbers[row]] for row in rows]) * temperature
        return (logits.float() + added.float().to(logits.device)).argmax(dim=-1)

    return drawn


def _gumbel(size: int, seed: int, number: int, step: int) -> Tensor:
    """Standard Gumbel noise (size,), drawn on the CPU so that the device makes no difference."""
    digest = hashlib.sha256(f"{seed} {number} {step}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    # In double precision: single would cut the noise off at 17, where a large vocabulary still has tokens.
    uniform = torch.rand(size, generator=generator, dtype=torch.float64).clamp(min=torch.finfo(torch.float64).tiny)
    return -torch.log(-torch.log(uniform))


class AnswerPiece(NamedTuple):
    """The next piece of the answer to prompt `row`.

    tokens: tokens of that answer decoded so far.
    seconds: since its batch began to be read, without the time in which nobody asked for the next piece.
    """

    row: int
    text: str
    done: bool
    tokens: int
    seconds: float


def stream_answers(
    model: torch.nn.Module | AttachedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    adapter_names: Sequence[str] | None = None,
    choose: Choose = greedy,
    images: Mapping[str, Tensor] | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[AnswerPiece]:
    """Answer all prompts in one batch, yielding text as soon as it is certain.

    Args:
        model: a causal language model in eval(), or one with adapters attached.
        prompts_ids: token ids of each prompt, at least one each.
        max_new_tokens: longest answer, in tokens, at least 1.
        stop_ids: tokens that end an answer; they are not part of it.
        adapter_names: for each prompt the adapter that answers it (`BASE_ROW` for none), for an attached model;
            None takes the selected adapter for all, which is faster.
        choose: takes the next token of each row from its logits.
        images: what else the model takes with the one prompt (`engine.base.images`). While it is answered, the model
            must not answer a prompt with other images: it keeps where its tokens are.
        on_step: called before a batch is read and after every token of it; the place to hear that the person wants
            to stop.

    Yields:
        Pieces in the order of decoding. Every row begins with one at its first token and ends with exactly one that
        is `done`; these may be without text.
    """
    if not prompts_ids:
        return
    names = list(adapter_names) if adapter_names is not None else None
    if len(prompts_ids) > 1 and not has_plain_cache(_network(model)):
        for row, prompt in enumerate(prompts_ids):
            alone = stream_answers(
                model,
                tokenizer,
                [prompt],
                max_new_tokens=max_new_tokens,
                stop_ids=stop_ids,
                adapter_names=names[row : row + 1] if names else None,
                choose=_choose_for(row, choose),
                on_step=on_step,
            )
            yield from (piece._replace(row=row) for piece in alone)
        return
    stops = frozenset(stop_ids)
    streams = [TextStream(tokenizer) for _ in prompts_ids]
    on_step()
    began = time.perf_counter()
    # While a piece is with whoever asked for it, other batches may have their turn.
    away = 0.0
    batch = _Batch(model, prompts_ids, names, images or {})
    with torch.inference_mode():
        logits = batch.prefill()
    for number in range(1, max_new_tokens + 1):
        tokens = choose(logits, batch.rows, number).tolist()
        seconds = time.perf_counter() - began - away
        going = []
        for slot, (row, token) in enumerate(zip(batch.rows, tokens, strict=True)):
            stream, stopped = streams[row], token in stops
            text = "" if stopped else stream.push(token)
            done = stopped or number == max_new_tokens
            if done:
                text += stream.flush()
            else:
                going.append(slot)
            if text or done or number == 1:
                left = time.perf_counter()
                yield AnswerPiece(row, text, done, stream.tokens, seconds)
                away += time.perf_counter() - left
        on_step()
        if not going:
            return
        with torch.inference_mode():
            logits = batch.step([tokens[slot] for slot in going], going)


def answer_all(
    model: torch.nn.Module | AttachedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    batch: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[str]:
    """Answer many prompts greedily, `batch` at a time, prompts of like length together, longest first.

    The longest first, because a batch that does not fit into memory should fail at once.
    """
    texts = [""] * len(prompts_ids)
    order = sorted(range(len(prompts_ids)), key=lambda row: -len(prompts_ids[row]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        pieces = stream_answers(
            model,
            tokenizer,
            [prompts_ids[row] for row in rows],
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            on_step=on_step,
        )
        for piece in pieces:
            texts[rows[piece.row]] += piece.text
    return texts


def _choose_for(row: int, choose: Choose) -> Choose:
    """`choose` for a batch of one that is row `row` of the caller's."""
    return lambda logits, rows, step: choose(logits, [row], step)


class _Batch:
    """The rows that are still being answered, with their key and value cache.

    rows: the prompt number of each slot of the batch.
    """

    def __init__(
        self,
        model: torch.nn.Module | AttachedModel,
        prompts: Sequence[Sequence[int]],
        adapter_names: list[str] | None,
        images: Mapping[str, Tensor],
    ) -> None:
        self.rows = list(range(len(prompts)))
        self._prompts = prompts
        self._model = model
        self._adapter_names = adapter_names
        self._images = images
        network = _network(model)
        self._device = next(network.parameters()).device
        self._cache = empty_cache(network)
        self._mask = torch.empty(0)
        self._accepted = inspect.signature(network.forward).parameters.keys()

    def prefill(self) -> Tensor:
        """Read the prompts; logits (rows, vocabulary) of each first answer token."""
        common = self._common_beginning()
        if common:
            self._mask = self._tensor([[1] * common])
            self._forward(self._tensor([self._prompts[0][:common]]))
            self._cache.batch_repeat_interleave(len(self.rows))
            self._mask = self._mask.repeat(len(self.rows), 1)
        rests = [prompt[common:] for prompt in self._prompts]
        width = max(map(len, rests))
        # Padding is on the left, so that the last column is a real token of every row. Its id is never looked at.
        ids = self._tensor([[0] * (width - len(rest)) + list(rest) for rest in rests])
        mask = self._tensor([[0] * (width - len(rest)) + [1] * len(rest) for rest in rests])
        self._mask = torch.cat([self._mask, mask], dim=1) if common else mask
        return self._forward(ids, **self._images)

    def step(self, tokens: list[int], slots: list[int]) -> Tensor:
        """Keep only `slots` of the batch and read one token of each; logits (slots, vocabulary) of the next."""
        if len(slots) < len(self.rows):
            self.rows = [self.rows[slot] for slot in slots]
            kept = self._tensor(slots)
            self._cache.batch_select_indices(kept)
            self._mask = self._mask[kept]
            if self._adapter_names is not None:
                self._adapter_names = [self._adapter_names[slot] for slot in slots]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(slots), 1)], dim=1)
        return self._forward(self._tensor([[token] for token in tokens]))

    def _forward(self, ids: Tensor, **more: Any) -> Tensor:
        """Logits (rows, vocabulary) after `ids` (rows, new tokens), the last columns of the mask."""
        # With images there is one row, without padding, and the model knows itself where its tokens are.
        if not self._images:
            more["attention_mask"] = self._mask
        if "position_ids" in self._accepted and not self._images:
            positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)
            more["position_ids"] = positions[:, -ids.shape[1] :]
        if "logits_to_keep" in self._accepted:
            more["logits_to_keep"] = 1
        if self._adapter_names is not None:
            # The common beginning is read once for all.
            more["adapter_names"] = self._adapter_names[: len(ids)]
        out = self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, **more)
        logits: Tensor = out.logits[:, -1]
        return logits

    def _common_beginning(self) -> int:
        """How many tokens all prompts begin with, if they can be read once for all, else 0."""
        # With several adapters the beginning differs by adapter. In a sliding window padding must stay on the outside.
        several = self._adapter_names is not None and len(set(self._adapter_names)) > 1
        if len(self.rows) == 1 or several or not has_full_attention(_network(self._model)):
            return 0
        columns = zip(*self._prompts, strict=False)
        same = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        # Each prompt keeps a token of its own to be read last.
        common = min(same, min(map(len, self._prompts)) - 1)
        return common if common >= _SHORTEST_COMMON else 0

    def _tensor(self, data: Any) -> Tensor:
        return torch.tensor(data, dtype=torch.long, device=self._device)


def _network(model: torch.nn.Module | AttachedModel) -> Any:
    """The model of transformers itself, whose linear modules may be wrapped."""
    return model if isinstance(model, torch.nn.Module) else model.model


class TextStream:
    """Token ids in, text out, such that the pieces joined are the decoded whole.

    A character of several bytes can be spread over several tokens: text that ends in a replacement character is
    held back until the character is complete.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # Only ids from `_context` on are decoded; the text of those before `_shown` has been handed out already.
        self._context = 0
        self._shown = 0

    def push(self, token: int) -> str:
        """Take one token; the text that is certain now, perhaps empty."""
        self._ids.append(token)
        fresh = self._fresh()
        if not fresh or fresh.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return fresh

    def flush(self) -> str:
        """What was held back, to be shown as it is because nothing follows."""
        fresh = self._fresh()
        self._context = self._shown = len(self._ids)
        return fresh

    @property
    def tokens(self) -> int:
        """How many tokens were taken."""
        return len(self._ids)

    def _fresh(self) -> str:
        shown = self._decoded(self._ids[self._context : self._shown])
        return self._decoded(self._ids[self._context :])[len(shown) :]

    def _decoded(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)  # it is a list only for a batch
        return text
