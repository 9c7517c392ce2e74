"""What is known of one adapter of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.requests import ContextChoice, ModelChoice, PromptChoice
from engine.solver.plan import BOTH, EXAMPLES, KIND_WORDS

Origin = Literal["generated", "combined", "imported"]

REFINED = "refined"
"""What an adapter that was trained on answered rows is made from."""
MADE_FROM_WORDS = {**KIND_WORDS, REFINED: "training on answers"}
"""For people."""


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
class WeightedName:
    """One adapter of a sum, by the name that it had then."""

    name: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class AdapterRecord:
    """An adapter with where it comes from and how it did.

    Of these, only a generated one has prompts; `parts` and `kept` are those of a combined one, `imported` and `changes`
    those of an imported one.

    id: name of its place in the library, safe for any file system.
    name: what the person calls it; no two adapters of a library have the same.
    folder: its PEFT folder.
    dataset: name of the prompts, for people.
    source: prompt file or folder as the person named it.
    column, label, template, text_files, count, seed: as in `engine.requests.PromptChoice`.
    made_from: the kind of context that was found, as in `engine.requests.ContextChoice`, but never "auto"; `REFINED`
        of one that was trained; of one that was generated before there were other kinds, "generator".
    start, start_name: the adapter that training began with: its id, and what it was called then; empty where it was
        not trained.
    context: the text of the instruction that it holds; empty where there was none.
    rows: how many rows it was made from; None where it was not noted.
    taught_by: by the name of a model that wrote answers, how many of these rows it answered.
    verdict: what the held-out rows showed, in one sentence; empty where it was not checked.
    parts: what was added up.
    kept: share of the squared norm that a smaller rank kept, of "all" and by kind of module; empty for an exact sum.
    imported: the folder or file that was read.
    changes: sentences about what was made otherwise than it stood there.
    command: the headless command line that makes it; empty for a generated one, whose choices make it.
    base_id: what the base model is.
    base: how the person chose it ("default", a hub id, a folder, a file).
    generator: how the person chose it; None is the released one.
    generator_digest: SHA-256, in hexadecimal; empty where no generator made it.
    made: ISO time.
    seconds: by stage, in the order they ran.
    warm: the models were in memory already, so the seconds do not hold their loading.
    rank: of its matrices; None where it was not noted.
    parameters: of all its matrices together.
    bytes: of all files in its folder.
    norms: by module path, the norm of the update and of the frame's own adapter (`engine.events.UpdateNorms`).
    prompt_share: how much of the update comes from the prompts (`engine.weights.lora.share_beyond`); None where no
        generator made it, or it was not noted.
    scores: the latest by arm and metric.
    picks: how often the person liked an arm's answer best, by arm.
    note: by the person.
    """

    id: str
    name: str
    folder: Path
    origin: Origin = "generated"
    dataset: str = ""
    source: Path | None = None
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = PromptChoice.text_files
    count: int | None = None
    seed: int = 0
    made_from: str = "generator"
    start: str = ""
    start_name: str = ""
    context: str = ""
    rows: int | None = None
    taught_by: Mapping[str, int] = field(default_factory=dict)
    verdict: str = ""
    parts: tuple[WeightedName, ...] = ()
    kept: Mapping[str, float] = field(default_factory=dict)
    imported: Path | None = None
    changes: tuple[str, ...] = ()
    command: str = ""
    base_id: str
    base: str
    generator: Path | None = None
    generator_digest: str = ""
    device: str
    dtype: str
    made: str
    seconds: Mapping[str, float]
    warm: bool
    rank: int | None = None
    parameters: int
    bytes: int
    norms: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    prompt_share: float | None = None
    scores: tuple[AdapterScore, ...] = ()
    picks: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def prompts(self) -> PromptChoice | None:
        """The prompts it was generated from; None for one that was not generated."""
        if self.source is None:
            return None
        return PromptChoice(
            source=self.source,
            column=self.column,
            label=self.label,
            template=self.template,
            text_files=self.text_files,
            count=self.count,
            seed=self.seed,
        )

    @property
    def solve(self) -> ContextChoice:
        """What makes the same of the prompts again: what was found then is chosen now."""
        return ContextChoice(made_from=self.made_from, context=self.context or None)

    @property
    def why_not_trained(self) -> str:
        """Why it cannot be trained on, on its own prompts; empty where it can."""
        if self.source is None:
            return f"{self.name} was {self.origin}, so it has no prompts of its own; train it from Compare, on others"
        if self.label is None and self.made_from not in (EXAMPLES, BOTH, REFINED):
            return f"The prompts of {self.name} were read without answers; where they have some, train it from Compare"
        return ""

    @property
    def models(self) -> ModelChoice:
        """Base, generator and device it was made with."""
        return ModelChoice(base=self.base, generator=self.generator, device=self.device, dtype=self.dtype)

    @property
    def score_words(self) -> str:
        """The means of all arms, the base's first, by the metric measured last: "label 0.12 → 0.80, 40 rows"."""
        if not self.scores:
            return "not measured"
        last = self.scores[-1]
        means = " → ".join(f"{score.mean:.2f}" for score in self.scores if score.metric == last.metric)
        return f"{last.metric} {means}, {last.rows} row{'' if last.rows == 1 else 's'}"

    @property
    def source_words(self) -> str:
        """In a few words for people: its data set, the sum that it is, or the name of what was imported."""
        if self.origin == "combined":
            return sum_words(self.parts)
        return self.imported.name if self.imported else self.dataset


def sum_words(parts: Sequence[WeightedName]) -> str:
    """A sum as people write it: "0.7 x topics + animals - 0.5 x (cats + dogs)"."""
    words = ""
    for part in parts:
        size = abs(part.weight)
        factor = "" if size == 1 else f"{size:g} x "
        name = f"({part.name})" if {"+", "-"} & set(part.name.split()) else part.name
        sign = "-" if part.weight < 0 else "+" if words else ""
        words += (f" {sign} " if words else sign) + factor + name
    return words


@dataclass(frozen=True, kw_only=True)
class DamagedAdapter:
    """A place of the library whose record cannot be read; `problem` explains why. Its files are left alone."""

    id: str
    folder: Path
    problem: str
