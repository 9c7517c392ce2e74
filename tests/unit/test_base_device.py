"""Devices and types by name, and memory that runs out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engine.base.device import device_memory, explain_out_of_memory, pick_device, pick_dtype
from engine.errors import EngineError

Machine = Callable[..., None]
CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend to have so many cuda devices, and mps or not."""

    def pretend(cuda: int, mps: bool, bfloat16: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(("cuda", "mps", "best"), [(2, True, CUDA), (0, True, MPS), (0, False, CPU)])
def test_auto_takes_the_fastest_there_is(machine: Machine, cuda: int, mps: bool, best: torch.device) -> None:
    machine(cuda, mps)
    assert pick_device("auto") == best


def test_a_device_by_number(machine: Machine) -> None:
    machine(2, False)
    assert pick_device("cuda") == CUDA
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(EngineError, match="There is: cuda:0, cuda:1, cpu"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "tpu", "", "CPU "])
def test_a_device_that_is_not_there_is_told(machine: Machine, name: str) -> None:
    machine(0, False)
    with pytest.raises(EngineError, match="There is: cpu"):
        pick_device(name)


def test_types_by_device(machine: Machine) -> None:
    machine(1, False)
    assert [pick_dtype("auto", device) for device in (CPU, CUDA, MPS)] == [torch.float32, torch.bfloat16, torch.float16]
    machine(1, False, bfloat16=False)
    assert pick_dtype("auto", CUDA) == torch.float16
    assert pick_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(EngineError, match="float32, bfloat16, float16"):
        pick_dtype("int8", CPU)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_running_out_of_memory_says_what_to_lower(error: Exception) -> None:
    with pytest.raises(EngineError, match="Lower the batch"), explain_out_of_memory("the batch"):
        raise error


def test_a_real_allocation_that_is_too_large_is_told() -> None:
    with pytest.raises(EngineError, match="out of memory"), explain_out_of_memory("the batch"):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory("the batch"):
        raise RuntimeError("shapes differ")


def test_memory_of_the_process_is_known_or_none() -> None:
    memory = device_memory(CPU)
    assert memory is None or memory > 1 << 20


@pytest.mark.parametrize(("gpus", "taken"), [(2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]), (1, ["cuda:0"] * 4)])
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_launched_processes_take_the_gpus_in_turn(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, taken: list[str]
) -> None:
    machine(gpus, False)
    found = []
    for process in range(len(taken)):
        monkeypatch.setenv("LOCAL_RANK", str(process))
        found.append(str(pick_device(name)))
    assert found == taken
