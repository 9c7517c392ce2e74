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

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.base.chat import padding_id
from engine.base.device import short_products
from engine.base.network import has_plain_cache, output_logits, without_head
from engine.base.prefix import SharedBeginning, rows_at_once, takes_lines
from engine.base.streamed import in_step
from engine.errors import EngineError, setting
from engine.solver.matching import TAIL, ContextRow, Students, lay_out, matched_places, matched_tokens
from engine.solver.passes import StudentPass, TeacherPass, UpdatedPass
from engine.solver.residual import StreamLayer, stream_layers
from engine.solver.ridge import RIDGES, LowRankMap
from engine.training.packing import IGNORED, TokenRow, common_prefix, pack
from engine.weights.layout import Layout, LayoutModule, LoraSpec, selecting
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

Norms = Mapping[str, tuple[float, float]]
"""By path of a layer's solved modules: the update's Frobenius norm, and how much of the wanted change it gives."""


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
            raise EngineError(f"rank {self.rank} is out of range", where=setting("rank"), hint="Choose 1 to 64")


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


@dataclass(frozen=True)
class StreamedSolve:
    """adapter: what was solved. right: as of `ReadContext`. checked: by name, of each row that was only read, whether
    every token of its answer is the likeliest one.
    """

    adapter: LoraAdapter
    right: Sequence[bool]
    checked: Mapping[str, Sequence[bool]]


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
    teacher = _Teacher(base, stream_layers(base.model), groups, tail)
    passes = teacher.passes()
    done = 0

    def finished(layer: StreamLayer) -> None:
        nonlocal done
        done += 1
        on_layer(done / (len(passes) * len(teacher.layers)))

    teacher.on_layer = finished
    with torch.inference_mode(), short_products():
        right = [hit for read in passes for hit in read()]
    streams = {path: torch.cat(parts) for path, parts in teacher.streams.items()}
    return ReadContext(teacher.rows, teacher.counts, teacher.layers, streams, right)


def solve(
    base: LoadedBase,
    context: ReadContext,
    settings: SolveSettings,
    *,
    on_layer: Callable[[Norms], None] = lambda norms: None,
) -> LoraAdapter:
    """The student's pass: an adapter that makes the base answer as if each row's context stood before it.

    What is attached to the base's model takes part, as it did in the teacher's pass: the adapter is then what has to be
    added.

    Args:
        on_layer: called as soon as a layer is solved.

    Raises:
        EngineError: no module is of the asked kinds.
    """
    kinds = _kinds(context.layers, settings)
    students = lay_out(base, context.rows, context.counts)
    student = StudentPass(context.streams.__getitem__, students.owners, settings.rank, settings.ridges, kinds)
    with torch.inference_mode(), short_products():
        _run_student(base, student, students, context.layers, lambda layer: on_layer(student.norms(layer)))
    return _as_adapter(base.model, student.found, settings.rank, kinds)


def solve_streamed(
    base: LoadedBase,
    groups: Sequence[Sequence[ContextRow]],
    settings: SolveSettings,
    *,
    tail: int = TAIL,
    checked: Mapping[str, tuple[Sequence[TokenRow], bool]],
    on_layer: Callable[[Norms], None] = lambda norms: None,
) -> StreamedSolve:
    """The same for a base whose layers are read from its files one at a time: all passes go through a layer before the
    next one is read.

    Args:
        groups, tail: as in `read_context`. on_layer: as in `solve`.
        checked: by name, rows that are read besides, and whether with the solved updates.

    Raises:
        EngineError: as `read_context` and `solve`; layers differ from the first one in their modules.
    """
    streamed = base.streamed
    assert streamed is not None
    check_solvable(base.model)
    layers = stream_layers(base.model, streamed.loaded)
    kinds = _kinds(layers, settings)
    teacher = _Teacher(base, layers, groups, tail)
    students = lay_out(base, teacher.rows, teacher.counts)
    # A layer's streams are wanted once, and only until its modules are solved.
    student = StudentPass(
        lambda path: torch.cat(teacher.streams.pop(path)), students.owners, settings.rank, settings.ridges, kinds
    )
    passes = teacher.passes()
    passes.append(lambda: _run_student(base, student, students, layers, lambda layer: on_layer(student.norms(layer))))
    ends = [len(passes)]
    for rows, with_updates in checked.values():
        start = common_prefix(rows) if len(rows) > 1 and _can_share(base) else 0
        following = partial(_updated, base, student.found, layers) if with_updates else _nothing
        passes += answer_passes(base, rows, start, following)
        ends.append(len(passes))

    with torch.inference_mode(), short_products():
        hits = in_step(streamed, passes)
    right = [hit for found in hits[: ends[0]] for hit in found]
    spans = zip(checked, ends, ends[1:], strict=False)
    given = {name: [hit for found in hits[start:end] for hit in found] for name, start, end in spans}
    return StreamedSolve(_as_adapter(base.model, student.found, settings.rank, kinds), right, given)


def check_solvable(model: nn.Module) -> None:
    """Raises EngineError where tokens reach one another by more than attention."""
    if not has_plain_cache(model):
        problem = f"{type(model).__name__} carries a state from token to token besides keys and values"
        raise EngineError(f"{problem}, so nothing can be solved", hint="Choose a base whose layers are attention alone")


Following = Callable[[Sequence[int], int], AbstractContextManager[None]]
"""Numbers of the rows of a pass and the tokens of its lines -> what is open while it runs; no rows: the beginning."""


