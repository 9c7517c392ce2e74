"""What a person chooses for almost every job: the models, and the prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Base model, generator and where they run.

    base: "default", a hub id, a folder, or a .gguf file.
    generator: folder of a generator artifact; None is the released one.
    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    dtype: "auto", "float32", "bfloat16", "float16"; of the base model.
    trust_remote_code: run code that comes with a hub model; off unless the person says so.
    """

    base: str = "default"
    generator: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class PromptChoice:
    """Which prompts condition the adapter.

    source: a prompt file or a dataset folder.
    column: name of the prompt column; None finds it.
    count: how many prompts are sampled; None is what the generator was trained with. Of more, several adapters are
        made and averaged.
    seed: seed of the sampling.
    """

    source: Path
    column: str | None = None
    count: int | None = None
    seed: int = 0
