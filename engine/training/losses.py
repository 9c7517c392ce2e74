"""Losses of answers: of rows teacher-forced through a base, and of many adapters in one batch, to train them.

Many LoRA adapters on one frozen base, each with its own rows:

    x (E·P, S, in) --A--> (E, P·S, rank) --B of adapter e--> (E, P·S, out) --> added to the linear module's output

Adapter e answers the sequences e·P … (e+1)·P - 1. The gradient of each adapter comes from its own rows alone,
so training E adapters in one batch equals training them one by one (tested).
`peft`'s own mixed batches are for inference only, hence this module.

Bits per byte of reference answers, teacher-forced: how surprising the right answer is to the model.

    bits per byte = sum of the answer's nats / ln 2 / UTF-8 bytes of its text

The answer stands where it would be generated, in the base's chat format, and the token that ends the turn counts:
an adapter that has learned the task has also learned where to stop. Per byte, so that tokenizers can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.base.chat import padding_id
from engine.base.network import has_plain_cache, output_logits, without_head
from engine.base.prefix import SharedBeginning, rows_at_once
from engine.training.packing import IGNORED, PackedBatch, TokenRow, common_prefix, pack
from engine.weights.layout import Layout

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


Body = Callable[..., Any]


@contextmanager
def adapters_in_batch(
    model: nn.Module, layout: Layout, a: Mapping[str, Tensor], b: Mapping[str, Tensor]
) -> Iterator[None]:
    """While open, the linear modules of `layout` add their adapters' updates.

    a[path]: (rank, in) shared by all adapters, or (E, rank, in). b[path]: (E, out, rank). The model's weights
    are not touched; gradients flow to `a` and `b` wherever they ask for it. Both are looked up at every pass: other
    matrices may be put into them meanwhile.
    """
    hooks = []

    def update(path: str) -> object:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = inputs[0]
            down, up = a[path], b[path]
            grouped = x.reshape(up.shape[0], -1, x.shape[-1]).to(down.dtype)
            inner = grouped @ down.transpose(-1, -2)
            return output + (torch.bmm(inner, up.transpose(-1, -2)) * scaling).reshape(output.shape).to(output.dtype)

        return add

    scaling = layout.lora.scaling
    try:
        for module in layout.modules:
            hooks.append(model.get_submodule(module.path).register_forward_hook(update(module.path)))  # type: ignore[arg-type]
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def compiled_body(model: nn.Module, wanted: bool) -> Iterator[Body]:
    """The model without its output head, compiled by torch if `wanted`; on CUDA its kernels are captured as graphs too.

    Every shape of batch and every number of adapters is compiled anew; other adapters of the same shapes are not, as
    long as the same `adapters_in_batch` is open.
    """
    if not wanted:
        yield without_head(model)
        return
    # A small model's step is mostly launches. A batch's tensors and the adapters are copied to where the graph reads.
    mode = "reduce-overhead" if next(model.parameters()).is_cuda else None
    try:
        yield torch.compile(without_head(model), dynamic=False, mode=mode)
    finally:
        # What was compiled holds these hooks' matrices, and dynamo does not look at hooks again.
        torch.compiler.reset()


def answer_logits(model: nn.Module, batch: PackedBatch, body: Body | None = None) -> Tensor:
    """What the model makes of every answer token, before the softmax: (T, vocabulary), line by line and row by row.

    The output head runs at answer positions only. Packed rows never see one another, as long as the model reaches
    other tokens by full attention alone (`engine.base.network`): their mask is given to it as it is. Lines of one
    row the model masks as it masks any text; that is right for every causal model, since padding comes after the row.

    Args:
        body: the model without its head, see `compiled_body`; None is the model's own.
    """
    given: dict[str, Tensor] = {}
    if not batch.one_row_a_line:
        mask = batch.additive_mask(next(model.parameters()).dtype)
        given = {"position_ids": batch.positions, "attention_mask": mask}
    run = without_head(model) if body is None else body
    hidden = run(input_ids=batch.ids, use_cache=False, **given).last_hidden_state  # type: ignore[operator]
    return output_logits(model, hidden[batch.targets != IGNORED])


def answer_losses(model: nn.Module, batch: PackedBatch, body: Body | None = None) -> Tensor:
    """Negative log-likelihood of every answer token, in nats: (T,) float32, in the order of `answer_logits`."""
    targets = batch.targets[batch.targets != IGNORED]
    return nn.functional.cross_entropy(answer_logits(model, batch, body), targets, reduction="none")


def token_losses(model: nn.Module, batch: PackedBatch, adapters: int, body: Body | None = None) -> Tensor:
    """Mean negative log-likelihood of the answer tokens of each adapter's rows, in nats: (E,) float32.

    `body` as in `answer_logits`.
    """
    return mean_by_adapter(answer_losses(model, batch, body), batch, adapters)


def mean_by_adapter(losses: Tensor, batch: PackedBatch, adapters: int) -> Tensor:
    """Losses of the answer tokens (T,), in the order of `answer_logits` -> their mean over each adapter's rows (E,)."""
    asked = batch.targets != IGNORED
    packs = batch.ids.shape[0] // adapters
    owner = (torch.arange(batch.ids.shape[0], device=batch.ids.device) // packs)[:, None].expand_as(asked)[asked]
    total = torch.zeros(adapters, device=losses.device).index_add(0, owner, losses)
    count = torch.zeros(adapters, device=losses.device).index_add(0, owner, torch.ones_like(losses))
    return total / count.clamp_min(1.0)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher, in nats a token: (T, vocabulary) logits -> (T,)."""
    known, made = (nn.functional.log_softmax(logits.float(), dim=-1) for logits in (teacher, student))
    return (known.exp() * (known - made)).sum(-1)


def bits_per_byte(nats: Sequence[float], sizes: Sequence[int]) -> float | None:
    """Of all answers together: `nats` and UTF-8 bytes of each; None where there are no bytes."""
    return sum(nats) / math.log(2) / sum(sizes) if sum(sizes) else None


@torch.inference_mode()
def answer_nats(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None] = lambda: None
) -> list[float]:
    """Negative log-likelihood of each row's answer, summed over its tokens, in nats.

    What is attached to the base's model takes part.

    Args:
        rows: of one task, at least one; their common beginning is read once, where the base's layers allow that.
        batch: rows at a time, at most.
        on_step: called before each forward pass; the place to hear that the person wants to stop.
    """
    return [float(losses.double().sum()) for losses, _ in _answers(base, rows, batch, on_step)]


@torch.inference_mode()
def answer_figures(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None] = lambda: None
) -> list[tuple[float, int, bool]]:
    """Of each row's answer: what `answer_nats` gives, how many tokens it has, and whether every one of them, the end of
    the turn too, is the likeliest where it stands: what greedy decoding would write. Arguments as in `answer_nats`.
    """
    found = _answers(base, rows, batch, on_step)
    return [(float(losses.double().sum()), len(losses), bool(hits.all())) for losses, hits in found]


def _answers(
    base: LoadedBase, rows: Sequence[TokenRow], batch: int, on_step: Callable[[], None]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each row's answer, by token: nats, and whether it is the likeliest."""
    model, fill = base.model, padding_id(base.tokenizer)
    shared = common_prefix(rows) if len(rows) > 1 and has_plain_cache(model) else 0
    on_step()
    beginning = SharedBeginning(model, rows[0].prompt[:shared])
    beginning.begin()
    size = min(batch, rows_at_once(model, shared, max(map(len, rows)) - shared))
    for start in range(0, len(rows), size):
        on_step()
        some = rows[start : start + size]
        rests = [[TokenRow(row.prompt[shared:], row.answer)] for row in some]
        together = pack(rests, fill).to(base.device)
        answers = together.targets != IGNORED
        logits = output_logits(model, beginning.read(together.ids)[answers])
        losses = nn.functional.cross_entropy(logits, together.targets[answers], reduction="none")
        hits = logits.argmax(-1) == together.targets[answers]
        lengths = [len(row.answer) for row in some]
        yield from zip(losses.cpu().split(lengths), hits.cpu().split(lengths), strict=True)
