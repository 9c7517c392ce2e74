"""Training and judging a generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.requests.choices import ModelChoice


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
class TrainingTimeRequest:
    """How long training a LoRA on labelled prompts takes here, from a few real steps on their own rows.

    The LoRA is of the rank and modules of the chosen generator's adapters.

    source, column, label, template, text_files: labelled prompts, as in `PromptChoice`.
    steps: optimizer steps that are timed, after one that is not.
    batch: rows a step.
    """

    models: ModelChoice
    source: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
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
class EvaluateRequest:
    """The quality table of a generator over the tasks of one split of a task folder.

    tasks: folder with `tasks.json`, `NAME.train.jsonl`, `NAME.test.jsonl`.
    library: folder of `collect`; None leaves the arms out that are made from it.
    out: folder for `table.json`, `table.md`, `table.svg` and `answers.jsonl`; finished arms found there are not run
        again.
    arms: names of arms and groups of arms (`engine.tasks.arms`); empty is the group "table".
    only: names or patterns of the tasks judged; empty is all of the split.
    rows: test rows a task.
    seed, seeds: arms that draw something are measured with `seeds` seeds, `seed` the first of them.
    oracle_steps: optimizer steps of each LoRA trained on a task's own labels.
    hide_instruction: the judged rows lose their prompts' first paragraph, while the prompts that an adapter is made
        from keep it; tasks whose prompts have only one paragraph are left out.
    record: write the arms' means into the generator's generator.json and card.
    teacher: for the arm "taught_32", as in `TeachRequest`.
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
    hide_instruction: bool = False
    max_new_tokens: int = 64
    batch: int = 16
    record: bool = False
    teacher: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutRequest:
    """Several tables of `evaluate`, each of a generator made without the set it is judged on, put into one.

    tables: folders that `evaluate` wrote; out: folder for `leave_one_out.json` and `leave_one_out.md`.
    """

    out: Path
    tables: tuple[Path, ...] = ()
