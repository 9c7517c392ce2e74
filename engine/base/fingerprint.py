"""A cheap content hash of a base: enough to see that an adapter or a generator was made for another one.

It covers the config's shape and, for every weight file, its size and its first and last MiB. In a safetensors file
the first MiB holds the names and shapes of all tensors and mostly also the start of the embedding. A change that keeps
the size and touches only the middle of a large file is not seen: this is a guard against mistakes, not tampering.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.files import digest_bytes, digest_json

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_MIB = 1 << 20
# Fields that decide what the weights mean and that every transformers version writes in the same way.
_ESSENTIAL = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "tie_word_embeddings",
)


def fingerprint(config: PretrainedConfig, files: list[Path], *, commit: str | None = None) -> str:
    """SHA-256 over the essentials of `config` and over `files` (their names do not count, their order does).

    Args:
        files: the weight files, in a fixed order; none for a hub model whose weights are not fetched yet.
        commit: the commit of a hub model; it stands for the files.

    Raises:
        EngineError: a file cannot be read.
    """
    essentials = {name: getattr(config, name, None) for name in _ESSENTIAL}
    return digest_json({"config": essentials, "commit": commit, "files": [_file_digest(file) for file in files]})


def _file_digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(_MIB)
            file.seek(max(len(first), size - _MIB))
            return digest_bytes(str(size).encode(), b"\0", first, file.read(_MIB))
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=str(path)) from error
