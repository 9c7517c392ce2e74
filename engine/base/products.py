"""How exactly matrices are multiplied on a CPU.

CPUs with bfloat16 instructions (AVX512-BF16, AMX) multiply matrices about twice as fast in it; sums stay in float32.
On other CPUs bfloat16 would be slower, so nothing changes there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def short_products() -> AbstractContextManager[object]:
    """While open, linear modules and attention work in bfloat16 on a CPU that has instructions for it.

    Everything between them, the residual stream and norms among it, stays as it is.
    """
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if has is None or not has():
        return nullcontext()
    # Frozen weights are never cached; of trained ones a cached copy would be one step old.
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


def exact_products() -> AbstractContextManager[object]:
    """While open, everything is multiplied in its own dtype."""
    return torch.autocast("cpu", enabled=False)
