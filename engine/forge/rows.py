"""Training rows as base model tokens, and packs of them drawn by seed and step.

What a step sees depends on (seed, stage, step, task) alone, so a resumed run sees exactly what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.base.chat import answers_ids, prompts_ids
from engine.base.network import has_full_attention
from engine.errors import EngineError
from engine.events import Reporter
from engine.forge.recipe import DataRecipe
from engine.forge.variants import task_variants
from engine.tasks.tasks import Task, TaskRow, read_rows, without_instruction
from engine.training.packing import PackedBatch, TokenRow, pack, take_that_fit

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


@dataclass(frozen=True)
class TaskTokens:
    """The usable training rows of a task, or of a variant of it.

    hidden: the same rows without their instruction.
    variant: which variant of the task these rows are; empty for the task itself.
    variants: further tasks made from this one.
    """

    task: Task
    prompts: tuple[str, ...]
    rows: tuple[TokenRow, ...]
    hidden: tuple[TokenRow, ...]
    variant: str = ""
    variants: tuple[TaskTokens, ...] = ()

    @property
    def name(self) -> str:
        """The task's name, and its variant's."""
        return f"{self.task.name}~{self.variant}" if self.variant else self.task.name

    @property
    def mean_length(self) -> float:
        """Mean tokens of a row."""
        return sum(map(len, self.rows)) / len(self.rows)


def tokenize_tasks(base: LoadedBase, tasks: Sequence[Task], recipe: DataRecipe, reporter: Reporter) -> list[TaskTokens]:
    """All tasks as tokens; tasks with too few short rows are left out and said."""
    kept, left_out = [], []
    with reporter.stage("tokenize", len(tasks), "tasks") as stage:
        for task in tasks:
            tokens = _tokenize(base, task, read_rows(task.train_path), recipe)
            if len(tokens.rows) >= recipe.task_rows:
                kept.append(tokens)
            else:
                left_out.append(task.name)
            stage.advance()
    if not kept:
        raise EngineError(
            f"no task has {recipe.task_rows} rows of at most {recipe.row_tokens} tokens",
            hint="Raise data.row_tokens or lower data.task_rows in the recipe",
        )
    if left_out:
        reporter.note(f"{len(left_out)} tasks have fewer than {recipe.task_rows} short rows and are left out")
    return kept


def split_held_out(
    data: Sequence[TaskTokens], count: int, seed: int, known: Collection[str] = ()
) -> tuple[list[TaskTokens], list[TaskTokens]]:
    """Tasks for training, and `count` tasks kept from it, drawn by the seed.

    Args:
        known: tasks that what is trained on was trained on before: nothing is kept from it by holding these out.

    Raises:
        EngineError: nothing would be left to train on, or too few tasks are new to it.
    """
    if count >= len(data):
        raise EngineError(
            f"{count} held-out tasks leave none of {len(data)} to train on", hint="Lower held_out in the recipe"
        )
    new = sorted(tokens.task.name for tokens in data if tokens.task.name not in known)
    if count > len(new):
        raise EngineError(
            f"{count} held-out tasks are asked for, but the generator to start from was trained on all but {len(new)}",
            hint="Lower held_out in the recipe",
        )
    names = set(random.Random(f"{seed}/held-out").sample(new, count))
    return [t for t in data if t.task.name not in names], [t for t in data if t.task.name in names]


def draw_pack(tokens: TaskTokens, recipe: DataRecipe, place: str, hidden: bool = False) -> list[TokenRow]:
    """Rows of one task, without their instruction if `hidden`, that fit one packed sequence.

    Drawn by `place` (seed, stage, step, …).
    """
    chance = random.Random(f"{place}/{tokens.name}")
    rows = tokens.hidden if hidden else tokens.rows
    return take_that_fit(chance.sample(rows, min(recipe.pack_rows, len(rows))), recipe.pack_tokens)


def draw_batch(
    base: LoadedBase,
    groups: Sequence[TaskTokens],
    packs: int,
    recipe: DataRecipe,
    place: str,
    hidden: Sequence[bool] | None = None,
) -> PackedBatch:
    """`packs` packed sequences for each task of `groups`, task by task; `hidden`: whose rows lose their instruction.

    Where the base's layers would let packed rows see one another, each row is a line of its own; then every pack has
    as many rows as the smallest, since each task needs the same number of lines.
    """
    drawn = [
        draw_pack(tokens, recipe, f"{place}/{index}", without)
        for tokens, without in zip(groups, hidden or [False] * len(groups), strict=True)
        for index in range(packs)
    ]
    if not has_full_attention(base.model):
        fewest = min(map(len, drawn))
        drawn = [[row] for rows in drawn for row in rows[:fewest]]
    return pack(drawn, base.tokenizer.pad_token_id or 0, max(1, recipe.pad_to)).to(base.device)


def add_variants(
    base: LoadedBase, data: Sequence[TaskTokens], recipe: DataRecipe, seed: int, reporter: Reporter
) -> list[TaskTokens]:
    """Training tasks with their variants, drawn by the seed; variants with too few short rows are left out."""
    if not recipe.variants:
        return list(data)
    varied = []
    with reporter.stage("variants", len(data), "tasks") as stage:
        for tokens in data:
            task = tokens.task
            made = task_variants(task.name, read_rows(task.train_path), recipe.variants, seed)
            variants = (_tokenize(base, task, rows, recipe, variant) for variant, rows in made)
            kept = tuple(variant for variant in variants if len(variant.rows) >= recipe.task_rows)
            varied.append(replace(tokens, variants=kept))
            stage.advance()
    return varied


def with_variants(tasks: Sequence[TaskTokens], part: float, place: str) -> list[TaskTokens]:
    """The tasks with a `part` of them exchanged for one of their variants, drawn by `place`."""
    chance = random.Random(f"{place}/variants")
    return [chance.choice(t.variants) if t.variants and chance.random() < part else t for t in tasks]


def _tokenize(
    base: LoadedBase, task: Task, labelled: Sequence[TaskRow], recipe: DataRecipe, variant: str = ""
) -> TaskTokens:
    answers = answers_ids(base.tokenizer, [row.response for row in labelled])
    full = _with_answers(base, [row.prompt for row in labelled], answers)
    fitting = [place for place, row in enumerate(full) if len(row) <= recipe.row_tokens]
    prompts = [labelled[place].prompt for place in fitting]
    hidden = _with_answers(base, [without_instruction(prompt) for prompt in prompts], [answers[p] for p in fitting])
    rows = tuple(full[place] for place in fitting)
    return TaskTokens(task, tuple(prompts), rows, tuple(hidden), variant)


def _with_answers(base: LoadedBase, prompts: Sequence[str], answers: Sequence[list[int]]) -> list[TokenRow]:
    asked = prompts_ids(base.tokenizer, prompts)
    return [TokenRow(tuple(prompt), tuple(answer)) for prompt, answer in zip(asked, answers, strict=True)]
