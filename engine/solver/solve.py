"""The solved adapter: what a context does to the residual stream, put into low-rank updates layer by layer.

Teacher rows (context, query, answer) and student rows (query, answer) go through the base side by side, as lines of one
batch, in one forward pass. At every linear module that writes into the residual stream, in the order they run:

    D = teacher's stream - student's stream after the module, at the tokens both rows end with     (T, hidden)
    Z = the student's inputs of the module at these tokens                                         (T, in)
    A, B = reduced-rank ridge regression of D on Z      (`engine.solver.ridge`)
    the student's lines get B A z added, all their tokens, before the pass goes on

So later modules see a stream that is corrected already, and errors do not pile up. There is no backward pass; with a
base whose layers are loaded one by one, one layer in memory is enough. Context distillation (arXiv 2209.15189) without
gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.adapter.lora import LoraAdapter
from engine.adapter.norms import update_norm
from engine.base.attention import has_full_attention, has_plain_cache
from engine.errors import EngineError
from engine.forge.packing import PackedBatch, TokenRow, pack, packed_length, take_that_fit
from engine.solver.residual import StreamLayer, Writer, stream_layers
from engine.solver.ridge import RIDGES, LowRankMap, reduced_rank_ridge
from engine.weights.layout import Layout, LayoutModule, LoraSpec

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

MOST_MATCHED = 32
"""Tokens of a row at which the streams are matched, at most: the first ones. Of a long answer the later tokens follow
from the earlier, and a regression over many more tokens takes longer than the passes."""

TAIL = 5
"""Tokens before the answer at which the streams are matched too: in most chat formats, the turn's end and the
assistant's header."""


@dataclass(frozen=True)
class ContextRow:
    """One row twice: as the teacher reads it, after its context, and as the student does. Both have the same answer."""

    teacher: TokenRow
    student: TokenRow


@dataclass(frozen=True)
class SolveSettings:
    """rank: of every update, 1 to 64. ridges: strengths to choose from, a module (`engine.solver.ridge`).

    modules: kinds of module that get an update, for example ("o_proj", "down_proj"); empty is all that write into the
    residual stream. tail: tokens before the answer that are matched too.
    """

    rank: int = 8
    ridges: Sequence[float] = RIDGES
    modules: tuple[str, ...] = ()
    tail: int = TAIL

    def __post_init__(self) -> None:
        """Raises EngineError for a rank out of range."""
        if not 1 <= self.rank <= 64:
            raise EngineError(f"rank {self.rank} is out of range", where="--rank", hint="Choose 1 to 64")


def solve(
    base: LoadedBase,
    groups: Sequence[Sequence[ContextRow]],
    settings: SolveSettings,
    *,
    on_layer: Callable[[Mapping[str, tuple[float, float]]], None] = lambda norms: None,
) -> LoraAdapter:
    """Solve an adapter that makes the base answer as if each row's context stood before it.

    What is attached to the base's model takes part in both streams: the adapter is then what has to be added.

    Args:
        groups: rows that share a context, the context's tokens being common to their teacher rows.
        on_layer: called as soon as a layer is solved: by module path, the update's Frobenius norm and how much of the
            wanted change it gives, 0 to 1.

    Raises:
        EngineError: the base's layers cannot be matched, no module is of the asked kinds, rows do not end alike.
    """
    check_solvable(base.model)
    layers = stream_layers(base.model)
    known = tuple(dict.fromkeys(writer.kind for layer in layers for writer in layer.writers))
    kinds = settings.modules or known
    if unknown := [kind for kind in kinds if kind not in known]:
        hint = f"Modules that write into the residual stream: {', '.join(known)}"
        raise EngineError(f"an update of {unknown[0]} cannot be solved", where="--module", hint=hint)
    batch = _lay_out(base, groups, settings.tail)
    found: dict[str, LowRankMap] = {}
    pass_ = _Pass(batch, settings, frozenset(kinds), found, on_layer)
    with torch.inference_mode(), pass_.watching(layers):
        base.model.base_model(**batch.inputs(base.model), use_cache=False)  # type: ignore[operator]
    return _as_adapter(found, settings.rank, tuple(kinds))


