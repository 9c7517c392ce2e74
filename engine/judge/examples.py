"""Worked examples for the prompt of the base: what people do who have labels and no adapter."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.base.chat import prompts_ids
from engine.forge.tasks import Task, read_rows
from engine.judge.arms import EXAMPLES

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
    limit = getattr(base.ref.config, "max_position_embeddings", None)
    while limit and examples:
        longest = max(map(len, prompts_ids(base.tokenizer, prompts, examples)))
        if longest + max_new_tokens <= limit:
            break
        examples.remove(max(examples, key=lambda pair: len(pair[0]) + len(pair[1])))
    return examples
