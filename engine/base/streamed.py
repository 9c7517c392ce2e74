"""A base larger than memory: its layers stay in its files, and one at a time is in memory.

    files --load_streamed--> LoadedBase whose layers are empty, with its `StreamedLayers`
    passes --in_step--> all of them through layer 0, then all through layer 1, ...: each layer is read once

The passes are the model's own forward calls, each in a thread of its own, of which one runs at a time: it stops before
every layer until the others have come so far.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from engine.base.network import layer_list
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
    for file in sorted(folder.glob("*.safetensors")):
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


@contextmanager
def opened_tensors(file: Path) -> Iterator[Any]:
    """A safetensors file, nothing but its header read; raises EngineError where it is broken."""
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except (OSError, SafetensorError) as error:
        hint = "Fetch or save the model again"
        raise EngineError(f"cannot be read: {error}", where=str(file), hint=hint) from error


def in_step(streamed: StreamedLayers, passes: Sequence[Callable[[], T]]) -> list[T]:
    """What each pass returns. In order, each goes through a layer, then each through the next one.

    Each pass calls the model once. What one of them raises ends all of them.
    """
    turns = _Turns(len(passes))
    handles = [layer.register_forward_pre_hook(lambda *_: turns.wait()) for layer in streamed.layers]
    try:
        with ThreadPoolExecutor(len(passes), thread_name_prefix="pass") as pool:
            futures = [pool.submit(turns.run, number, read) for number, read in enumerate(passes)]
            try:
                turns.round()  # up to the first layer
                for number in range(len(streamed.layers)):
                    with streamed.loaded(number):
                        turns.round()
            finally:
                turns.stop()
            return [future.result() for future in futures]
    finally:
        for handle in handles:
            handle.remove()


class _Stopped(Exception):
    """Another pass has failed: this one ends too."""


class _Turns:
    """Threads that run one at a time, in order, each until it waits or ends."""

    def __init__(self, count: int) -> None:
        self._go = [threading.Semaphore(0) for _ in range(count)]
        self._back = threading.Semaphore(0)
        self._own = threading.local()
        self._running = set(range(count))
        self._failed: BaseException | None = None
        self._stopped = False

    def run(self, number: int, read: Callable[[], T]) -> T:
        """In a thread of its own: `read`, when it is its turn."""
        self._own.number = number
        try:
            self._turn(number)
            return read()
        except BaseException as error:
            if not isinstance(error, _Stopped):
                self._failed = self._failed or error
            raise
        finally:
            self._running.discard(number)
            self._back.release()

    def wait(self) -> None:
        """Called by a pass before a layer: the others' turn."""
        self._back.release()
        self._turn(self._own.number)

    def round(self) -> None:
        """Let each pass run once; raises what one of them raised."""
        for number in sorted(self._running):
            self._go[number].release()
            self._back.acquire()
            if self._failed is not None:
                raise self._failed

    def stop(self) -> None:
        """End the passes that still wait."""
        self._stopped = True
        for go in self._go:
            go.release()

    def _turn(self, number: int) -> None:
        self._go[number].acquire()
        if self._stopped:
            raise _Stopped


def _set(module: nn.Module, name: str, value: torch.Tensor | None) -> None:
    """Put a tensor in a parameter's place; None leaves an empty one of the same shape, on the meta device."""
    inner, _, last = name.rpartition(".")
    owner = module.get_submodule(inner)
    if value is None:
        value = torch.empty_like(getattr(owner, last), device="meta")
    setattr(owner, last, nn.Parameter(value, requires_grad=False))
