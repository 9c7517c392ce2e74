"""What is known of one adapter of the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.requests import ModelChoice, PromptChoice


@dataclass(frozen=True, kw_only=True)
class AdapterScore:
    """A measured figure.

    arm: what answered, for example "base" or "adapted".
    rows: how many answers the mean is of.
    """

    arm: str
    metric: str
    rows: int
    mean: float


@dataclass(frozen=True, kw_only=True)
class AdapterRecord:
    """An adapter with where it comes from and how it did.

    id: name of its place in the library, safe for any file system.
    name: what the person calls it; no two adapters of a library have the same.
    folder: its PEFT folder.
    dataset: name of the prompts, for people.
    source: prompt file or folder as the person named it.
    column, count, seed: as in `engine.requests.PromptChoice`.
    base_id: what the base model is.
    base: how the person chose it ("default", a hub id, a folder, a file).
    generator: how the person chose it; None is the released one.
    generator_digest: SHA-256, in hexadecimal.
    made: ISO time.
    seconds: by stage, in the order they ran.
    warm: the models were in memory already, so the seconds do not hold their loading.
    parameters: of all its matrices together.
    bytes: of all files in its folder.
    norms: by module path, the norm of the update and of the frame's own adapter (`engine.events.UpdateNorms`).
    scores: the latest by arm and metric.
    picks: how often the person liked an arm's answer best, by arm.
    note: by the person.
    """

    id: str
    name: str
    folder: Path
    dataset: str
    source: Path
    column: str | None
    count: int | None
    seed: int
    base_id: str
    base: str
    generator: Path | None
    generator_digest: str
    device: str
    dtype: str
    made: str
    seconds: Mapping[str, float]
    warm: bool
    parameters: int
    bytes: int
    norms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    scores: tuple[AdapterScore, ...] = ()
    picks: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def prompts(self) -> PromptChoice:
        """The prompts it was generated from."""
        return PromptChoice(source=self.source, column=self.column, count=self.count, seed=self.seed)

    @property
    def models(self) -> ModelChoice:
        """Base, generator and device it was generated with."""
        return ModelChoice(base=self.base, generator=self.generator, device=self.device, dtype=self.dtype)


@dataclass(frozen=True, kw_only=True)
class DamagedAdapter:
    """A place of the library whose record cannot be read; `problem` says why. Its files are left alone."""

    id: str
    folder: Path
    problem: str
