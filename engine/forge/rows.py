"""Training rows as base model tokens, prompts as conditions; packs and prompt batches of them drawn by seed and step.

What a step sees depends on (seed, stage, step, task) alone, so a resumed run sees exactly what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.base.chat import answers_ids, padding_id, prompts_ids
from engine.base.network import has_full_attention
from engine.condition import TextEncoder, answered_text, fill_condition
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json, replacing_file
from engine.forge.recipe import DataRecipe
from engine.tasks.tasks import Task, TaskRow, read_rows, without_instruction
from engine.training.packing import PackedBatch, TokenRow, pack, take_that_fit, token_rows
from engine.weights.storage import read_tensors
from engine.workers import join_workers

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

# Prompts encoded a task, in units of the condition's N: enough for fresh batches, small enough for the disk.
POOL = 2
ANSWERED_ROWS = 64
"""So many of a task's rows are encoded with their answers, where these are asked for."""
_PROMPTS, _ANSWERED = "hidden", "answered"


@dataclass(frozen=True)
class TaskTokens:
    """The usable training rows of a task: `prompts` and `answers` as text, `rows` as tokens.

    hidden: the same rows without their instruction.
    """

    task: Task
    prompts: tuple[str, ...]
    rows: tuple[TokenRow, ...]
    hidden: tuple[TokenRow, ...]
    answers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def mean_length(self) -> float:
        """Mean tokens of a row."""
        return sum(map(len, self.rows)) / len(self.rows)


def tokenize_tasks(base: LoadedBase, tasks: Sequence[Task], recipe: DataRecipe, reporter: Reporter) -> list[TaskTokens]:
    """All tasks as tokens; tasks with too few short rows are left out, with a note."""
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
        problem = f"all {len(data)} tasks that can be used would be held out: {count} are only watched"
        raise EngineError(problem, hint="Add tasks, or lower held_out in the recipe")
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
    return as_batch(base, drawn, recipe)


def as_batch(base: LoadedBase, packs: Sequence[Sequence[TokenRow]], recipe: DataRecipe) -> PackedBatch:
    """Rows, grouped into packs, as one batch on the base's device, see `draw_batch`."""
    if not has_full_attention(base.model):
        fewest = min(map(len, packs))
        packs = [[row] for rows in packs for row in rows[:fewest]]
    return pack(packs, padding_id(base.tokenizer), max(1, recipe.pad_to)).to(base.device)


def _tokenize(base: LoadedBase, task: Task, labelled: Sequence[TaskRow], recipe: DataRecipe) -> TaskTokens:
    answers = answers_ids(base.tokenizer, [row.response for row in labelled])
    full = token_rows(prompts_ids(base.tokenizer, [row.prompt for row in labelled]), answers)
    fitting = [place for place, row in enumerate(full) if len(row) <= recipe.row_tokens]
    prompts = [labelled[place].prompt for place in fitting]
    bare = prompts_ids(base.tokenizer, [without_instruction(prompt) for prompt in prompts])
    hidden = token_rows(bare, [answers[place] for place in fitting])
    rows = tuple(full[place] for place in fitting)
    texts = tuple(labelled[place].response for place in fitting)
    return TaskTokens(task, tuple(prompts), rows, tuple(hidden), texts)


class ConditionPool:
    """For each task a pool of encoded prompts, and of answered rows, to draw batches from: (pool, L, C) float16."""

    def __init__(self, folder: Path, prompts: int, tokens: int) -> None:
        self._folder = folder
        self.prompts = prompts
        self.tokens = tokens
        self._pools: dict[str, dict[str, Tensor]] = {}

    def fill(
        self, encoder: TextEncoder, data: Sequence[TaskTokens], seed: int, reporter: Reporter, *, answered: bool = False
    ) -> None:
        """Encode what is not on disk yet; several processes share the work.

        Args:
            answered: encode the first ANSWERED_ROWS rows with their answers too, in their order.
        """
        workers, fingerprint = join_workers(), encoder.fingerprint
        texts = {each.name: {_PROMPTS: _draw_texts(each, self.prompts * POOL, seed)} for each in data}
        if answered:
            for each in data:
                texts[each.name][_ANSWERED] = _answered_texts(each)
        paths = {
            name: self._folder / f"{name}-{digest_json([fingerprint, self.tokens, *drawn.values()])[:12]}.safetensors"
            for name, drawn in texts.items()
        }
        with reporter.stage("encode", len(data), "tasks") as stage:
            for name in workers.share(list(paths)):
                self._encode(encoder, texts[name], paths[name])
                workers.advance(stage)
            workers.wait()
            for name, path in paths.items():
                # Processes of other machines may have written elsewhere; then it is encoded here too.
                self._encode(encoder, texts[name], path)
                self._pools[name] = read_tensors(path)

    def _encode(self, encoder: TextEncoder, texts: Mapping[str, Sequence[str]], path: Path) -> None:
        if path.is_file():
            return
        tensors = {}
        for name, each in texts.items():
            hidden = encoder.encode(each, self.tokens).to(torch.float16)
            used = int(hidden.abs().sum((0, 2)).nonzero().max()) + 1
            tensors[name] = hidden[:, :used].contiguous()
        with replacing_file(path) as part:
            save_file(tensors, part)

    def draw(
        self,
        task: str,
        place: str,
        few: float = 0.0,
        device: torch.device | None = None,
        answered: Sequence[int] = (),
    ) -> Tensor:
        """A prompt batch of a task as a condition (N, L, C) float32; a part `few` of them from 1 to N prompts.

        Args:
            answered: rows of the task that come first, with their answers, in the place of as many prompts.
        """
        chance = random.Random(f"{place}/{task}")
        pool = self._pools[task]
        most = self.prompts - len(answered)
        count = chance.randint(1, most) if chance.random() < few else most
        there = pool[_PROMPTS].shape[0]
        parts = [self._taken(pool[_PROMPTS], chance.sample(range(there), min(count, there)), device)]
        if answered:
            parts.insert(0, self._taken(pool[_ANSWERED], answered, device))
        return fill_condition(torch.cat(parts), self.prompts)

    def _taken(self, pool: Tensor, places: Sequence[int], device: torch.device | None) -> Tensor:
        hidden = torch.zeros(len(places), self.tokens, pool.shape[2], device=device)
        # What is sent to a device is as small as it is kept.
        hidden[:, : pool.shape[1]] = pool[torch.tensor(places)].to(device)
        return hidden


def _answered_texts(tokens: TaskTokens) -> list[str]:
    """Rows without their instruction: the prompts beside them have it."""
    pairs = islice(zip(tokens.prompts, tokens.answers, strict=True), ANSWERED_ROWS)
    return [answered_text(without_instruction(prompt), answer) for prompt, answer in pairs]


def _draw_texts(tokens: TaskTokens, count: int, seed: int) -> list[str]:
    texts = list(dict.fromkeys(tokens.prompts))
    return random.Random(f"{seed}/pool/{tokens.name}").sample(texts, min(count, len(texts)))
