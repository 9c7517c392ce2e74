"""Several processes (GPUs, machines) started by `accelerate launch` or torchrun; alone, every call costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

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
    state: Any

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

    def main_first(self) -> AbstractContextManager[None]:
        """The block runs in the main process before it does in the others."""
        return cast(AbstractContextManager[None], self.state.main_process_first())

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            self.state.wait_for_everyone()


def join_workers() -> Workers:
    """The process group that `accelerate launch` or torchrun made, or one process alone."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without this word accelerate takes processes that have no accelerator for strangers.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=_LONGEST_WAIT)
    return Workers(state.process_index, state.num_processes, state)
