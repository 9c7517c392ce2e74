"""A base larger than memory: its layers stay in its files, and one at a time is in memory.

    files --load_streamed--> LoadedBase whose layers are empty, with its `StreamedLayers`
    passes --in_step--> all of them through layer 0, then all through layer 1, ...: each layer is read once

The passes are the model's own forward calls, each a greenlet: it stops before every layer until the others have come so
far. All run in one thread, so what holds for a thread, such as `torch.inference_mode`, holds for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from greenlet import getcurrent, greenlet
from torch import nn

from engine.base.network import layer_list
from engine.base.weight_files import opened_tensors, weight_files
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.base.load import BaseRef

T = TypeVar("T")


class StreamedLayers:
    """The layers of a model whose weights are on the meta device, except while a layer is open.

    layers: the model's own modules, in order.
    """

    def __init__(
        self, layers: nn.ModuleList, path: str, files: dict[str, Path], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Take the layers at `path` of the model; `files`: where each tensor of the model lies."""
        self.layers = layers
        self._path, self._files = path, files
        self._device, self._dtype = device, dtype

    @contextmanager
    def loaded(self, number: int) -> Iterator[None]:
        """While open, the layer of this number has its weights.

        Raises:
            EngineError: a file is broken or gone.
        """
        layer = self.layers[number]
        names = [name for name, _ in layer.named_parameters()]
        try:
            fill(layer, names, f"{self._path}.{number}.", self._files, self._device, self._dtype)
            yield
        finally:
            for name in names:
                _set(layer, name, None)


def streamed_model(ref: BaseRef, folder: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, StreamedLayers]:
    """The model of a base with everything but its layers in memory, and its layers.

    Raises:
        EngineError: its tensors have other names than the model's, a file is broken, the layers are not found.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(ref.config, dtype=dtype)
    layers = layer_list(model)
    if layers is None:
        problem = f"it is not known how {type(model).__name__} keeps its layers, so they cannot be streamed"
        raise EngineError(problem, where=ref.name, hint="Choose a base that fits into memory")
    path = next(name for name, part in model.named_modules() if part is layers)
    files = tensor_files(Path(folder))
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    resident = [name for name, _ in model.named_parameters() if not name.startswith(f"{path}.")]
    resident = [name for name in resident if name in files or name not in tied]
    lacking = [name for name, _ in model.named_parameters() if name not in files and name not in tied]
    if lacking:
        problem = f"its files have no tensor {lacking[0]}, so its layers cannot be streamed"
        raise EngineError(problem, where=ref.name, hint="Choose a base that fits into memory")
    fill(model, resident, "", files, device, dtype)
    model.tie_weights()
    return model.eval().requires_grad_(False), StreamedLayers(layers, path, files, device, dtype)


def tensor_files(folder: Path) -> dict[str, Path]:
    """Where each tensor of a model folder lies; raises EngineError where a file is broken."""
    files: dict[str, Path] = {}
    for file in weight_files(folder):
        with opened_tensors(file) as tensors:
            files |= dict.fromkeys(tensors.keys(), file)
    return files


def fill(
    module: nn.Module,
    names: Sequence[str],
    prefix: str,
    files: dict[str, Path],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Give parameters of a module the tensors of their names after `prefix`."""
    with ExitStack() as stack, torch.no_grad():
        opened: dict[Path, Any] = {}
        for name in names:
            file = files[prefix + name]
            if file not in opened:
                opened[file] = stack.enter_context(opened_tensors(file))
            _set(module, name, opened[file].get_tensor(prefix + name).to(device, dtype))


def in_step(streamed: StreamedLayers, passes: Sequence[Callable[[], T]]) -> list[T]:
    """What each pass returns. In order, each goes through a layer, then each through the next one.

    Each pass calls the model once. What one of them raises ends all of them.
    """
    runs = [greenlet(read) for read in passes]
    main = getcurrent()

    def wait(*_: Any) -> None:
        main.switch()

    handles = [layer.register_forward_pre_hook(wait) for layer in streamed.layers]
    try:
        found = [run.switch() for run in runs]  # up to the first layer
        for number in range(len(streamed.layers)):
            with streamed.loaded(number):
                found = [run.switch() for run in runs]
        return found
    finally:
        for run in runs:
            if run:
                run.throw()  # it waits before a layer and ends there; what it has open is closed
        for handle in handles:
            handle.remove()


def _set(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
    """Put a tensor in a parameter's place; None leaves an empty one of the same shape, on the meta device."""
    inner, _, last = name.rpartition(".")
    owner = module.get_submodule(inner)
    if value is None:
        value = torch.empty_like(getattr(owner, last), device="meta")
    setattr(owner, last, nn.Parameter(value, requires_grad=False))
