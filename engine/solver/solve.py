"""The solved adapter: what a context does to the residual stream, put into low-rank updates layer by layer.

Teacher rows (context, query, answer) go through the base first; what their residual stream is after every module that
writes into it is kept, at the tokens that are matched. Then the student rows (query, answer) go through, all in one
forward pass. At every such module, in the order they run:

    D = teacher's stream - student's stream after the module, at the tokens both rows end with     (T, hidden)
    Z = the student's inputs of the module at these tokens                                         (T, in)
    A, B = reduced-rank ridge regression of D on Z      (`engine.solver.ridge`)
    the student's rows get B A z added, all their tokens, before the pass goes on

So later modules see a stream that is corrected already, and errors do not pile up. There is no backward pass. Context
distillation (arXiv 2209.15189) without gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.base.chat import padding_id
from engine.base.device import exact_products, short_products
from engine.base.network import has_plain_cache, output_logits
from engine.base.prefix import SharedBeginning, rows_at_once
from engine.errors import EngineError
from engine.solver.matching import TAIL, ContextRow, lay_out, matched_places, matched_tokens
from engine.solver.residual import StreamLayer, Writer, stream_layers
from engine.solver.ridge import RIDGES, LowRankMap, reduced_rank_ridge
from engine.training.packing import IGNORED, TokenRow, common_prefix, pack
from engine.weights.layout import Layout, LayoutModule, LoraSpec
from engine.weights.lora import LoraAdapter, update_norm

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


@dataclass(frozen=True)
class SolveSettings:
    """rank: of every update, 1 to 64. ridges: strengths to choose from, a module (`engine.solver.ridge`).

    modules: kinds of module that get an update, for example ("o_proj", "down_proj"); empty is all that write into the
    residual stream.
    """

    rank: int = 8
    ridges: Sequence[float] = RIDGES
    modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises EngineError for a rank out of range."""
        if not 1 <= self.rank <= 64:
            raise EngineError(f"rank {self.rank} is out of range", where="--rank", hint="Choose 1 to 64")


@dataclass(frozen=True)
class ReadContext:
    """What the teacher has read.

    rows: in the order of the tokens below. counts: by row, how many tokens at its end are matched.
    layers: of the base. streams: by module path, the teacher's residual stream (T, hidden) float32 after the module, at
    the matched tokens of all rows.
    right: by row, whether every token of the answer is the teacher's likeliest one: what its greedy answer would be.
    """

    rows: Sequence[ContextRow]
    counts: Mapping[ContextRow, int]
    layers: Sequence[StreamLayer]
    streams: Mapping[str, Tensor]
    right: Sequence[bool]


def read_context(
    base: LoadedBase,
    groups: Sequence[Sequence[ContextRow]],
    *,
    tail: int = TAIL,
    on_layer: Callable[[float], None] = lambda share: None,
) -> ReadContext:
    """The teacher's pass over all rows. What is attached to the base's model takes part.

    Args:
        groups: rows that share a context, which is read once for all of them.
        tail: tokens before the answer that are matched too.
        on_layer: called layer by layer with the part of the work that is done, 0 to 1.

    Raises:
        EngineError: the base's layers cannot be matched, rows do not end alike.
    """
    check_solvable(base.model)
    layers = stream_layers(base.model)
    # Rows of like length together: they are padded to the longest of those that are read at once.
    ordered = [sorted(group, key=lambda row: len(row.teacher)) for group in groups]
    rows = [row for group in ordered for row in group]
    counts = {row: matched_tokens(row, tail) for row in rows}
    with torch.inference_mode(), short_products():
        streams, right = _teacher_streams(base, layers, ordered, counts, on_layer)
    return ReadContext(rows, counts, layers, streams, right)


def solve(
    base: LoadedBase,
    context: ReadContext,
    settings: SolveSettings,
    *,
    on_layer: Callable[[Mapping[str, tuple[float, float]]], None] = lambda norms: None,
) -> LoraAdapter:
    """The student's pass: an adapter that makes the base answer as if each row's context stood before it.

    What is attached to the base's model takes part, as it did in the teacher's pass: the adapter is then what has to be
    added.

    Args:
        on_layer: called as soon as a layer is solved: by module path, the update's Frobenius norm and how much of the
            wanted change it gives, 0 to 1.

    Raises:
        EngineError: no module is of the asked kinds.
    """
    known = tuple(dict.fromkeys(writer.kind for layer in context.layers for writer in layer.writers))
    kinds = settings.modules or known
    if unknown := [kind for kind in kinds if kind not in known]:
        hint = f"Modules that write into the residual stream: {', '.join(known)}"
        raise EngineError(f"an update of {unknown[0]} cannot be solved", where="--module", hint=hint)
    students = lay_out(base, context.rows, context.counts)
    student = _StudentPass(context.streams, students.owners, settings, frozenset(kinds))
    with (
        torch.inference_mode(),
        short_products(),
        student.watching(base.model, context.layers, students.places, lambda layer: on_layer(student.norms(layer))),
    ):
        base.model.base_model(**students.inputs(base.model), use_cache=False)  # type: ignore[operator]
    return _as_adapter(student.found, settings.rank, tuple(kinds))


