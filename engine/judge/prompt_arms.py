"""Adapters generated from prompts of the judged tasks, and from what those prompts could be instead.

No labels are read here: only the prompts of a task's training rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from engine.condition.encoder import TextEncoder
from engine.generator.generator import Generator
from engine.prompts import read_prompts, sample_prompts
from engine.tasks.arms import GENERATED, NO_PROMPTS, NOISE, OTHER_PROMPTS, PROMPT_COUNTS
from engine.tasks.tasks import Task, without_instruction
from engine.weights.frame import Frame
from engine.weights.lora import LoraAdapter

TaskAdapter = Callable[[str, int], LoraAdapter]
"""Name of a task, seed -> adapter."""


@dataclass(frozen=True)
class PromptArms:
    """Makes the generated arms over `tasks`; `count` prompts condition an adapter."""

    generator: Generator
    encoder: TextEncoder
    tasks: Sequence[Task]
    count: int

    def makers(self) -> dict[str, TaskAdapter]:
        """By arm, what makes its adapters."""
        return {
            "random": self.random,
            NO_PROMPTS: lambda name, seed: self.generator.generate(None),
            OTHER_PROMPTS: lambda name, seed: self.generate(self.texts(self.other(name, seed), seed)),
            GENERATED: lambda name, seed: self.generate(self.texts(name, seed)),
            **{f"prompts_{count}": partial(self._of_count, count) for count in PROMPT_COUNTS},
            "no_instruction": lambda name, seed: self.generate(
                [without_instruction(text) for text in self.texts(name, seed)]
            ),
            "noisy_prompts": self._noisy,
        }

    def unmeasured(self) -> dict[str, str]:
        """By arm, why it cannot be made."""
        if len(self.tasks) < 2:
            return dict.fromkeys((OTHER_PROMPTS, "noisy_prompts"), "there is only one task")
        return {}

    def texts(self, name: str, seed: int, count: int | None = None) -> list[str]:
        """The prompts that a generation with this seed would sample from the task's training rows."""
        path = next(task.train_path for task in self.tasks if task.name == name)
        return list(sample_prompts(read_prompts(path, column="prompt"), count or self.count, seed).texts)

    def other(self, name: str, seed: int) -> str:
        """The task whose prompts stand in for those of `name`: for each seed another fixed pairing.

        In each of them every task is conditioned on exactly once.
        """
        names = [task.name for task in self.tasks]
        return names[(names.index(name) + 1 + seed % (len(names) - 1)) % len(names)]

    def generate(self, texts: Sequence[str]) -> LoraAdapter:
        """Prompts -> adapter."""
        return self.generator.generate(self.encoder.encode(texts, self.generator.spec.condition.tokens))

    def random(self, name: str, seed: int) -> LoraAdapter:
        """The frame moved in a random direction, matrix by matrix as far as the generated adapter is moved."""
        return random_difference(self.generator.frame, self.generate(self.texts(name, seed)), f"{seed}/{name}")

    def _of_count(self, count: int, name: str, seed: int) -> LoraAdapter:
        return self.generate(self.texts(name, seed, count))

    def _noisy(self, name: str, seed: int) -> LoraAdapter:
        own, other = self.texts(name, seed), self.texts(self.other(name, seed), seed)
        return self.generate(noisy(own, other, NOISE, f"{seed}/{name}"))


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
