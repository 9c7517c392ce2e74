"""Where tensors live, in which type, and how exactly they are multiplied; memory in use and memory that runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from engine.errors import EngineError, is_out_of_memory, setting

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`: "auto" (cuda, then mps, then cpu), "cpu", "cuda", "cuda:1", "mps".

    Of several processes on a machine, each gets a GPU of its own for "auto" and "cuda", or shares one in turn.

    Raises:
        EngineError: there is no such device here; those that are there are listed.
    """
    available = _available_devices()
    gpus = [kind for kind in available if kind.startswith("cuda")]
    # torchrun and `accelerate launch` number the processes of a machine.
    own = gpus[int(os.environ.get("LOCAL_RANK", "0")) % len(gpus)] if gpus else "cuda"
    if name == "auto":
        name = next(kind for kind in (own, "mps", "cpu") if kind in available)
    if name == "cuda":
        name = own
    if name not in available:
        raise EngineError(
            f"there is no device {name!r} here", where=setting("device"), hint=f"There is: {', '.join(available)}"
        )
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type called `name`; "auto" is float32 on cpu, bfloat16 (else float16) on cuda, float16 on mps.

    Raises:
        EngineError: no such type.
    """
    if name == "auto":
        if device.type == "cuda":
            bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if bfloat16 else torch.float16
        return torch.float16 if device.type == "mps" else torch.float32
    if name not in _DTYPES:
        hint = f"There is: auto, {', '.join(_DTYPES)}"
        raise EngineError(f"there is no type {name!r}", where=setting("dtype"), hint=hint)
    return _DTYPES[name]


def dtype_name(dtype: object) -> str:
    """`float32` of `torch.float32`, as JSON and the command line have it."""
    return str(dtype).removeprefix("torch.")


def device_memory(device: torch.device) -> int | None:
    """Bytes in use: tensors on cuda and mps, the whole process on the cpu; None where that is not known."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return None
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def explain_out_of_memory(lower: str) -> Iterator[None]:
    """Turns an out-of-memory error of the block into an EngineError whose hint is to lower `lower`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise EngineError("the device is out of memory", hint=f"Lower {lower}") from error


def _available_devices() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def short_products() -> AbstractContextManager[object]:
    """While open, linear modules and attention work in bfloat16 on a CPU that has instructions for it.

    With them (AVX512-BF16, AMX) it multiplies about twice as fast; sums stay in float32. On other CPUs bfloat16 would
    be slower, so nothing changes there. What lies between products, the residual stream and norms among it, stays as
    it is.
    """
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if has is None or not has():
        return nullcontext()
    # Frozen weights are never cached; of trained ones a cached copy would be one step old.
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


def exact_products() -> AbstractContextManager[object]:
    """While open, everything is multiplied in its own dtype."""
    return torch.autocast("cpu", enabled=False)