def check_solvable(model: nn.Module) -> None:
    """Raises EngineError where tokens reach one another by more than attention."""
    if not has_plain_cache(model):
        problem = f"{type(model).__name__} carries a state from token to token besides keys and values"
        raise EngineError(f"{problem}, so nothing can be solved", hint="Choose a base whose layers are attention alone")


def _teacher_streams(
    base: LoadedBase,
    layers: Sequence[StreamLayer],
    groups: Sequence[Sequence[ContextRow]],
    counts: Mapping[ContextRow, int],
    on_layer: Callable[[float], None],
) -> tuple[dict[str, Tensor], list[bool]]:
    """`ReadContext.streams` and `right`."""
    model, device, fill = base.model, base.device, padding_id(base.tokenizer)
    teacher = _TeacherPass()
    right: list[bool] = []
    starts = [_shared(group, counts) for group in groups]
    chunks = [_chunks(model, group, start) for group, start in zip(groups, starts, strict=True)]
    passes = sum(len(chunked) for chunked in chunks) + sum(start > 0 for start in starts)
    done = 0

    def finished(layers_done: int) -> None:
        nonlocal done
        done += layers_done
        on_layer(done / (passes * len(layers)))

    for start, chunked in zip(starts, chunks, strict=True):
        context = SharedBeginning(model, chunked[0][0].teacher.prompt[:start])
        if start:
            finished(len(layers))
        for rows in chunked:
            batch = pack([[TokenRow(row.teacher.prompt[start:], row.teacher.answer)] for row in rows], fill).to(device)
            width = batch.ids.shape[1]
            places = [line * width + at for line, row in enumerate(rows) for at in matched_places(row, counts, start)]
            with teacher.watching(model, layers, torch.tensor(places, device=device), lambda layer: finished(1)):
                hidden = context.read(batch.ids)
            answers = batch.targets != IGNORED
            hits = output_logits(model, hidden[answers]).argmax(-1) == batch.targets[answers]
            right += [bool(row.all()) for row in hits.cpu().split([len(row.teacher.answer) for row in rows])]
    return {path: torch.cat(parts) for path, parts in teacher.streams.items()}, right


def _shared(rows: Sequence[ContextRow], counts: Mapping[ContextRow, int]) -> int:
    """Teacher tokens that are read once for all rows: their common beginning, as far as none of it is matched."""
    if len(rows) == 1:
        return 0
    common = common_prefix([row.teacher for row in rows])
    return min(common, *(len(row.teacher) - counts[row] for row in rows))


