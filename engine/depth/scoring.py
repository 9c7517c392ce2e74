"""Scores of many chains on the same rows, running as few layers as possible.

    base, once a batch     input of every layer, and what else the layer is given: mask, position embeddings
    a chain                longest beginning whose hidden states are known --> the layers after it --> norm
                           --> output head at answer positions only --> is the label the argmax everywhere? its loss

Greedy decoding writes exactly the label where and only where the label's token is the argmax at every answer
position of one pass over prompt and label. So nothing is decoded (Monte Carlo search asks for hundreds of scores).

Layers are called one by one, each with what the base itself gives it: a layer brings its own kind of mask along to
wherever the chain puts it. No KV cache is involved. Known hidden states are used as they are, not computed again in
another shape, so a score does not depend on what was scored before (difference 0.0).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from engine.base.head import output_logits
from engine.depth.chain import Chain, identity
from engine.depth.scores import RowScores
from engine.depth.view import decoder_layers
from engine.errors import EngineError
from engine.forge.packing import TokenRow

# Of hidden states that are kept besides the base's own.
_KEPT_BYTES = 2**29


@dataclass(frozen=True)
class _Batch:
    """Padded rows, and what the base's layers get for them.

    real: (rows, length), what is no padding.
    places: (answer tokens, 2), row and position whose logits predict the token. targets: (answer tokens,), the token.
    given: by layer, its arguments besides the hidden states.
    states: (rows, length, hidden) after the first n layers of the base, by n; the first is the embedding.
    """

    rows: int
    real: Tensor
    places: Tensor
    targets: Tensor
    given: Sequence[dict[str, Any]]
    states: Sequence[Tensor]


class ChainScorer:
    """Scores chains of `model` on batches of rows.

    Args:
        model: a causal language model in eval(), with or without an adapter attached and selected.
        parts: rows, part by part; each part is one padded batch.
        pad_id: token for padding; nothing ever looks at it.
        on_step: called before every layer; the place to hear that the person wants to stop.

    Raises:
        EngineError: the model's layers cannot be run in another order.
    """

    def __init__(
        self,
        model: Any,
        parts: Sequence[Sequence[TokenRow]],
        pad_id: int,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._layers = decoder_layers(model)
        self._parts = parts
        self._pad_id = pad_id
        self._on_step = on_step
        self._batches: dict[int, _Batch] = {}
        self._kept: OrderedDict[tuple[int, Chain], Tensor] = OrderedDict()
        self._kept_bytes = 0
        self._base = identity(len(self._layers))
        self.layers_run = 0
        """Layers run so far, counted once a row."""

    def score(self, chain: Chain, part: int) -> RowScores:
        """The scores of a valid chain on the rows of one part."""
        with torch.inference_mode():
            batch = self._batch(part)
            known, hidden = self._longest_known(part, batch, chain)
            for place in range(known, len(chain)):
                hidden = self._run(chain[place], hidden, batch)
                self._keep((part, chain[: place + 1]), hidden)
            return self._scores(hidden, batch)

    def influence(self, part: int) -> tuple[float, ...]:
        """Block influence of each layer on the rows of a part: 1 - cos(layer input, layer output), mean over tokens."""
        with torch.inference_mode():
            batch = self._batch(part)
            turns = (nn.functional.cosine_similarity(a, b, dim=-1) for a, b in pairwise(batch.states))
            return tuple(1 - turn[batch.real].mean().item() for turn in turns)

    def _batch(self, part: int) -> _Batch:
        if part not in self._batches:
            self._batches[part] = self._read(self._parts[part])
        return self._batches[part]

    def _read(self, rows: Sequence[TokenRow]) -> _Batch:
        """Run the base on `rows` and keep what its layers got and gave."""
        device = self._model.get_input_embeddings().weight.device
        # Padding on the right: no real token looks that way, so it needs no mask.
        ids = torch.full((len(rows), max(map(len, rows))), self._pad_id, device=device)
        real = torch.zeros_like(ids, dtype=torch.bool)
        places: list[tuple[int, int]] = []
        targets: list[int] = []
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor([*row.prompt, *row.answer])
            real[number, : len(row)] = True
            places += [(number, len(row.prompt) - 1 + step) for step in range(len(row.answer))]
            targets += row.answer
        given: list[dict[str, Any]] = []
        states: list[Tensor] = []

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], others: dict[str, Any]) -> None:
            self._on_step()
            states.append(inputs[0])
            given.append(others)

        hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in self._layers]
        hooks.append(self._layers[-1].register_forward_hook(lambda layer, inputs, output: states.append(_only(output))))
        try:
            last = self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        self.layers_run += len(self._layers) * len(rows)
        if not torch.equal(self._model.base_model.norm(states[-1]), last):
            raise EngineError(f"it is not known what {type(self._model).__name__} does after its layers")
        return _Batch(
            len(rows), real, torch.tensor(places, device=device), torch.tensor(targets, device=device), given, states
        )

    def _longest_known(self, part: int, batch: _Batch, chain: Chain) -> tuple[int, Tensor]:
        """How many of the chain's first layers need not be run, and the hidden states after them."""
        for length in range(len(chain), 0, -1):
            if chain[:length] == self._base[:length]:
                return length, batch.states[length]
            key = (part, chain[:length])
            if key in self._kept:
                self._kept.move_to_end(key)
                return length, self._kept[key]
        return 0, batch.states[0]

    def _run(self, layer: int, hidden: Tensor, batch: _Batch) -> Tensor:
        self._on_step()
        self.layers_run += batch.rows
        return _only(self._layers[layer](hidden, **batch.given[layer]))

    def _keep(self, key: tuple[int, Chain], hidden: Tensor) -> None:
        self._kept[key] = hidden
        self._kept_bytes += hidden.nbytes
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes

    def _scores(self, hidden: Tensor, batch: _Batch) -> RowScores:
        rows, positions = batch.places.T
        logits = output_logits(self._model, self._model.base_model.norm(hidden[rows, positions]))
        wrong = logits.argmax(dim=-1) != batch.targets
        losses = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
        counts = torch.bincount(rows, minlength=batch.rows)
        wrong_tokens = torch.zeros(batch.rows, device=losses.device).index_add(0, rows, wrong.float())
        loss = torch.zeros(batch.rows, device=losses.device).index_add(0, rows, losses) / counts
        return RowScores(tuple((wrong_tokens == 0).tolist()), tuple(loss.tolist()))


def _only(output: Any) -> Tensor:
    """The hidden states among what a layer gives back."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