def answer_passes(
    base: LoadedBase, rows: Sequence[TokenRow], start: int, following: Following
) -> list[Callable[[], list[bool]]]:
    """Forward passes that read rows after their first `start` tokens, which they share and which are read once.

    Each returns of its rows, in order, whether every token of the answer is the likeliest one.
    """
    model, fill = base.model, padding_id(base.tokenizer)
    beginning = SharedBeginning(model, rows[0].prompt[:start])

    def begin() -> list[bool]:
        with following((), 0):
            beginning.begin()
        return []

    def read(numbers: Sequence[int]) -> list[bool]:
        own = [rows[number] for number in numbers]
        batch = pack([[TokenRow(row.prompt[start:], row.answer)] for row in own], fill).to(base.device)
        with following(numbers, batch.ids.shape[1]):
            hidden = beginning.read(batch.ids)
        answers = batch.targets != IGNORED
        hits = output_logits(model, hidden[answers]).argmax(-1) == batch.targets[answers]
        return [bool(row.all()) for row in hits.cpu().split([len(row.answer) for row in own])]

    # About equally many at a time, as many as can be read after the beginning; one at least.
    fitting = rows_at_once(model, start, max(map(len, rows)) - start)
    size = -(-len(rows) // -(-len(rows) // fitting))
    chunks = [range(len(rows))[at : at + size] for at in range(0, len(rows), size)]
    return [*([begin] if start else []), *(partial(read, numbers) for numbers in chunks)]


def _can_share(base: LoadedBase) -> bool:
    """Whether a beginning may be read once for several rows. Copies of it, a row each, need all of its layers."""
    return base.streamed is None or takes_lines(base.model)


class _Teacher:
    """The teacher's passes over groups of rows that share a context.

    rows, counts, layers: as of `ReadContext`. streams: by module path, the stream of each pass so far.
    on_layer: called after each layer of a pass.
    """

    def __init__(
        self,
        base: LoadedBase,
        layers: Sequence[StreamLayer],
        groups: Sequence[Sequence[ContextRow]],
        tail: int,
    ) -> None:
        self._base = base
        # Rows of like length together: they are padded to the longest of those that are read at once.
        self._groups = [sorted(group, key=lambda row: len(row.teacher)) for group in groups]
        self.layers = layers
        self.rows = [row for group in self._groups for row in group]
        self.counts = {row: matched_tokens(row, tail) for row in self.rows}
        self.streams: dict[str, list[Tensor]] = {}
        self.on_layer: Callable[[StreamLayer], None] = lambda layer: None

    def passes(self) -> list[Callable[[], list[bool]]]:
        """Of all groups, in order."""
        passes: list[Callable[[], list[bool]]] = []
        for group in self._groups:
            start = _shared(group, self.counts) if _can_share(self._base) else 0
            teachers = [row.teacher for row in group]
            passes += answer_passes(self._base, teachers, start, partial(self._following, group, start))
        return passes

    def _following(
        self, group: Sequence[ContextRow], start: int, numbers: Sequence[int], width: int
    ) -> AbstractContextManager[None]:
        own = [group[number] for number in numbers]
        places = [line * width + at for line, row in enumerate(own) for at in matched_places(row, self.counts, start)]
        # The context itself leaves nothing behind.
        follower = TeacherPass(self.streams if numbers else {})
        places_here = torch.tensor(places, dtype=torch.int64, device=self._base.device)
        return follower.watching(self._base.model, self.layers, places_here, lambda layer: self.on_layer(layer))


def _shared(rows: Sequence[ContextRow], counts: Mapping[ContextRow, int]) -> int:
    """Teacher tokens that are read once for all rows: their common beginning, as far as none of it is matched."""
    if len(rows) == 1:
        return 0
    common = common_prefix([row.teacher for row in rows])
    return min(common, *(len(row.teacher) - counts[row] for row in rows))


def _run_student(
    base: LoadedBase,
    student: StudentPass,
    students: Students,
    layers: Sequence[StreamLayer],
    on_layer: Callable[[StreamLayer], None],
) -> list[bool]:
    with student.watching(base.model, layers, students.places, on_layer):
        without_head(base.model)(**students.inputs(base.model), use_cache=False)  # type: ignore[operator]
    return []


def _updated(
    base: LoadedBase, found: Mapping[str, LowRankMap], layers: Sequence[StreamLayer], numbers: Sequence[int], width: int
) -> AbstractContextManager[None]:
    return UpdatedPass(found).watching(base.model, layers, torch.empty(0, dtype=torch.int64), lambda layer: None)


def _nothing(numbers: Sequence[int], width: int) -> AbstractContextManager[None]:
    return nullcontext()


def _kinds(layers: Sequence[StreamLayer], settings: SolveSettings) -> tuple[str, ...]:
    """The kinds of module that get an update; raises EngineError where one writes nothing."""
    known = tuple(dict.fromkeys(writer.kind for layer in layers for writer in layer.writers))
    if unknown := [kind for kind in settings.modules if kind not in known]:
        hint = f"Modules that write into the residual stream: {', '.join(known)}"
        raise EngineError(f"an update of {unknown[0]} cannot be solved", where=setting("modules"), hint=hint)
    return settings.modules or known


def _as_adapter(model: Any, found: Mapping[str, LowRankMap], rank: int, kinds: tuple[str, ...]) -> LoraAdapter:
    modules = tuple(LayoutModule(path, m.a.shape[1], m.b.shape[0]) for path, m in found.items())
    # alpha = rank: the matrices are the update as it was solved.
    layout = Layout(modules, LoraSpec(rank=rank, alpha=rank, target_modules=selecting(model, modules, kinds)))
    a = {path: m.a.float().cpu() for path, m in found.items()}
    return LoraAdapter(layout, a, {path: m.b.float().cpu() for path, m in found.items()})
