"""Scores of many chains on the same rows, running as few layers as possible.

    base, once a batch     input of every layer, and what else the layer is given: mask, position embeddings
    a chain                longest beginning whose hidden states are known --> the layers after it --> norm
                           --> output head at answer positions only --> is the label the argmax everywhere? its loss

Greedy decoding writes exactly the label where and only where the label's token is the argmax at every answer
position of one pass over prompt and label. So nothing is decoded (Monte Carlo search asks for hundreds of scores).

The rows' common beginning is read once (`engine.training.packing`) where the base has full attention in all layers;
with sliding windows each row is a padded sequence of its own.

Layers are called one by one, each with what the base itself gives it: a layer brings its own kind of mask along to
wherever the chain puts it. No KV cache is involved. Known hidden states are used as they are, not computed again in
another shape, so a score does not depend on what was scored before (difference 0.0).

Scores are remembered on disk, in one JSON file that is always whole; a search that was stopped goes on from there:

    {"belongs_to": {…}, "chains": {"0-12,15-29": [{"exact": [true, …], "loss": [2.3, …]}, … a part each]}}
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.adapter.attach import attach
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import padding_id
from engine.base.device import dtype_name, explain_out_of_memory
from engine.base.network import has_full_attention, output_logits
from engine.depth.chain import Chain, format_chain, identity, parse_chain
from engine.depth.record import adapter_digest
from engine.depth.scores import RowScores, joined
from engine.depth.search import Score
from engine.depth.view import decoder_layers
from engine.errors import ANOTHER_OUT, EngineError, setting
from engine.events import Reporter
from engine.files import digest_json, read_json, write_json
from engine.training.packing import IGNORED, TokenRow, pack, packed_length, take_that_fit

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

# Of hidden states that are kept besides the base's own.
_KEPT_BYTES = 2**28
# Of one packed sequence: attention costs the square of it.
_PACK_TOKENS = 512
# Answer tokens whose logits are there at the same time: 4 bytes for each token of the vocabulary.
_HEAD_TOKENS = 512
# Rows of a padded batch when chains are judged.
_JUDGED_AT_ONCE = 16
_SECONDS_BETWEEN_WRITES = 2.0


@dataclass(frozen=True)
class _Batch:
    """Rows as sequences, and what the base's layers get for them.

    rows: how many. real: (sequences, length), what is no padding.
    places: (sequences, length), the positions whose logits predict a token of an answer.
    targets, owners: (answer tokens,), the token, and the row that it belongs to.
    given: by layer, its arguments besides the hidden states.
    states: (sequences, length, hidden) after the first n layers of the base, by n; the first is the embedding.
    """

    rows: int
    real: Tensor
    places: Tensor
    targets: Tensor
    owners: Tensor
    given: Sequence[dict[str, Any]]
    states: Sequence[Tensor]


class ChainScorer:
    """Scores chains of `model` on batches of rows.

    Args:
        model: a causal language model in eval(), with or without an adapter attached and selected.
        parts: rows, part by part; each part is one batch.
        pad_id: token for padding; nothing ever looks at it.
        on_step: called before every layer, and before logits: the person may want to stop. May be set anew.

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
        self.on_step = on_step
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
        weight = self._model.get_input_embeddings().weight
        packs = _packs(rows) if has_full_attention(self._model) else [[row] for row in rows]
        packed = pack(packs, self._pad_id).to(weight.device)
        inputs: dict[str, Tensor] = {"input_ids": packed.ids}
        if has_full_attention(self._model):
            inputs |= {"position_ids": packed.positions, "attention_mask": packed.additive_mask(weight.dtype)}
        real = torch.zeros_like(packed.ids, dtype=torch.bool)
        for number, each in enumerate(packs):
            real[number, : packed_length(each)] = True
        given: list[dict[str, Any]] = []
        states: list[Tensor] = []

        def note(layer: nn.Module, got: tuple[Tensor, ...], others: dict[str, Any]) -> None:
            self.on_step()
            states.append(got[0])
            given.append(others)

        hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in self._layers]
        hooks.append(self._layers[-1].register_forward_hook(lambda layer, got, output: states.append(_only(output))))
        try:
            last = self._model.base_model(**inputs, use_cache=False).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        self.layers_run += len(self._layers) * len(rows)
        if not torch.equal(self._model.base_model.norm(states[-1]), last):
            raise EngineError(f"it is not known what {type(self._model).__name__} does after its layers")
        places = packed.targets != IGNORED
        owners = torch.tensor([number for number, row in enumerate(rows) for _ in row.answer], device=weight.device)
        return _Batch(len(rows), real, places, packed.targets[places], owners, given, states)

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
        self.on_step()
        self.layers_run += batch.rows
        return _only(self._layers[layer](hidden, **batch.given[layer]))

    def _keep(self, key: tuple[int, Chain], hidden: Tensor) -> None:
        self._kept[key] = hidden
        self._kept_bytes += hidden.nbytes
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes

    def _scores(self, hidden: Tensor, batch: _Batch) -> RowScores:
        states = self._model.base_model.norm(hidden[batch.places])
        pieces = zip(states.split(_HEAD_TOKENS), batch.targets.split(_HEAD_TOKENS), strict=True)
        found = [self._compared(piece, targets) for piece, targets in pieces]
        wrong, losses = torch.cat([one for one, _ in found]), torch.cat([one for _, one in found])
        none = torch.zeros(batch.rows, device=losses.device)
        wrong_tokens = none.index_add(0, batch.owners, wrong)
        loss = none.index_add(0, batch.owners, losses) / torch.bincount(batch.owners, minlength=batch.rows)
        return RowScores(tuple((wrong_tokens == 0).tolist()), tuple(loss.tolist()))

    def _compared(self, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Final states (n, hidden) and what should be written there (n,) -> 1 where it would not be, and its loss."""
        self.on_step()
        logits = output_logits(self._model, states)
        losses = nn.functional.cross_entropy(logits, targets, reduction="none")
        return (logits.argmax(dim=-1) != targets).float(), losses


class ScoreMemory:
    """Remembers every score, in memory and in `path`.

    Args:
        path: the file; what is in it is known from the start.
        belongs_to: plain data, all that a score depends on besides chain and part.
        layers: of the base.
        score: asked for what is not known; a chain's parts in order.

    Raises:
        EngineError: the file cannot be read, is none of these, or belongs to something else.
    """

    def __init__(self, path: Path, belongs_to: Mapping[str, Any], layers: int, score: Score) -> None:
        self._path = path
        self._belongs_to = dict(belongs_to)
        self._score = score
        self._written = time.monotonic()
        self._known: dict[Chain, list[RowScores]] = _remembered(path, self._belongs_to, layers) if path.exists() else {}

    @property
    def known(self) -> dict[Chain, list[RowScores]]:
        """By chain, its scores on the first parts."""
        return {chain: parts for chain, parts in self._known.items() if parts}

    def score(self, chain: Chain, part: int) -> RowScores:
        """The scores of a chain on a part, remembered or asked for."""
        parts = self._known.setdefault(chain, [])
        if part == len(parts):
            parts.append(self._score(chain, part))
            if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
                self.save()
        return parts[part]

    def save(self) -> None:
        """Write all of it. Raises EngineError when it cannot be written."""
        chains = {format_chain(chain): [asdict(part) for part in parts] for chain, parts in self.known.items()}
        write_json(self._path, {"belongs_to": self._belongs_to, "chains": chains})
        self._written = time.monotonic()


def held_out_scores(
    base: LoadedBase, model: Any, chains: Sequence[Chain], rows: Sequence[TokenRow], reporter: Reporter
) -> dict[Chain, RowScores]:
    """By chain, the scores on all of `rows`, in their order.

    Args:
        model: of `base`, with or without an adapter attached.
        rows: those of like length beside one another.
    """
    batches = [rows[start : start + _JUDGED_AT_ONCE] for start in range(0, len(rows), _JUDGED_AT_ONCE)]
    parts: dict[Chain, list[RowScores]] = {chain: [] for chain in chains}
    with reporter.stage("judge", len(parts) * len(batches), "batches") as stage, explain_out_of_memory(setting("rows")):
        for batch in batches:
            # A scorer a batch: what it keeps of one is of no use for the next.
            scorer = ChainScorer(model, [batch], padding_id(base.tokenizer), lambda: stage.advance(0))
            for chain, known in parts.items():
                known.append(scorer.score(chain, 0))
                stage.advance(1)
    return {chain: joined(known) for chain, known in parts.items()}


def scored_with(base: LoadedBase, adapter: Path | None, rows: Sequence[TokenRow]) -> dict[str, Any]:
    """All that a score depends on besides the chain, as plain data: base, adapter folder, rows in their order."""
    return {
        "base": base.ref.fingerprint,
        "number_format": dtype_name(base.dtype),
        "adapter": adapter_digest(adapter),
        "set_of_rows": digest_rows(rows),
    }


def digest_rows(rows: Sequence[TokenRow]) -> str:
    """SHA-256 of rows and their order."""
    return digest_json([[row.prompt, row.answer] for row in rows])


@contextmanager
def adapted_model(base: LoadedBase, adapter: Path | None) -> Iterator[Any]:
    """The model of `base`, with the adapter of a PEFT folder on it if there is one, while open.

    Raises:
        EngineError: the adapter cannot be read, or does not fit the base.
    """
    with attach(base, read_peft_folder(adapter)[0] if adapter else None) as attached:
        yield attached.model


def _packs(rows: Sequence[TokenRow]) -> list[list[TokenRow]]:
    """The rows in their order, as many in one sequence as fit."""
    packs: list[list[TokenRow]] = []
    done = 0
    while done < len(rows):
        packs.append(take_that_fit(rows[done:], _PACK_TOKENS))
        done += len(packs[-1])
    return packs


def _only(output: Any) -> Tensor:
    """The hidden states among what a layer gives back."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden


def _remembered(path: Path, belongs_to: Mapping[str, Any], layers: int) -> dict[Chain, list[RowScores]]:
    data = read_json(path, hint=f"{ANOTHER_OUT}, or remove the file")
    broken = EngineError("is not the state of a search", where=str(path), hint=ANOTHER_OUT)
    if not isinstance(data, dict) or not isinstance(data.get("belongs_to"), dict):
        raise broken
    for name, value in belongs_to.items():
        if data["belongs_to"].get(name) != value:
            problem = f"the search here is on another {name.replace('_', ' ')}"
            raise EngineError(problem, where=str(path.parent), hint=f"{ANOTHER_OUT}, or go back to that setting")
    try:
        return {
            parse_chain(text, layers): [RowScores(tuple(part["exact"]), tuple(part["loss"])) for part in parts]
            for text, parts in data["chains"].items()
        }
    except (EngineError, KeyError, TypeError, AttributeError):
        raise broken from None
