"""Adapters generated from prompts of the judged tasks, and from what those prompts could be instead.

No labels are read here: only the prompts of a task's training rows.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.condition import TextEncoder
from engine.generator.generator import Generator
from engine.prompts import read_prompts, sample_prompts
from engine.tasks.arms import NOISE
from engine.tasks.tasks import Task
from engine.weights.frame import Frame
from engine.weights.lora import LoraAdapter


@dataclass(frozen=True)
class PromptArms:
    """Makes the generated arms over `tasks`; `count` prompts condition an adapter."""

    generator: Generator
    encoder: TextEncoder
    tasks: Sequence[Task]
    count: int

    def texts(self, name: str, seed: int, count: int | None = None) -> list[str]:
        """The prompts that a generation with this seed would sample from the task's training rows."""
        path = next(task.train_path for task in self.tasks if task.name == name)
        return list(sample_prompts(read_prompts(path, column="prompt"), count or self.count, seed).texts)

    def others(self, name: str, seed: int) -> list[str]:
        """The prompts of the task that stands in for this one."""
        return self.texts(other_task(self.tasks, name, seed), seed)

    def generate(self, texts: Sequence[str]) -> LoraAdapter:
        """Prompts -> adapter."""
        return self.generator.generate(self.encoder.encode(texts, self.generator.spec.condition.tokens))

    def random(self, name: str, seed: int) -> LoraAdapter:
        """The frame moved in a random direction, matrix by matrix as far as the generated adapter is moved."""
        return random_difference(self.generator.frame, self.generate(self.texts(name, seed)), f"{seed}/{name}")

    def noisy(self, name: str, seed: int) -> LoraAdapter:
        """From prompts of which a part are another task's."""
        mixed = noisy(self.texts(name, seed), self.others(name, seed), NOISE, f"{seed}/{name}")
        return self.generate(mixed)


def other_task(tasks: Sequence[Task], name: str, seed: int) -> str:
    """The task that stands in for `name`: for each seed another fixed pairing, in which every task is met once."""
    names = [task.name for task in tasks]
    return names[(names.index(name) + 1 + seed % (len(names) - 1)) % len(names)]


def noisy(texts: Sequence[str], others: Sequence[str], part: float, place: str) -> list[str]:
    """`texts` with a part of them, at places drawn by `place`, replaced by texts of `others`, in turn.

    At least one is replaced, so that the arm is never the generated one.
    """
    mixed = list(texts)
    chosen = random.Random(f"{place}/noise").sample(range(len(mixed)), max(1, round(part * len(mixed))))
    for turn, index in enumerate(sorted(chosen)):
        mixed[index] = others[turn % len(others)]
    return mixed


def random_difference(frame: Frame, moved: LoraAdapter, place: str) -> LoraAdapter:
    """An adapter as far from the frame as `moved`, each matrix in a Gaussian direction drawn by `place`."""
    source = torch.Generator().manual_seed(random.Random(f"{place}/direction").getrandbits(63))

    def away(starts: Mapping[str, Tensor], ends: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for path, start in starts.items():
            direction = torch.randn(start.shape, generator=source)
            found[path] = start + direction * ((ends[path] - start).norm() / direction.norm())
        return found

    return LoraAdapter(frame.layout, away(frame.a, moved.a), away(frame.b, moved.b))