def _chunks(model: nn.Module, rows: Sequence[ContextRow], start: int) -> list[Sequence[ContextRow]]:
    """Rows in order, as many at a time as can be read after their common `start`, about equally many; one at least."""
    fitting = rows_at_once(model, start, max(len(row.teacher) for row in rows) - start)
    size = -(-len(rows) // -(-len(rows) // fitting))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class _Pass:
    """Follows the residual stream through a forward pass of the model, at some of its tokens.

    stream: (T, hidden) float32, as it is after what has run so far.
    """

    def __init__(self) -> None:
        self.stream = self._places = torch.empty(0)

    @contextmanager
    def watching(
        self,
        model: nn.Module,
        layers: Sequence[StreamLayer],
        places: Tensor,
        on_layer: Callable[[StreamLayer], None],
    ) -> Iterator[None]:
        """While open, a forward pass is followed at `places` (T,): of the pass's tokens, counted line by line."""
        self._places = places
        handles = []
        try:
            for layer in layers:
                handles.append(layer.module.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(layer.module.register_forward_hook(partial(_leave, on_layer, layer)))
                for writer in layer.writers:
                    module = model.get_submodule(writer.path)
                    handles.append(module.register_forward_hook(self._hook(writer)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def wrote(self, writer: Writer, inputs: Tensor, output: Tensor) -> Tensor | None:
        """A module has run and `stream` is as before it; returns another output, or None to leave it."""
        raise NotImplementedError

    def at(self, values: Tensor) -> Tensor:
        """Values (lines, places, width) at the followed tokens: (T, width) float32."""
        return values.flatten(0, 1)[self._places].float()

    def added(self, writer: Writer, output: Tensor) -> Tensor:
        """What a module's output (T, hidden) adds to the stream."""
        return writer.scale * (output if writer.norm is None else writer.norm.forward(output).float())

    def _enter(self, layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self.stream = self.at(inputs[0] if inputs else named["hidden_states"])

    def _hook(self, writer: Writer) -> Callable[..., Tensor | None]:
        return lambda module, inputs, output: self.wrote(writer, inputs[0], output)


def _leave(on_layer: Callable[[StreamLayer], None], layer: StreamLayer, *_: Any) -> None:
    on_layer(layer)


class _TeacherPass(_Pass):
    """streams: by module path, the stream after the module, a tensor for each pass that was followed."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, list[Tensor]] = {}

    def wrote(self, writer: Writer, inputs: Tensor, output: Tensor) -> None:
        """Keep the stream."""
        self.stream = self.stream + self.added(writer, self.at(output))
        self.streams.setdefault(writer.path, []).append(self.stream)


class _StudentPass(_Pass):
    """Solves an update at every module of the asked kinds and lets the pass go on with it.

    teacher: by module path, the stream that is wanted after the module. owners: (T,) which row a token is of.
    found: by module path, the update; filled as the pass goes on.
    """

    def __init__(
        self, teacher: Mapping[str, Tensor], owners: Tensor, settings: SolveSettings, kinds: frozenset[str]
    ) -> None:
        super().__init__()
        self.found: dict[str, LowRankMap] = {}
        self._teacher = teacher
        self._owners = owners
        self._settings = settings
        self._kinds = kinds

    def norms(self, layer: StreamLayer) -> dict[str, tuple[float, float]]:
        """By path of a layer's solved modules: the update's Frobenius norm, and how much of the change it gives."""
        solved = [writer.path for writer in layer.writers if writer.path in self.found]
        return {path: (update_norm(m.a, m.b, 1.0), m.explained) for path in solved if (m := self.found[path])}

    def wrote(self, writer: Writer, inputs: Tensor, output: Tensor) -> Tensor | None:
        """Solve the module's update; the output with it."""
        before, alone = self.stream, self.at(output)
        self.stream = before + self.added(writer, alone)
        if writer.kind not in self._kinds:
            return None
        wanted = (self._teacher[writer.path] - self.stream) / writer.scale
        if writer.norm is not None:
            wanted = wanted / _gain(writer.norm, alone)
        with exact_products():
            update = self._regression(self.at(inputs), wanted)
        self.found[writer.path] = update
        inner = (inputs @ update.a.T.to(inputs.dtype)).float()
        output = output + (inner @ update.b.T).to(output.dtype)
        self.stream = before + self.added(writer, self.at(output))
        return output

    def _regression(self, inputs: Tensor, wanted: Tensor) -> LowRankMap:
        device = inputs.device
        # MPS lacks some of the factorisations; the systems are small.
        place = torch.device("cpu") if device.type == "mps" else device
        found = reduced_rank_ridge(
            inputs.to(place),
            wanted.to(place),
            self._settings.rank,
            groups=self._owners.to(place),
            ridges=self._settings.ridges,
        )
        return found._replace(a=found.a.to(device), b=found.b.to(device))


def _gain(norm: nn.Module, values: Tensor) -> Tensor:
    """Of a norm after the sub-layer: how much a small change of its input (T, hidden) changes its output, the length of
    the input kept (an RMS norm scales it back).
    """
    gain = norm.forward(torch.ones_like(values[:1])).float()
    return gain / values.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def _as_adapter(found: Mapping[str, LowRankMap], rank: int, kinds: tuple[str, ...]) -> LoraAdapter:
    modules = tuple(LayoutModule(path, m.a.shape[1], m.b.shape[0]) for path, m in found.items())
    # alpha = rank: the matrices are the update as it was solved.
    layout = Layout(modules, LoraSpec(rank=rank, alpha=rank, target_modules=kinds))
    a = {path: m.a.float().cpu() for path, m in found.items()}
    return LoraAdapter(layout, a, {path: m.b.float().cpu() for path, m in found.items()})