def check_solvable(model: nn.Module) -> None:
    """Raises EngineError where tokens reach one another by more than attention."""
    if not has_plain_cache(model):
        problem = f"{type(model).__name__} carries a state from token to token besides keys and values"
        raise EngineError(f"{problem}, so nothing can be solved", hint="Choose a base whose layers are attention alone")


@dataclass(frozen=True)
class _Batch:
    """Teacher lines first, then student lines; where each matched token stands in them.

    packed: rows share lines. teacher, student: (T, 2) line and place. owners: (T,) which row a token is of.
    students: (lines,) bool.
    """

    lines: PackedBatch
    packed: bool
    teacher: Tensor
    student: Tensor
    owners: Tensor
    students: Tensor

    def inputs(self, model: nn.Module) -> dict[str, Tensor]:
        """What the model without its head is called with."""
        if not self.packed:
            # Padding comes after the row: the model's own causal mask is right for every kind of attention.
            return {"input_ids": self.lines.ids}
        mask = self.lines.additive_mask(next(model.parameters()).dtype)
        return {"input_ids": self.lines.ids, "position_ids": self.lines.positions, "attention_mask": mask}


def _lay_out(base: LoadedBase, groups: Sequence[Sequence[ContextRow]], tail: int) -> _Batch:
    packed = _can_pack(base, groups)
    teachers: list[list[ContextRow]] = [list(group) for group in groups] if packed else [[r] for g in groups for r in g]
    every = [row for group in teachers for row in group]
    width = max(packed_length([row.teacher for row in line]) for line in teachers)
    students: list[list[ContextRow]] = []
    left = every
    while left:
        count = len(take_that_fit([row.student for row in left], width)) if packed else 1
        students.append(left[:count])
        left = left[count:]
    token_lines = [[row.teacher for row in line] for line in teachers]
    token_lines += [[row.student for row in line] for line in students]
    lines = pack(token_lines, base.tokenizer.pad_token_id or 0).to(base.device)
    counts = [_matched(row, tail) for row in every]
    teacher = _places(lines.owner, [len(line) for line in teachers], counts, 0)
    student = _places(lines.owner, [len(line) for line in students], counts, len(teachers))
    owners = [number for number, count in enumerate(counts) for _ in range(min(count, MOST_MATCHED))]
    is_student = torch.arange(len(token_lines), device=base.device) >= len(teachers)
    at_teacher, at_student, owned = (torch.tensor(each, device=base.device) for each in (teacher, student, owners))
    return _Batch(lines, packed, at_teacher, at_student, owned, is_student)


def _places(owner: Tensor, rows: Sequence[int], counts: Sequence[int], first: int) -> list[tuple[int, int]]:
    """Line and place of the matched tokens of each row: the last `counts`, or of many the first of these.

    A row's tokens are the line's common beginning and its own.

    Args:
        rows: how many rows each line holds, from line `first` on.
    """
    places: list[tuple[int, int]] = []
    left = iter(counts)
    for line, many in enumerate(rows, first):
        for number in range(1, many + 1):
            own = ((owner[line] == 0) | (owner[line] == number)).nonzero().flatten().tolist()
            places += [(line, place) for place in own[len(own) - next(left) :][:MOST_MATCHED]]
    return places


def _matched(row: ContextRow, tail: int) -> int:
    """How many tokens at the end of both rows are matched: the answer, and up to `tail` equal ones before it.

    The token ids are compared, since a tokenizer may join characters across a seam. The first token of a row never is.
    """
    if row.teacher.answer != row.student.answer:
        raise EngineError("a row's answer became other tokens after its context")
    same = 0
    for one, other in zip(reversed(row.teacher.prompt[1:]), reversed(row.student.prompt[1:]), strict=False):
        if one != other or same == tail:
            break
        same += 1
    return same + len(row.student.answer)


def _can_pack(base: LoadedBase, groups: Sequence[Sequence[ContextRow]]) -> bool:
    """Whether rows may share lines under a mask of ours: every layer reaches all tokens of a row."""
    import inspect

    model: Any = base.model
    if "position_ids" not in inspect.signature(model.base_model.forward).parameters:
        return False
    if has_full_attention(model):
        return True
    window = getattr(model.config, "sliding_window", None)
    longest = max(len(row.teacher) for group in groups for row in group)
    return isinstance(window, int) and longest <= window


