"""Several processes (GPUs, machines) started by `accelerate launch` or torchrun; alone, every call costs nothing."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from torch import Tensor

from engine.events import Stage

Item = TypeVar("Item")

# One process may have hours more to do than another; by default a wait of ten minutes is taken for a fault.
_LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True)
class Workers:
    """This process among `count`; process 0 writes files and reports."""

    index: int
    count: int

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """This process's part of `items`; every process gets at least one when there are enough."""
        return list(items[self.index :: self.count])

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.count == 1:
            return
        from accelerate.utils import reduce

        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = reduce(parameter.grad, reduction="mean")

    def take_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite every tensor with the main process's; all of them must call this."""
        if self.count == 1:
            return
        from accelerate.utils import broadcast

        for tensor in tensors:
            tensor.data.copy_(broadcast(tensor.detach().clone()))

    def united(self, part: Mapping[str, Item]) -> dict[str, Item]:
        """What every process has found, in one; all of them must call this."""
        if self.count == 1:
            return dict(part)
        from accelerate.utils import gather_object

        return dict(pair for found in gather_object([dict(part)]) for pair in found.items())

    def advance(self, stage: Stage) -> None:
        """Count an item that this process has done, and those that the others do meanwhile."""
        left = self.count if stage.total is None else stage.total - stage.step
        stage.advance(min(self.count, left))

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The block runs in the main process before it does in the others."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def wait(self) -> None:
        """Until every process is here."""
        if self.count == 1:
            return
        from torch.distributed import barrier

        # accelerate's own names a GPU by the process's number, which there is not where processes share one.
        barrier()


def _leave() -> None:
    """Without this a process sometimes ends in an abort: a thread of the group runs on while it is taken down."""
    from torch.distributed import destroy_process_group, is_initialized

    if is_initialized():
        destroy_process_group()


def join_workers() -> Workers:
    """The process group that `accelerate launch` or torchrun made, or one process alone."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # NCCL refuses processes that share a GPU; without the word "cpu" accelerate takes those without one for strangers.
    few = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > torch.accelerator.device_count()
    state = PartialState(cpu=few or parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=_LONGEST_WAIT)
    if state.num_processes > 1:
        atexit.register(_leave)
    return Workers(state.process_index, state.num_processes)
