"""Log-probabilities of the real mlx-lm, which runs on Linux too; in the numbers that the files hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest


def log_probabilities(model: Path, ids: Sequence[int], adapter: Path | None = None) -> np.ndarray:
    """Of every next token after each prefix of `ids`: (len(ids), vocabulary)."""
    mlx_lm = pytest.importorskip("mlx_lm", reason="mlx-lm is not installed")
    import mlx.core as mx

    # A GPU's float32 is not everywhere that of a CPU.
    mx.set_default_device(mx.cpu)
    loaded, _ = mlx_lm.load(str(model), adapter_path=None if adapter is None else str(adapter))
    logits = np.array(loaded(mx.array([list(ids)]))[0].astype(mx.float32)).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
