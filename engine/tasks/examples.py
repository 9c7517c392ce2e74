"""Worked examples for the prompt of the base: what people do who have labels and no adapter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.base.chat import prompts_ids
from engine.tasks.arms import EXAMPLES
from engine.tasks.tasks import Task, read_rows

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


def draw_examples(
    base: LoadedBase,
    task: Task,
    prompts: Sequence[str],
    seed: int,
    max_new_tokens: int,
    shown: Callable[[str], str] = str,
) -> list[tuple[str, str]]:
    """`EXAMPLES` labelled training rows of a task, drawn by the seed, as (prompt, answer).

    Where they and an answer would not fit into what the base reads, the longest are left out.

    Args:
        prompts: what is asked after the examples.
        shown: of a training row's prompt, what of it is shown.
    """
    rows = read_rows(task.train_path)
    drawn = random.Random(f"{seed}/examples/{task.name}").sample(rows, min(EXAMPLES, len(rows)))
    examples = [(shown(row.prompt), row.response) for row in drawn]
    return fitting_examples(base, prompts, examples, max_new_tokens)[0]


def fitting_examples(
    base: LoadedBase, prompts: Sequence[str], examples: Sequence[tuple[str, str]], max_new_tokens: int
) -> tuple[list[tuple[str, str]], list[list[int]]]:
    """Those of some (prompt, answer) examples that leave room for every prompt and its answer, the longest left out.

    Returns:
        The examples, and the token ids of each prompt with them before it.
    """
    kept = list(examples)
    limit = getattr(base.ref.config, "max_position_embeddings", None)
    while True:
        ids = prompts_ids(base.tokenizer, prompts, kept)
        if not limit or not kept or max(map(len, ids)) + max_new_tokens <= limit:
            return kept, ids
        kept.remove(max(kept, key=lambda pair: len(pair[0]) + len(pair[1])))
