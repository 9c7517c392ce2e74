"""Which linear modules of a base write into its residual stream, found by looking at what its layers add up.

    what a layer adds to the residual stream = sum over its writers of  scale * norm(output of the writer)

A tiny pass shows inputs and outputs of every layer and of each linear module as wide as the stream. Least squares then
finds the scale of each module's output in what the layer adds: near zero for those that are no writers. Only where the
sum is matched exactly can a change of the stream be asked of a module; other layers are refused with the reason.

Sequential blocks (Llama, Qwen, Mistral), parallel ones (GPT-NeoX), scaled ones (Granite) and those with a norm after
the sub-layer (Gemma 2 and 3) are all of that form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.base.network import layer_list, without_head
from engine.errors import EngineError

# How far the sum may be from what the layer adds, in parts of its length: rounding of each number format.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
_NO_WRITER = 1e-2
_PROBE_TOKENS = 16
_HINT = "Choose a base of the kind of Llama, Mistral, Qwen, Gemma or Phi-3"


@dataclass(frozen=True)
class Writer:
    """A linear module that adds to the residual stream: `scale * norm(its output)`; norm is None in most bases.

    It is known by its path: what peft attaches takes the place of the module itself.
    """

    path: str
    scale: float
    norm: nn.Module | None

    @property
    def kind(self) -> str:
        """Last part of the path, for example `o_proj`."""
        return self.path.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class StreamLayer:
    """A layer and its writers, in the order in which they run. assumed: they are those of another layer."""

    module: nn.Module
    writers: tuple[Writer, ...]
    assumed: bool = False


def stream_layers(model: Any, loaded: Callable[[int], AbstractContextManager[None]] | None = None) -> list[StreamLayer]:
    """The layers of a causal language model with what writes into the residual stream.

    Args:
        loaded: of a base that is not in memory, opens the layer of a number. Only the first layer is then looked at;
            the others must have the same modules, and what they add is compared as they run (`engine.solver.passes`).

    Raises:
        EngineError: it is not known where the layers are, or what they add is not the sum of some linear modules.
    """
    name = type(model).__name__
    layers = layer_list(model)
    if layers is None:
        raise EngineError(f"it is not known how {name} keeps its layers, so nothing can be solved", hint=_HINT)
    paths = {module: path for path, module in model.named_modules()}
    if loaded is None:
        seen = _probe(model, layers)
        return [_stream_layer(name, layer, seen[layer], paths) for layer in layers]
    with loaded(0):
        first = _stream_layer(name, layers[0], _probe(model, layers[:1])[layers[0]], paths)
    return [_alike(model, first, paths[layers[0]], layer, paths[layer]) for layer in layers]


def _alike(model: Any, first: StreamLayer, first_path: str, layer: nn.Module, path: str) -> StreamLayer:
    """A layer with the writers of the first one."""
    inside = {part: name for name, part in first.module.named_modules()}
    try:
        writers = tuple(
            Writer(
                f"{path}.{writer.path.removeprefix(f'{first_path}.')}",
                writer.scale,
                None if writer.norm is None else layer.get_submodule(inside[writer.norm]),
            )
            for writer in first.writers
        )
        for writer in writers:
            model.get_submodule(writer.path)
    except AttributeError as error:
        problem = f"this layer of {type(model).__name__} has other modules than the first one"
        raise EngineError(problem, where=path, hint="Solve this base in memory") from error
    return StreamLayer(layer, writers, assumed=True)


def writer_kinds(model: Any) -> tuple[str, ...]:
    """The kinds of module that write into the residual stream, each once; raises as `stream_layers`."""
    return tuple(dict.fromkeys(writer.kind for layer in stream_layers(model) for writer in layer.writers))


class _Probed(Exception):
    """All layers that are looked at have run: what comes after them may not be in memory."""


@dataclass
class _Seen:
    """What the probe saw of a layer: the stream before and after it; (module, norm after it, values) in order."""

    before: Tensor
    after: Tensor | None
    written: list[tuple[nn.Module, nn.Module | None, Tensor]]


def _probe(model: Any, layers: Sequence[nn.Module]) -> dict[nn.Module, _Seen]:
    """One short pass through the model's first layers with everything that could write noted down."""
    seen: dict[nn.Module, _Seen] = {}
    handles = []
    open_layer: list[_Seen] = []

    def enter(layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        hidden = inputs[0] if inputs else named["hidden_states"]
        seen[layer] = _Seen(hidden.detach().clone(), None, [])
        open_layer[:] = [seen[layer]]

    def leave(layer: nn.Module, inputs: Any, output: Any) -> None:
        seen[layer].after = (output[0] if isinstance(output, tuple) else output).detach()
        if layer is layers[-1]:
            raise _Probed

    def wrote(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if open_layer and output.shape == open_layer[0].before.shape:
            open_layer[0].written.append((module, None, output))

    def normed(module: nn.Module, inputs: Any, output: Any) -> None:
        if not open_layer or not inputs or not isinstance(output, Tensor):
            return
        written = open_layer[0].written
        for place, (writer, norm, values) in enumerate(written):
            if norm is None and inputs[0] is values:
                written[place] = (writer, module, output)

    try:
        for layer in layers:
            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(leave))
            wrapped = {inner for part in layer.modules() if _plain(part) is not part for inner in part.modules()}
            wrapped -= {part for part in layer.modules() if _plain(part) is not part}
            for part in layer.modules():
                if isinstance(_plain(part), nn.Linear) and part not in wrapped:
                    handles.append(part.register_forward_hook(wrote))
                elif "norm" in type(part).__name__.lower():
                    handles.append(part.register_forward_hook(normed))
        size = model.get_input_embeddings().weight.shape[0]
        ids = torch.arange(_PROBE_TOKENS)[None] * 37 % size
        with torch.inference_mode(), suppress(_Probed):
            without_head(model)(input_ids=ids.to(next(model.parameters()).device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _plain(module: nn.Module) -> nn.Module:
    """The linear module itself, or the one that peft has wrapped."""
    inner = getattr(module, "base_layer", None)
    return inner if isinstance(inner, nn.Module) else module


def _stream_layer(name: str, layer: nn.Module, seen: _Seen, paths: Mapping[nn.Module, str]) -> StreamLayer:
    where = paths.get(layer, "")
    if seen.after is None or seen.after.shape != seen.before.shape or not seen.written:
        raise EngineError(f"no linear module of {name} writes into the residual stream", where=where, hint=_HINT)
    # The first token takes norms that hide everything else (attention sink).
    added = (seen.after.float() - seen.before.float())[0, 1:].flatten()
    parts = torch.stack([values.float()[0, 1:].flatten() for _, _, values in seen.written], dim=1)
    added, parts = added.cpu().double(), parts.cpu().double()
    scales = torch.linalg.lstsq(parts, added[:, None]).solution[:, 0]
    missed = (parts @ scales - added).norm() / added.norm()
    tolerance = _TOLERANCE.get(seen.before.dtype, 1e-3)
    if not missed < tolerance:
        problem = f"what this layer of {name} adds to the residual stream is not the sum of its linear modules"
        raise EngineError(problem, where=where, hint=_HINT)
    writers = tuple(
        # Rounding of a half-precision base moves a scale of 1 a little.
        Writer(paths[module], 1.0 if abs(float(scale) - 1) < tolerance else float(scale), norm)
        for (module, norm, _), scale in zip(seen.written, scales, strict=True)
        if abs(float(scale)) > _NO_WRITER
    )
    return StreamLayer(layer, writers)
