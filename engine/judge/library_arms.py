"""Adapters of the library as arms: what people have without a generator.

The best single one is chosen on seen tasks alone, the nearest ones by prompts alone: no row of a judged task is read
for the first, no label for the others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.condition import TextEncoder, prompt_directions
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json, read_json, write_json
from engine.forge.library import Library
from engine.forge.recipe import data_of_history
from engine.forge.rows import draw_batch, tokenize_tasks
from engine.tasks.arms import NEIGHBOURS
from engine.tasks.tasks import Task
from engine.training.losses import adapters_in_batch, token_losses
from engine.weights.lora import LoraAdapter
from engine.workers import join_workers

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

PROBES = 16
"""Seen tasks on whose training rows the best single adapter is chosen, drawn by the seed."""

_TEMPERATURE = 0.05  # of the softmax over cosine similarities


@dataclass(frozen=True)
class Choice:
    """The best single adapter. gains: by task, how much its adapter lowers the loss on the probes, in nats a token.

    seconds: what choosing took.
    """

    name: str
    gains: Mapping[str, float]
    seconds: float


@dataclass
class LibraryArms:
    """The adapters of `library`, without those of `judged` tasks; `seen` are the library's tasks of the task folder."""

    library: Library
    seen: Sequence[Task]
    judged: frozenset[str]
    _embeddings: dict[str, Tensor] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Tasks whose adapters may answer, sorted."""
        return [name for name in self.library.task_names if name not in self.judged]

    def adapter(self, name: str) -> LoraAdapter:
        """The last checkpoint of a task."""
        return self._moved({key: value[-1] for key, value in self.library.checkpoints(name).items()})

    def mean(self) -> LoraAdapter:
        """The mean of all library adapters."""
        return self._moved(self.library.mean_difference())

    def nearest(self, embedding: Tensor) -> LoraAdapter:
        """The adapter of the seen task nearest to `embedding` (C,)."""
        return self.adapter(self.neighbours(embedding)[0][0])

    def mix(self, embedding: Tensor) -> LoraAdapter:
        """The nearest adapters, weighted by their similarity."""
        total: dict[str, Tensor] = {}
        for name, weight in self.neighbours(embedding):
            for key, value in self.library.checkpoints(name).items():
                total[key] = total.get(key, torch.zeros_like(value[-1])) + weight * value[-1]
        return self._moved(total)

    def neighbours(self, embedding: Tensor) -> list[tuple[str, float]]:
        """The tasks most alike, nearest first, with weights that sum to 1. Needs `embed` before."""
        similarities = torch.stack([self._embeddings[name] @ embedding for name in self.names])
        values, places = similarities.topk(min(NEIGHBOURS, len(self.names)))
        weights = torch.softmax(values / _TEMPERATURE, 0)
        return [(self.names[place], weight) for place, weight in zip(places.tolist(), weights.tolist(), strict=True)]

    def embed(self, texts: Mapping[str, Sequence[str]], encoder: TextEncoder, tokens: int, reporter: Reporter) -> None:
        """Embed prompts of the library's tasks, by name, once."""
        left = [name for name in self.names if name not in self._embeddings]
        with reporter.stage("embed prompts", len(left), "tasks") as stage:
            for name in left:
                self._embeddings[name] = prompt_embedding(encoder.encode(texts[name], tokens))
                stage.advance()

    def best_single(self, base: LoadedBase, seed: int, kept: Path, reporter: Reporter) -> Choice:
        """The best single adapter; what `kept` holds from an earlier run with the same inputs is not measured again."""
        seen = [task for task in self.seen if task.name not in self.judged]
        inputs = [self.library.about, self.names, [task.name for task in seen], seed, PROBES]
        identity = digest_json(inputs)
        if kept.is_file() and (old := read_json(kept)).get("identity") == identity:
            return Choice(old["name"], old["gains"], old["seconds"])
        choice = choose_best_single(base, self, seen, seed, reporter)
        write_json(kept, {"identity": identity, **vars(choice)})
        return choice

    def _moved(self, differences: Mapping[str, Tensor]) -> LoraAdapter:
        frame = self.library.frame
        return LoraAdapter(frame.layout, *frame.shifted(differences))


def choose_best_single(
    base: LoadedBase, arms: LibraryArms, seen: Sequence[Task], seed: int, reporter: Reporter
) -> Choice:
    """The adapter that lowers the loss on training rows of other seen tasks the most, against the multi-task adapter.

    Against that one's loss, because each adapter is left out on its own task, and tasks differ in difficulty.

    Args:
        seen: tasks that may be looked at; `PROBES` of them are.

    Raises:
        EngineError: an adapter has no seen task other than its own.
    """
    began = time.perf_counter()
    data = data_of_history(arms.library.about["recipe"])
    probes = tokenize_tasks(base, random.Random(f"{seed}/probes").sample(seen, min(PROBES, len(seen))), data, reporter)
    own = {tokens.task.name for tokens in probes}
    if not own or (len(own) == 1 and own & set(arms.names)):
        raise EngineError("has no other seen task to choose the best adapter on", where=str(arms.library.folder))
    batch = draw_batch(base, probes, 1, data, f"{seed}/probes")
    place = {tokens.task.name: index for index, tokens in enumerate(probes)}

    @torch.no_grad()
    def losses(adapter: LoraAdapter) -> Tensor:
        a = {path: matrix.to(base.device) for path, matrix in adapter.a.items()}
        b = {path: matrix.to(base.device)[None] for path, matrix in adapter.b.items()}
        with adapters_in_batch(base.model, adapter.layout, a, b):
            # One line a probe: each line's mean, although one adapter answers them all.
            return token_losses(base.model, batch, len(probes)).cpu()

    workers = join_workers()
    start = losses(arms.library.frame.base_adapter)
    gains = {}
    with reporter.stage("choose best single", len(arms.names), "adapters") as stage:
        for name in workers.share(arms.names):
            gained = start - losses(arms.adapter(name))
            others = [index for index in range(len(probes)) if index != place.get(name)]
            gains[name] = gained[others].mean().item()
            workers.advance(stage)
    gains = workers.united(gains)
    best = max(sorted(gains), key=lambda name: gains[name])
    return Choice(best, gains, time.perf_counter() - began)


def prompt_embedding(hidden: Tensor) -> Tensor:
    """Encoded prompts (n, L, C) -> one direction (C,): the mean over tokens of each prompt, then over prompts."""
    return torch.nn.functional.normalize(prompt_directions(hidden).mean(0), dim=0)
