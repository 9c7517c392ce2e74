"""How well does the decoder learn a few training tasks, beside an adapter of its own for each? Printed, for the log.

    DND_TUI_TASKS=TASKS python -m pytest tests/benchmarks/test_decoder_follows.py -m benchmark -s

A fresh decoder in the released generator's frame, which is frozen, with scales of several sizes. A quarter of an hour
on a CPU core. Only tasks of split `seen` are read, without those that the recipe leaves out.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.base.fetch import resolve_encoder
from engine.base.load import load_base, resolve_base
from engine.condition.encoder import TextEncoder
from engine.events import Reporter
from engine.forge.collect import as_matrices, trainable
from engine.forge.conditions import ConditionPool
from engine.forge.recipe import read_recipe
from engine.forge.rows import TaskTokens, draw_batch, tokenize_tasks
from engine.generator.artifact import load_generator
from engine.generator.generator import Generator
from engine.released import released_generator
from engine.tasks.tasks import SEEN, read_tasks
from engine.training.batched import adapters_in_batch, token_losses
from engine.training.loop import apply_update, clip_each, cosine
from engine.training.packing import PackedBatch

TASKS, MEETINGS, AT_ONCE, TEST_PACKS = 8, 12, 4, 3
SETTINGS = ((2e-3, 1), (1e-2, 1), (2e-3, 8), (2e-3, 64))

pytestmark = pytest.mark.benchmark


class Bench:
    """Eight tasks, packs to judge them on, and the base with whatever adapters `loss` is given."""

    def __init__(self, folder: Path, pool: Path) -> None:
        recipe = read_recipe(released_generator() / "recipe-cpu.json")
        self.recipe = recipe.data
        self.base = load_base(resolve_base("default"), device="cpu", dtype="bfloat16")
        self.released = load_generator(released_generator())
        # Those of the library's differences.
        self.scales = self.released.scales / self.released.spec.history["recipe"]["decoder"].get("scale", 1)
        trained_on = self.released.spec.history["tasks"]
        tasks = [task for task in read_tasks(folder, SEEN, recipe.exclude) if task.name in trained_on]
        self.data = tokenize_tasks(self.base, random.Random(7).sample(tasks, TASKS), self.recipe, Reporter())
        condition = self.released.spec.condition
        self.pool = ConditionPool(pool, condition.prompts, condition.tokens)
        self.pool.fill(TextEncoder(resolve_encoder(Reporter()), "cpu"), self.data, 0, Reporter())
        self.a: dict[str, Tensor] = {}
        self.b: dict[str, Tensor] = {}

    def batch(self, tasks: list[TaskTokens], place: str, packs: int = 1) -> PackedBatch:
        return draw_batch(self.base, tasks, packs, self.recipe, place)

    def loss(self, differences: Mapping[str, Tensor], batch: PackedBatch, adapters: int) -> Tensor:
        for taken, made in zip((self.a, self.b), self.released.frame.shifted(differences), strict=True):
            taken.update(made)
        return token_losses(self.base.model, batch, adapters)

    @torch.no_grad()
    def judged(self, made: list[dict[str, Tensor]]) -> float:
        """Mean loss on packs that nothing was trained on, of each task with its part of `made`."""
        losses = [
            self.loss(differences, self.batch([tokens], "test", TEST_PACKS), 1).item()
            for tokens, differences in zip(self.data, made, strict=True)
        ]
        return sum(losses) / len(losses)

    def decoder(self, rate: float, scale: float) -> Generator:
        """A fresh one, trained on all tasks."""
        torch.manual_seed(0)
        generator = Generator(self.released.spec, self.released.frame, self.scales * scale)
        optimizer = torch.optim.AdamW(generator.decoder.parameters(), lr=rate, weight_decay=0.01)
        steps = MEETINGS * TASKS // AT_ONCE
        for step in range(steps):
            chosen = random.Random(str(step)).sample(self.data, AT_ONCE)
            condition = torch.stack([self.pool.draw(tokens.task.name, f"train/{step}") for tokens in chosen])
            batch = self.batch(chosen, f"train/{step}")
            self.loss(generator.differences(condition), batch, AT_ONCE).mean().backward()
            torch.nn.utils.clip_grad_norm_(generator.decoder.parameters(), 1.0)
            apply_update(optimizer, cosine(step, steps, rate, 3))
        return generator

    def free(self) -> list[dict[str, Tensor]]:
        """An adapter for each task, as differences from the frame."""
        frame, made = self.released.frame, []
        for first in range(0, TASKS, AT_ONCE):
            tasks = self.data[first : first + AT_ONCE]
            parameters = trainable(frame, AT_ONCE, self.base.device)
            optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.0)
            for step in range(MEETINGS):
                for taken, matrices in zip((self.a, self.b), as_matrices(frame, parameters), strict=True):
                    taken.update(matrices)
                token_losses(self.base.model, self.batch(tasks, f"train/{step}"), AT_ONCE).sum().backward()
                clip_each([matrix.grad for matrix in parameters.values() if matrix.grad is not None])
                apply_update(optimizer, cosine(step, MEETINGS, 1e-3, 2))
            start = {f"{path}.lora_B": matrix for path, matrix in frame.b.items()}
            moved = {name: matrix.detach() - start[name] for name, matrix in parameters.items()}
            made += [{name: value[place : place + 1] for name, value in moved.items()} for place in range(AT_ONCE)]
        return made


def test_learning_a_few_tasks(tmp_path: Path) -> None:
    folder = os.environ.get("DND_TUI_TASKS")
    if not folder:
        pytest.skip("DND_TUI_TASKS does not name a folder of tasks")
    bench = Bench(Path(folder), tmp_path)
    with adapters_in_batch(bench.base.model, bench.released.frame.layout, bench.a, bench.b):
        free = bench.free()
        nothing = {name: torch.zeros_like(value) for name, value in free[0].items()}
        print(f"\n{TASKS} tasks, nats a token: the frame {bench.judged([nothing] * TASKS):.4f}")
        print(f"a free adapter each {bench.judged(free):.4f}")
        for rate, scale in SETTINGS:
            generator = bench.decoder(rate, scale)
            with torch.no_grad():
                drawn = [bench.pool.draw(tokens.task.name, "test")[None] for tokens in bench.data]
                made = [generator.differences(condition) for condition in drawn]
            own, other = bench.judged(made), bench.judged(made[1:] + made[:1])
            norms = [sum(value.pow(2).sum() for value in one.values()) ** 0.5 for one in made]
            print(
                f"decoder, rate {rate}, scales x {scale}: own prompts {own:.4f}, another task's {other:.4f}, "
                f"norm {sum(map(float, norms)) / TASKS:.3f}"
            )
