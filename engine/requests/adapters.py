"""Making adapters, comparing them, and taking them in and out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import abspath, basename
from pathlib import Path

from engine.requests.choices import ContextChoice, ModelChoice, PromptChoice

# The base with answered rows before each prompt.
EXAMPLES_ARM = "examples"


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """The base into memory, ahead of the request that needs it; encoder and generator too, where they are needed."""

    models: ModelChoice
    with_generator: bool = True


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Prompts -> adapter, written to `out` as a PEFT folder."""

    models: ModelChoice
    prompts: PromptChoice
    solve: ContextChoice = field(default_factory=ContextChoice)
    out: Path
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class GenerateEachRequest:
    """Datasets -> an adapter each, in a folder of its name in `out`. Resumable; several processes share them.

    sources: prompt files and folders, each a dataset; one folder alone stands for the files and folders in it.
    column, label, template, text_files, count, seed: of every dataset, as in `PromptChoice`.
    replace: folders that are there, and were made from other rows or settings, may be replaced.
    """

    models: ModelChoice
    sources: tuple[Path, ...]
    solve: ContextChoice = field(default_factory=ContextChoice)
    out: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    count: int | None = None
    seed: int = 0
    replace: bool = False

    def of(self, name: str, source: Path) -> GenerateRequest:
        """The request that makes the adapter of one dataset."""
        prompts = PromptChoice(
            source=source,
            column=self.column,
            label=self.label,
            template=self.template,
            text_files=self.text_files,
            count=self.count,
            seed=self.seed,
        )
        return GenerateRequest(
            models=self.models, prompts=prompts, solve=self.solve, out=self.out / name, replace=self.replace
        )


NO_ADAPTER = Path("none")