class _Pass:
    """Follows both streams through one forward pass and puts the solved updates into the student's lines."""

    def __init__(
        self,
        batch: _Batch,
        settings: SolveSettings,
        kinds: frozenset[str],
        found: dict[str, LowRankMap],
        on_layer: Callable[[Mapping[str, tuple[float, float]]], None],
    ) -> None:
        self._batch = batch
        self._settings = settings
        self._kinds = kinds
        self._found = found
        self._on_layer = on_layer
        self._teacher = self._student = torch.empty(0)

    @contextmanager
    def watching(self, layers: Sequence[StreamLayer]) -> Iterator[None]:
        """While open, a forward pass is followed and changed."""
        handles = []
        try:
            for layer in layers:
                handles.append(layer.module.register_forward_pre_hook(self._enter, with_kwargs=True))
                handles.append(layer.module.register_forward_hook(self._leave(layer)))
                for writer in layer.writers:
                    handles.append(writer.module.register_forward_hook(self._solve(writer)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        hidden = inputs[0] if inputs else named["hidden_states"]
        self._teacher, self._student = self._at(hidden, self._batch.teacher), self._at(hidden, self._batch.student)

    def _leave(self, layer: StreamLayer) -> Callable[..., None]:
        def leave(*_: Any) -> None:
            solved = [writer.path for writer in layer.writers if writer.path in self._found]
            self._on_layer({p: (update_norm(m.a, m.b, 1.0), m.explained) for p in solved if (m := self._found[p])})

        return leave

    def _solve(self, writer: Writer) -> Callable[..., Tensor | None]:
        def solve(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            batch = self._batch
            added = self._at(output, batch.student)
            self._teacher = self._teacher + writer.scale * self._normed(writer, self._at(output, batch.teacher))
            before = self._student
            self._student = before + writer.scale * self._normed(writer, added)
            if writer.kind not in self._kinds:
                return None
            wanted = (self._teacher - self._student) / writer.scale
            if writer.norm is not None:
                wanted = wanted / self._gain(writer, added)
            z = self._at(inputs[0], batch.student)
            update = self._regression(z, wanted)
            self._found[writer.path] = update
            change = (inputs[0][batch.students].float() @ update.a.T) @ update.b.T
            output = output.clone()
            output[batch.students] += change.to(output.dtype)
            self._student = before + writer.scale * self._normed(writer, self._at(output, batch.student))
            return output

        return solve

    def _regression(self, inputs: Tensor, wanted: Tensor) -> LowRankMap:
        settings, device = self._settings, inputs.device
        # MPS lacks some of the factorisations; the systems are small.
        place = torch.device("cpu") if device.type == "mps" else device
        found = reduced_rank_ridge(
            inputs.to(place),
            wanted.to(place),
            settings.rank,
            groups=self._batch.owners.to(place),
            ridges=settings.ridges,
        )
        return found._replace(a=found.a.to(device), b=found.b.to(device))

    def _at(self, values: Tensor, places: Tensor) -> Tensor:
        return values[places[:, 0], places[:, 1]].float()

    def _normed(self, writer: Writer, values: Tensor) -> Tensor:
        return values if writer.norm is None else writer.norm.forward(values).float()

    def _gain(self, writer: Writer, values: Tensor) -> Tensor:
        """Of a norm after the sub-layer: how much a small change of its input changes its output, the length of the
        input kept (an RMS norm scales it back).
        """
        assert writer.norm is not None
        gain = writer.norm.forward(torch.ones_like(values[:1])).float()
        return gain / values.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def _as_adapter(found: Mapping[str, LowRankMap], rank: int, kinds: tuple[str, ...]) -> LoraAdapter:
    modules = tuple(LayoutModule(path, m.a.shape[1], m.b.shape[0]) for path, m in found.items())
    # alpha = rank: the matrices are the update as it was solved.
    layout = Layout(modules, LoraSpec(rank=rank, alpha=rank, target_modules=kinds))
    a = {path: m.a.float().cpu() for path, m in found.items()}
    return LoraAdapter(layout, a, {path: m.b.float().cpu() for path, m in found.items()})
