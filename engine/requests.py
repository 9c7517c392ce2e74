"""What can be asked of the engine: one dataclass a job.

The app, the headless run and the tests build the same requests; `engine.jobs.run` answers them.
Paths are what the person named; None means "the default", resolved by the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, count
from os.path import abspath, basename
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
    count: how many prompts are sampled; None is what the generator was trained with.
    seed: seed of the sampling.
    """

    source: Path
    column: str | None = None
    count: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """Base, encoder and generator into memory, ahead of the request that needs them."""

    models: ModelChoice


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Prompts -> adapter, written to `out` as a PEFT folder."""

    models: ModelChoice
    prompts: PromptChoice
    out: Path
    replace: bool = False


# Says something about answers of any length, and equals 1 where exact match does.
DEFAULT_METRIC = "rouge_l"


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Base and adapted answers to the same prompts, streamed side by side; scored with labels.

    prompts: None is possible when `texts` and `adapters` or `chain` are given.
    adapters: PEFT folders; empty generates one adapter from `prompts`, unless there is a chain.
    chain: a chain of the base's layers, as in `ChainExportRequest`, answers too; with it goes the one adapter, if any.
    rows: how many prompts are answered, from the first on, when neither `numbers` nor `texts` says which.
    numbers: the prompts with these numbers (`PromptRow.number`, from 1), in file order.
    texts: more prompts, answered first; their numbers are -1, -2 and so on.
    temperature: 0 takes the likeliest token; above it tokens are drawn, in all arms with the same random numbers.
    sampling_seed: seed of the drawn tokens.
    metric: "exact_match", "rouge_l", "last_number"; None is DEFAULT_METRIC.
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

    @property
    def arms(self) -> tuple[str, ...]:
        """What answers: "base" and "adapted", or "base" and the folder name of each of several adapters.

        A chain comes last, as "chain".
        """
        if self.chain is not None:
            return ("base", "adapted", "chain") if self.adapters else ("base", "chain")
        if len(self.adapters) < 2:
            return ("base", "adapted")
        names = ["base"]
        for folder in self.adapters:
            name = basename(abspath(folder))
            others = (f"{name} {number}" for number in count(2))
            names.append(next(free for free in chain([name], others) if free not in names))
        return tuple(names)


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """The quality table of a generator over the tasks of one split of a task folder.

    tasks: folder with `tasks.json`, `NAME.train.jsonl`, `NAME.test.jsonl`.
    library: folder of `collect`; None leaves the arms out that are made from it.
    out: folder for `table.json`, `table.md`, `table.svg` and `answers.jsonl`; finished arms found there are not run
        again.
    arms: names of arms and groups of arms (`engine.judge.arms`); empty is the group "table".
    only: names or patterns of the tasks judged; empty is all of the split.
    rows: test rows a task.
    seed, seeds: arms that draw something are measured with `seeds` seeds, `seed` the first of them.
    oracle_steps: optimizer steps of each LoRA trained on a task's own labels.
    record: write the arms' means into the generator's generator.json and card.
    """

    models: ModelChoice
    tasks: Path
    out: Path
    library: Path | None = None
    arms: tuple[str, ...] = ()
    split: str = "unseen"
    only: tuple[str, ...] = ()
    rows: int = 100
    count: int | None = None
    seed: int = 0
    seeds: int = 3
    oracle_steps: int = 60
    max_new_tokens: int = 64
    batch: int = 16
    record: bool = False


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutRequest:
    """Several tables of `evaluate`, each of a generator made without the set it is judged on, put into one.

    tables: folders that `evaluate` wrote; out: folder for `leave_one_out.json` and `leave_one_out.md`.
    """

    out: Path
    tables: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """An adapter folder -> a checked export in one of the formats of `engine.adapter.formats`.

    format: "peft", "merged", "gguf", "gguf-merged", "ollama" or "mlx".
    float_type: "float32", "float16" or "bfloat16", of the written numbers; not every format has all of them.
    zip: write one zip file instead of a folder.
    """

    models: ModelChoice
    adapter: Path
    out: Path
    format: str = "peft"
    float_type: str = "float32"
    zip: bool = False
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
    weights: one an adapter, in their order; empty is 1 each.
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
        return self.weights or (1.0,) * len(self.adapters)


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


@dataclass(frozen=True, kw_only=True)
class CollectRequest:
    """LoRA checkpoints of tasks: a multi-task start, then a few steps a task. Resumable.

    tasks: folder of tasks; out: folder of the library; recipe: a JSON file, None is the default recipe.
    start: folder of a generator whose frame the multi-task stage goes on from; None starts anew.
    """

    models: ModelChoice
    tasks: Path
    out: Path
    recipe: Path | None = None
    start: Path | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """A library -> a generator artifact at `out`. Resumable.

    library: folder of `collect`; recipe: a JSON file, None is the default recipe.
    """

    models: ModelChoice
    tasks: Path
    library: Path
    out: Path
    recipe: Path | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class PreviewRequest:
    """Facts, columns and one page of a prompt file; with `sample` also the batch that a generation would read.

    generator: says how many prompts are sampled when `prompts.count` does not; None is the released one.
    sample: needs one pass over the whole file; facts, columns and an early page do not.
    start, rows: the page begins after so many rows and has so many; rows without a prompt count too.
    """

    prompts: PromptChoice
    generator: Path | None = None
    sample: bool = True
    start: int = 0
    rows: int = 50


@dataclass(frozen=True, kw_only=True)
class TrainingTimeRequest:
    """How long training a LoRA on labelled prompts takes here, from a few real steps on their own rows.

    The LoRA is of the rank and modules of the chosen generator's adapters.

    steps: optimizer steps that are timed, after one that is not.
    batch: rows a step.
    """

    models: ModelChoice
    source: Path
    column: str | None = None
    steps: int = 4
    batch: int = 8


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What `collect` or `train` with the same settings would do: tasks, stages, disk, and what is done already.

    kind: "collect" or "train".
    library: folder of `collect`; needed for "train".
    out: of that command; None plans for an empty folder.
    """

    kind: str
    models: ModelChoice
    tasks: Path
    library: Path | None = None
    out: Path | None = None
    recipe: Path | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DepthRequest:
    """Search a chain of the base's layers for labelled prompts, and judge it on rows held out. Resumable.

    source: labelled prompts; at least 16 different ones.
    out: folder for `chain.json`, and for `search.json`, from which a stopped search goes on.
    held_out: labelled prompts to judge on; None holds out rows of `source`.
    adapter: PEFT folder of a LoRA that is attached all the time.
    chains: how many chains the search looks at.
    rows: how many rows it looks at them on, at least 8.
    moves: "both", "skip" or "loop".
    predictor: also learn which chain of the menu to take for which prompt, and try that on the held-out rows. Off by
        default: it needs the text encoder, and pays on few data sets (`engine.depth.predictor`).
    """

    models: ModelChoice
    source: Path
    out: Path
    column: str | None = None
    held_out: Path | None = None
    adapter: Path | None = None
    chains: int = 200
    rows: int = 32
    moves: str = "both"
    predictor: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ChainChoiceRequest:
    """The chain that the predictor of a search takes for each prompt, if held-out rows showed a gain.

    search: folder of a search with `predictor`.
    source: the prompts; labels are not looked at.
    adapter: PEFT folder of the LoRA that was attached during the search.
    """

    models: ModelChoice
    search: Path
    source: Path
    column: str | None = None
    adapter: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DepthOracleRequest:
    """An analysis, not an accuracy that can be had: a search of chains for each row by the row's own label. Resumable.

    source: labelled prompts.
    out: folder for `oracle.json`; rows that are finished there are not searched again.
    rows: how many rows, drawn at random.
    chains: how many chains each search looks at; there are three a row: skips only, loops only, both.
    length_weight: λ of the search, as published.
    """

    models: ModelChoice
    source: Path
    out: Path
    column: str | None = None
    adapter: Path | None = None
    rows: int = 16
    chains: int = 200
    length_weight: float = 5.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DepthTableRequest:
    """Ways to run the base, over tasks: itself, its best chains, with a generated adapter, with both. Resumable.

    Chains are searched on rows of `NAME.train.jsonl`, the prompts of which the adapter is generated from too; all is
    judged on rows of `NAME.test.jsonl`.

    tasks: folder with `tasks.json`, `NAME.train.jsonl`, `NAME.test.jsonl`.
    out: folder for `table.json`, `table.md`, and a folder a task; what is finished there is not done again.
    only: names or patterns of the tasks; empty is all of them, whatever their split.
    chains, rows: of each search, as in `DepthRequest`.
    """

    models: ModelChoice
    tasks: Path
    out: Path
    only: tuple[str, ...] = ()
    chains: int = 200
    rows: int = 32
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ChainExportRequest:
    """A chain of the base's layers -> a checked folder that other programs read.

    chain: folder or `chain.json` of a search, or a chain in words such as 0-12,15-29.
    adapter: PEFT folder of a LoRA that goes with the chain.
    format: "mergekit", "dense", "peft" or "json" (`engine.depth.export`).
    """

    models: ModelChoice
    chain: str
    out: Path
    adapter: Path | None = None
    format: str = "mergekit"
    replace: bool = False


Request = (
    LoadRequest
    | GenerateRequest
    | CompareRequest
    | EvaluateRequest
    | LeaveOneOutRequest
    | ExportRequest
    | CombineRequest
    | ImportRequest
    | ModelsRequest
    | InfoRequest
    | CollectRequest
    | TrainRequest
    | PreviewRequest
    | TrainingTimeRequest
    | PlanRequest
    | DepthRequest
    | DepthOracleRequest
    | DepthTableRequest
    | ChainChoiceRequest
    | ChainExportRequest
)
