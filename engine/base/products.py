"""How exactly float32 matrices are multiplied on a CPU.

CPUs with bfloat16 instructions (AMX, AVX512-BF16) multiply matrices much faster if the factors may be rounded to
bfloat16; sums stay in float32. On other CPUs the permission changes nothing. The setting is one of the whole process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def short_products() -> Iterator[None]:
    """While open, factors of float32 matrix products may be rounded to bfloat16."""
    with _precision("bf16"):
        yield


@contextmanager
def exact_products() -> Iterator[None]:
    """While open, float32 matrix products are float32 throughout."""
    with _precision("ieee"):
        yield


@contextmanager
def _precision(wanted: str) -> Iterator[None]:
    setting: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if not hasattr(setting, "fp32_precision"):  # torch before 2.9
        yield
        return
    before = setting.fp32_precision
    setting.fp32_precision = wanted
    try:
        yield
    finally:
        setting.fp32_precision = before
