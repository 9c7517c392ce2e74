"""What do the prompts tell the adapter that the rows themselves do not? Printed, for the log.

    python research/hidden_instruction.py TASKS [GENERATOR] [SPLIT ...]

Loss on rows with their instruction and without it, with the adapter of no prompts (the frame), of the task's own
prompts (they hold the instruction), half of the way there, and of another task's; beside it the frame that reads the
instruction. Where the generator was trained on answered rows: the same of its prompts and eight answered rows, beside
the frame that reads both. A few minutes on a CPU core.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from engine.base.fetch import resolve_encoder
from engine.base.load import load_base, resolve_base
from engine.condition import TextEncoder
from engine.events import Reporter
from engine.forge.queries import ANSWERED, IN_SIGHT, INSTRUCTION, Queries, draw_queries
from engine.forge.recipe import DataRecipe, DistillationRecipe
from engine.forge.rows import ConditionPool, TaskTokens, as_batch, tokenize_tasks
from engine.generator.artifact import load_generator
from engine.released import released_generator
from engine.tasks.tasks import SEEN, read_tasks
from engine.training.losses import adapters_in_batch, token_losses
from engine.training.packing import TokenRow

SEEN_TASKS, PACKS = 24, 3
DATA = DataRecipe(row_tokens=256, pack_tokens=320)
ARMS = ("frame", "half of own", "own", "another task's", "frame with context")


@torch.no_grad()
def main(split: str, folder: Path, generator_folder: Path, conditions: Path) -> None:
    """Print the losses on the tasks of a split."""
    base = load_base(resolve_base("default"), device="cpu", dtype="bfloat16")
    generator = load_generator(generator_folder)
    recipe = generator.spec.history["recipe"].get("distillation", {})
    settings = DistillationRecipe(**recipe)
    tasks = read_tasks(folder, split)
    if split == SEEN:
        trained_on = [task for task in tasks if task.name in generator.spec.history["tasks"]]
        tasks = random.Random(0).sample(trained_on, SEEN_TASKS)
    data = [tokens for tokens in tokenize_tasks(base, tasks, DATA, Reporter()) if tokens.hidden != tokens.rows]
    spec = generator.spec.condition
    pool = ConditionPool(conditions, spec.prompts, spec.tokens)
    answered = settings.steps > 0 and settings.answered > 0
    pool.fill(TextEncoder(resolve_encoder(Reporter()), torch.device("cpu")), data, 0, Reporter(), answered=answered)

    def loss(rows: Sequence[TokenRow], differences: Mapping[str, Tensor]) -> float:
        frame = generator.frame
        with adapters_in_batch(base.model, frame.layout, *frame.shifted(differences)):
            return token_losses(base.model, as_batch(base, [rows], DATA), 1).item()

    def measured(tokens: TaskTokens, other: TaskTokens, kind: str) -> tuple[float, ...]:
        packs = []
        for pack in range(PACKS):
            drawn, swapped = (
                draw_queries(base, each, settings, DATA, f"hidden/{pack}", kind) for each in (tokens, other)
            )
            own = made(tokens, drawn)
            nothing = {name: torch.zeros_like(value) for name, value in own.items()}
            half = {name: value / 2 for name, value in own.items()}
            arms = [loss(drawn.student, each) for each in (nothing, half, own, made(other, swapped))]
            packs.append((*arms, loss(drawn.teacher, nothing)))
        return tuple(sum(column) / PACKS for column in zip(*packs, strict=True))

    def made(tokens: TaskTokens, queries: Queries) -> dict[str, Tensor]:
        return generator.differences(pool.draw(tokens.name, "hidden", answered=queries.examples)[None])

    print(f"\n{len(data)} tasks of split {split}, nats a token of the answers: {', '.join(ARMS)}")
    kinds = {"with instruction": IN_SIGHT, "without": INSTRUCTION} | ({"8 answered rows": ANSWERED} if answered else {})
    for title, kind in kinds.items():
        found = [measured(tokens, data[place - 1], kind) for place, tokens in enumerate(data)]
        report(title, found)


def report(title: str, found: Sequence[tuple[float, ...]]) -> None:
    """Print the means over tasks and what of the context's worth the own adapter has."""
    means = [sum(column) / len(found) for column in zip(*found, strict=True)]
    bare, _, own, _, whole = means
    worth = f"{(bare - own) / (bare - whole):.0%} of the context's worth" if bare - whole > 0.01 else "nothing to win"
    better = sum(row[2] < row[3] for row in found)
    gained = sum(row[2] < row[0] for row in found)
    print(
        f"{title}: {', '.join(f'{mean:.4f}' for mean in means)}; {worth}; own better than another's on {better} tasks, "
        f"than the frame on {gained}",
        flush=True,
    )


if __name__ == "__main__":
    chosen = Path(sys.argv[2]) if len(sys.argv) > 2 else released_generator()
    for part in sys.argv[3:] or (SEEN, "unseen"):
        with tempfile.TemporaryDirectory() as place:
            main(part, Path(sys.argv[1]), chosen, Path(place))