@dataclass(frozen=True, kw_only=True)
class RefineRequest:
    """An adapter, or none, trained on the answered rows of a prompt file -> adapter in `out`. Resumable.

    adapter: a PEFT folder, or `NO_ADAPTER` to begin with a LoRA that changes nothing.
    source, column, label, template, text_files: the prompts and their answers, as in `PromptChoice`.
    answered: how many rows are trained on, at most; a fifth of them is not, but decides when to stop.
    held_out: how many further rows are kept back to check the adapter, at most.
    rank, modules: of a fresh LoRA, as in `ContextChoice`.
    steps, seconds: training ends after so many at the latest.
    rate: learning rate of Adam.
    examples: how many answered rows the base gets before each prompt in the check.
    """

    models: ModelChoice
    adapter: Path
    source: Path
    out: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    answered: int = 512
    held_out: int = 40
    rank: int = 8
    modules: tuple[str, ...] = ()
    steps: int = 400
    seconds: int = 60
    rate: float = 2e-3
    examples: int = 8
    seed: int = 0
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Base and adapted answers to the same prompts, streamed side by side; scored with labels.

    prompts: None is possible when `texts` and `adapters` or `chain` are given.
    adapters: PEFT folders; empty generates one adapter from `prompts`, unless there is a chain.
    chain: a chain of the base's layers, as in `ChainExportRequest`, answers too; with it goes the one adapter, if any.
    rows: how many prompts are answered, from the first on, when neither `numbers` nor `texts` names them.
    numbers: the prompts with these numbers (`PromptRow.number`, from 1), in file order.
    texts: more prompts, answered first; their numbers are -1, -2 and so on.
    temperature: 0 takes the likeliest token; above it tokens are drawn, in all arms with the same random numbers.
    sampling_seed: seed of the drawn tokens.
    metric: "exact_match", "rouge_l", "last_number", "label"; None chooses the one that fits the known answers.
    examples: the base also answers with so many answered rows of the prompt file before each prompt, as turns; rows
        that are answered are never among them. 0 leaves that arm out.
    decoder: one of `DECODERS`: what writes the answers.
    """

    models: ModelChoice
    prompts: PromptChoice | None = None
    adapters: tuple[Path, ...] = ()
    chain: str | None = None
    rows: int = 4
    numbers: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    max_new_tokens: int = 64
    temperature: float = 0.0
    sampling_seed: int = 0
    metric: str | None = None
    examples: int = 0
    decoder: str = "auto"

    @property
    def arms(self) -> tuple[str, ...]:
        """What answers: "base" and "adapted", or "base" and the folder name of each of several adapters.

        The base with examples in the prompt comes after the base, as "examples"; a chain comes last, as "chain".
        """
        first = [self.base_arm, EXAMPLES_ARM] if self.examples else [self.base_arm]
        # Without a chain there is an adapter, which may be one that is generated.
        return arm_names(first, self.adapters, self.chain, adapted=bool(self.adapters) or self.chain is None)

    @property
    def base_arm(self) -> str:
        """What the base alone is called."""
        return "base"

    @property
    def adapted_arms(self) -> tuple[str, ...]:
        """Those of `arms` that are not the base: the adapters, then the chain."""
        return self.arms[2 if self.examples else 1 :]


def arm_names(first: Sequence[str], adapters: Sequence[Path], chain: str | None, *, adapted: bool) -> tuple[str, ...]:
    """Names of what answers: `first`, then "adapted" or the folder name of each of several adapters, then "chain".

    Args:
        adapted: there is an adapter, named or not.
    """
    names = list(first)
    if len(adapters) < 2:
        names += ["adapted"] if adapted else []
    else:
        for folder in adapters:
            name = basename(abspath(folder))
            others = (f"{name} {number}" for number in itertools.count(2))
            names.append(next(free for free in itertools.chain([name], others) if free not in names))
    return (*names, "chain") if chain is not None else tuple(names)


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """An adapter folder -> a checked export in one of the formats of `engine.adapter.formats`.

    format: "peft", "merged", "gguf", "gguf-merged", "ollama" or "mlx".
    float_type: "float32", "float16" or "bfloat16", of the written numbers; not every format has all of them.
    zip: write one zip file instead of a folder.
    note: of the person, for the card.
    """

    models: ModelChoice
    adapter: Path
    out: Path
    format: str = "peft"
    float_type: str = "float32"
    zip: bool = False
    note: str = ""
    replace: bool = False

    @property
    def target(self) -> Path:
        """What is written."""
        return export_target(self.out, self.zip)


def export_target(out: Path, zipped: bool) -> Path:
    """The folder `out`, or the zip file of that name."""
    if not zipped or out.suffix.lower() == ".zip":
        return out
    return out.with_name(f"{out.name}.zip")


@dataclass(frozen=True, kw_only=True)
class CombineRequest:
    """Adapters of one base -> their weighted sum, written to `out` as a checked PEFT folder.

    adapters: PEFT folders.
    weights: one an adapter, in their order; empty is the average.
    rank: of the result, by a truncated SVD; None keeps the sum exact, with the ranks added up.
    names: what the adapters are called in the record of the sum; empty is the names of their folders, which in the
        app's library are all the same.
    """

    models: ModelChoice
    adapters: tuple[Path, ...]
    out: Path
    weights: tuple[float, ...] = ()
    rank: int | None = None
    names: tuple[str, ...] = ()
    replace: bool = False

    @property
    def called(self) -> tuple[str, ...]:
        """The names, those not given too."""
        return self.names or tuple(basename(abspath(folder)) for folder in self.adapters)

    @property
    def factors(self) -> tuple[float, ...]:
        """The weights, those not given too."""
        return self.weights or average(len(self.adapters))


def average(count: int) -> tuple[float, ...]:
    """Weights of an average of so many adapters."""
    return (1 / count,) * count


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """A PEFT folder or a GGUF adapter of any tool -> a PEFT folder of ours, checked, written to `out`.

    models: `models.base` is the base it is checked on and belongs to.
    source: the folder, or the .gguf file.
    """

    models: ModelChoice
    source: Path
    out: Path
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class ServeModelRequest:
    """A base and adapters behind llama.cpp's server, until the person stops it.

    adapters: PEFT folders; none serves the base alone. host, port: where it listens.
    """

    models: ModelChoice
    adapters: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080


@dataclass(frozen=True, kw_only=True)
class ModelsRequest:
    """What base models, encoders and generators are here, and what can be fetched.

    fetch: names to fetch now; empty only lists.
    """

    fetch: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InfoRequest:
    """What a path is: a prompt file or dataset folder, an adapter, a generator, or (None) this installation."""

    models: ModelChoice
    target: Path | None = None
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"


@dataclass(frozen=True, kw_only=True)
class SheetRequest:
    """A few unanswered prompts that differ, for a person to answer -> a JSON Lines file with empty responses.

    count: how many prompts.
    """

    source: Path
    out: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    count: int = 8
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class TeachRequest:
    """Prompts without answers -> a JSON Lines file of answers by a larger model. Resumable.

    source, column, label, template, text_files: the prompts, as in `PromptChoice`. Answered rows keep their answers.
    teacher: the base URL of an OpenAI-compatible endpoint, or a base model's name, folder or .gguf file.
    teacher_model: the endpoint's name of the model; None is the first it offers.
    key_from: name of the environment variable with the endpoint's key.
    count: how many prompts are answered, at most.
    examples: how many rows with answers of their own stand before each prompt, at most.
    context: an instruction before each prompt, as in `ContextChoice`; it is not written with the prompts.
    max_new_tokens: longer answers are left out.
    most_tokens: no request begins once so many tokens were used, prompts and answers together; None sets no limit.
    device, dtype, trust_remote_code: of a teacher on this machine, as in `ModelChoice`.
    at_once: requests at a time. tries: further tries of a request that failed. timeout: seconds a request may take.
    """

    source: Path
    out: Path
    teacher: str
    teacher_model: str | None = None
    key_from: str = "OPENAI_API_KEY"
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    count: int = 64
    examples: int = 8
    context: str | None = None
    max_new_tokens: int = 256
    most_tokens: int | None = None
    at_once: int = 4
    tries: int = 5
    timeout: int = 120
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False
    seed: int = 0
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class PreviewRequest:
    """Facts, columns and one page of a prompt file; with `sample` also the batch that a generation would read.

    solve: what the adapter is to be made from; the preview shows what is found for that.
    generator: decides how many prompts are sampled when `prompts.count` does not; None is the released one.
    sample: needs one pass over the whole file; facts, columns and an early page do not.
    start, rows: the page begins after so many rows and has so many; rows without a prompt count too.
    """

    prompts: PromptChoice
    solve: ContextChoice = field(default_factory=ContextChoice)
    generator: Path | None = None
    sample: bool = True
    start: int = 0
    rows: int = 50
