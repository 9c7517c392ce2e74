"""Forward passes of the model's own code, followed by hooks: the teacher's is recorded, the student's corrected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from greenlet import getcurrent
from torch import Tensor, nn

from engine.base.device import exact_products
from engine.errors import EngineError
from engine.solver.residual import StreamLayer, Writer
from engine.solver.ridge import LowRankMap, reduced_rank_ridge
from engine.weights.lora import update_norm

# Of the stream's length: rounding of a half-precision base, and no module left out.
_ASSUMED = 2e-2


class Pass:
    """Follows the residual stream through a forward pass of the model, at some of its tokens.

    Passes may be open at the same time, each in a greenlet of its own (`engine.base.streamed.in_step`): each follows
    its own calls.

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
        opener = getcurrent()

        def own(hook: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *given: hook(*given) if getcurrent() is opener else None

        handles = []
        try:
            for layer in layers:
                handles.append(layer.module.register_forward_pre_hook(own(self._enter), with_kwargs=True))
                handles.append(layer.module.register_forward_hook(own(partial(self._leave, on_layer, layer))))
                for writer in layer.writers:
                    module = model.get_submodule(writer.path)
                    handles.append(module.register_forward_hook(own(partial(self._ran, writer))))
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

    def _leave(
        self, on_layer: Callable[[StreamLayer], None], layer: StreamLayer, module: nn.Module, inputs: Any, output: Any
    ) -> None:
        if layer.assumed:
            left = self.at(output[0] if isinstance(output, tuple) else output)
            if not (self.stream - left).norm() <= _ASSUMED * left.norm():
                problem = "this layer adds more to the residual stream than its linear modules"
                hint = "Choose a base of the kind of Llama, Mistral or Qwen"
                raise EngineError(problem, where=layer.writers[0].path, hint=hint)
        on_layer(layer)

    def _ran(self, writer: Writer, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        return self.wrote(writer, inputs[0], output)


class TeacherPass(Pass):
    """streams: by module path, the stream after the module, added to what passes before this one have left there."""

    def __init__(self, streams: dict[str, list[Tensor]]) -> None:
        super().__init__()
        self.streams = streams

    def wrote(self, writer: Writer, inputs: Tensor, output: Tensor) -> None:
        """Keep the stream."""
        self.stream = self.stream + self.added(writer, self.at(output))
        self.streams.setdefault(writer.path, []).append(self.stream)


class StudentPass(Pass):
    """Solves an update at every module of the asked kinds and lets the pass go on with it.

    teacher: the stream (T, hidden) that is wanted after the module of a path. owners: (T,) which row a token is of.
    found: by module path, the update; filled as the pass goes on.
    """

    def __init__(
        self,
        teacher: Callable[[str], Tensor],
        owners: Tensor,
        rank: int,
        ridges: Sequence[float],
        kinds: Collection[str],
    ) -> None:
        super().__init__()
        self.found: dict[str, LowRankMap] = {}
        self._teacher = teacher
        self._owners = owners
        self._rank, self._ridges = rank, ridges
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
        wanted = (self._teacher(writer.path) - self.stream) / writer.scale
        if writer.norm is not None:
            wanted = wanted / _gain(writer.norm, alone)
        with exact_products():
            update = self._regression(self.at(inputs), wanted)
        self.found[writer.path] = update
        output = _with_update(update, inputs, output)
        self.stream = before + self.added(writer, self.at(output))
        return output

    def _regression(self, inputs: Tensor, wanted: Tensor) -> LowRankMap:
        device = inputs.device
        # MPS lacks some of the factorisations; the systems are small.
        place = torch.device("cpu") if device.type == "mps" else device
        found = reduced_rank_ridge(
            inputs.to(place), wanted.to(place), self._rank, groups=self._owners.to(place), ridges=self._ridges
        )
        return found._replace(a=found.a.to(device), b=found.b.to(device))


class UpdatedPass(Pass):
    """A pass of the base with solved updates, by module path."""

    def __init__(self, updates: Mapping[str, LowRankMap]) -> None:
        super().__init__()
        self._updates = updates

    def wrote(self, writer: Writer, inputs: Tensor, output: Tensor) -> Tensor | None:
        """The output with the module's update."""
        update = self._updates.get(writer.path)
        return None if update is None else _with_update(update, inputs, output)


def _with_update(update: LowRankMap, inputs: Tensor, output: Tensor) -> Tensor:
    """A module's output (..., out) and what its update adds for its inputs (..., in)."""
    inner = (inputs @ update.a.T.to(inputs.dtype)).float()
    return output + (inner @ update.b.T).to(output.dtype)


def _gain(norm: nn.Module, values: Tensor) -> Tensor:
    """Of a norm after the sub-layer: how much a small change of its input (T, hidden) changes its output, the length of
    the input kept (an RMS norm scales it back).
    """
    gain = norm.forward(torch.ones_like(values[:1])).float()
    return gain / values.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
