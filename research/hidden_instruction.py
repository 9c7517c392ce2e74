"""What do the prompts tell the adapter that the rows themselves do not? Printed, for the log.

    python research/hidden_instruction.py TASKS [GENERATOR]

Loss on rows with their instruction and without it, with the adapter of no prompts, of the task's own prompts (they hold
the instruction), half of the way there, and of another task's. A few minutes on a CPU core.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from engine.base.fetch import resolve_encoder
from engine.base.load import load_base, resolve_base
from engine.condition import TextEncoder
from engine.events import Reporter
from engine.forge.recipe import DataRecipe
from engine.forge.rows import ConditionPool, TaskTokens, draw_batch, tokenize_tasks
from engine.generator.artifact import load_generator
from engine.released import released_generator
from engine.tasks.tasks import SEEN, read_tasks
from engine.training.losses import adapters_in_batch, token_losses

SEEN_TASKS, PACKS = 24, 3
DATA = DataRecipe(row_tokens=256, pack_tokens=320)
ARMS = ("no prompts", "half of own", "own prompts", "another task's")


@torch.no_grad()
def main(split: str, folder: Path, generator_folder: Path, conditions: Path) -> None:
    """Print the losses on the tasks of a split."""
    base = load_base(resolve_base("default"), device="cpu", dtype="bfloat16")
    generator = load_generator(generator_folder)
    tasks = read_tasks(folder, split)
    if split == SEEN:
        trained_on = [task for task in tasks if task.name in generator.spec.history["tasks"]]
        tasks = random.Random(0).sample(trained_on, SEEN_TASKS)
    data = [tokens for tokens in tokenize_tasks(base, tasks, DATA, Reporter()) if tokens.hidden != tokens.rows]
    condition = generator.spec.condition
    pool = ConditionPool(conditions, condition.prompts, condition.tokens)
    pool.fill(TextEncoder(resolve_encoder(Reporter()), "cpu"), data, 0, Reporter())
    made = [generator.differences(pool.draw(tokens.task.name, "hidden")[None]) for tokens in data]
    half = [{name: value / 2 for name, value in differences.items()} for differences in made]
    nothing = {name: torch.zeros_like(value) for name, value in made[0].items()}

    def loss(tokens: TaskTokens, differences: dict[str, Tensor], hidden: bool) -> float:
        batch = draw_batch(base, [tokens], PACKS, DATA, "hidden", [hidden])
        with adapters_in_batch(base.model, generator.frame.layout, *generator.frame.shifted(differences)):
            return token_losses(base.model, batch, 1).item()

    print(f"\n{len(data)} tasks of split {split}, nats a token of the answers: {', '.join(ARMS)}")
    for title, hidden in (("with", False), ("without", True)):
        found = [
            tuple(loss(tokens, each, hidden) for each in (nothing, half[place], made[place], made[place - 1]))
            for place, tokens in enumerate(data)
        ]
        means = ", ".join(f"{sum(column) / len(data):.4f}" for column in zip(*found, strict=True))
        matched = sum(own < other for _, _, own, other in found)
        gained = sum(own < without for without, _, own, _ in found)
        print(f"{title} instruction: {means}; own better than another's on {matched} tasks, than none on {gained}")


if __name__ == "__main__":
    chosen = Path(sys.argv[2]) if len(sys.argv) > 2 else released_generator()
    for part in (SEEN, "unseen"):
        with tempfile.TemporaryDirectory() as place:
            main(part, Path(sys.argv[1]), chosen, Path(place))
