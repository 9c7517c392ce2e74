"""Prompts of the training tasks, encoded once and kept on disk as float16."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.condition.encoder import TextEncoder, fill_condition
from engine.events import Reporter
from engine.files import digest_json, replacing_file
from engine.forge.rows import TaskTokens
from engine.weights.storage import read_tensors
from engine.workers import join_workers

# Prompts encoded a task, in units of the condition's N: enough for fresh batches, small enough for the disk.
POOL = 2


class ConditionPool:
    """For each task a pool of encoded prompts to draw prompt batches from: (pool, L, C) float16."""

    def __init__(self, folder: Path, prompts: int, tokens: int) -> None:
        self._folder = folder
        self.prompts = prompts
        self.tokens = tokens
        self._pools: dict[str, Tensor] = {}

    def fill(self, encoder: TextEncoder, data: Sequence[TaskTokens], seed: int, reporter: Reporter) -> None:
        """Encode what is not on disk yet; several processes share the work."""
        workers, fingerprint = join_workers(), encoder.fingerprint
        texts = {each.name: _draw_texts(each, self.prompts * POOL, seed) for each in data}
        paths = {
            name: self._folder / f"{name}-{digest_json([fingerprint, self.tokens, drawn])[:12]}.safetensors"
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
                self._pools[name] = read_tensors(path)["hidden"]

    def _encode(self, encoder: TextEncoder, texts: Sequence[str], path: Path) -> None:
        if path.is_file():
            return
        hidden = encoder.encode(texts, self.tokens).to(torch.float16)
        used = int(hidden.abs().sum((0, 2)).nonzero().max()) + 1
        with replacing_file(path) as part:
            save_file({"hidden": hidden[:, :used].contiguous()}, part)

    def draw(self, task: str, place: str, few: float = 0.0, device: torch.device | None = None) -> Tensor:
        """A prompt batch of a task as a condition (N, L, C) float32; a part `few` of them from 1 to N prompts."""
        chance = random.Random(f"{place}/{task}")
        pool = self._pools[task]
        count = chance.randint(1, self.prompts) if chance.random() < few else self.prompts
        places = chance.sample(range(pool.shape[0]), min(count, pool.shape[0]))
        hidden = torch.zeros(len(places), self.tokens, pool.shape[2], device=device)
        # What is sent to a device is as small as it is kept.
        hidden[:, : pool.shape[1]] = pool[torch.tensor(places)].to(device)
        return fill_condition(hidden, self.prompts)


def _draw_texts(tokens: TaskTokens, count: int, seed: int) -> list[str]:
    texts = list(dict.fromkeys(tokens.prompts))
    return random.Random(f"{seed}/pool/{tokens.name}").sample(texts, min(count, len(texts)))
