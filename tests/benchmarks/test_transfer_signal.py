"""How much of what a task needs do other tasks' adapters and the task's own prompts tell? Printed, for the log.

    DND_TUI_TASKS=TASKS DND_TUI_LIBRARY=LIBRARY pytest tests/benchmarks/test_transfer_signal.py -m benchmark -s

TASKS is a folder of labelled tasks, LIBRARY one of `collect` over many of them. About 25 minutes on two CPU cores.
Only tasks of split `seen` are read: the library's own, and those that its recipe held out.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.base.fetch import resolve_encoder
from engine.base.load import LoadedBase, load_base, resolve_base
from engine.condition.encoder import TextEncoder
from engine.events import Reporter
from engine.forge.collect import as_matrices, trainable
from engine.forge.library import Library, open_library
from engine.forge.recipe import recipe_from_json
from engine.forge.rows import TaskTokens, draw_batch, tokenize_tasks
from engine.judge.library_arms import prompt_embedding
from engine.tasks.tasks import SEEN, read_tasks
from engine.training.batched import adapters_in_batch, token_losses
from engine.training.packing import pack, take_that_fit

PROMPTS, PROMPT_TOKENS, ROWS = 24, 128, 16
PENALTIES, TEMPERATURES = (0.03, 0.1, 0.3, 1.0), (0.02, 0.05, 0.1)

pytestmark = pytest.mark.benchmark


class Bench:
    """A library, its tasks as tokens, and where their prompts lie: `places` and `held_places` (n, C)."""

    def __init__(self, tasks: Path, library: Path) -> None:
        self.library: Library = open_library(library)
        self.recipe = recipe_from_json(self.library.about["recipe"])
        self.base: LoadedBase = load_base(resolve_base("default"), device="cpu", dtype="bfloat16")
        folder = {task.name: task for task in read_tasks(tasks, SEEN, self.recipe.exclude)}
        names = self.library.task_names
        self.data = self._tokens([folder[name] for name in names])
        self.held_out = self._tokens([folder[name] for name in sorted(self.library.about["held_out"])])
        encoder = TextEncoder(resolve_encoder(Reporter()), "cpu")
        self.places = torch.stack([self._place(encoder, tokens) for tokens in self.data])
        self.held_places = torch.stack([self._place(encoder, tokens) for tokens in self.held_out])
        self.keys = list(self.library.checkpoints(names[0]))
        self.shapes = [tuple(self.library.checkpoints(names[0])[key].shape[1:]) for key in self.keys]
        self.differences = torch.stack([self._flat(name) for name in names])  # (n, values)

    def _tokens(self, tasks: list[Any]) -> list[TaskTokens]:
        return tokenize_tasks(self.base, tasks, self.recipe.data, Reporter())

    def _place(self, encoder: TextEncoder, tokens: TaskTokens) -> Tensor:
        texts = list(dict.fromkeys(tokens.prompts))
        chosen = random.Random(tokens.task.name).sample(texts, min(PROMPTS, len(texts)))
        return prompt_embedding(encoder.encode(chosen, PROMPT_TOKENS))

    def _flat(self, name: str) -> Tensor:
        checkpoints = self.library.checkpoints(name)
        return torch.cat([checkpoints[key][-1].flatten() for key in self.keys])

    @torch.no_grad()
    def loss(self, difference: Tensor, tokens: TaskTokens) -> float:
        """Nats a token of a task's answers with the frame moved by `difference` (values,)."""
        parts = difference.split([rows * columns for rows, columns in self.shapes])
        named = {key: part.view(1, *shape) for key, part, shape in zip(self.keys, parts, self.shapes, strict=True)}
        a, b = self.library.frame.shifted(named)
        batch = draw_batch(self.base, [tokens], 3, self.recipe.data, "transfer")
        with adapters_in_batch(self.base.model, self.library.frame.layout, a, b):
            return token_losses(self.base.model, batch, 1).item()

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Of each task's loss at the frame, on one half of some of its rows and on the other: twice (n, values)."""
        frame = self.library.frame
        parameters = trainable(frame, 1, self.base.device)
        halves = [torch.zeros(len(self.data), self.differences.shape[1], dtype=torch.bfloat16) for _ in range(2)]
        with adapters_in_batch(self.base.model, frame.layout, *as_matrices(frame, parameters)):
            for index, tokens in enumerate(self.data):
                rows = random.Random(f"transfer/{tokens.task.name}").sample(tokens.rows, min(ROWS, len(tokens.rows)))
                for half, part in zip(halves, (rows[: len(rows) // 2], rows[len(rows) // 2 :]), strict=True):
                    chosen = take_that_fit(part, self.recipe.data.pack_tokens)
                    token_losses(self.base.model, pack([chosen], 0), 1).sum().backward()
                    half[index] = torch.cat([_taken(parameters[key]).flatten() for key in self.keys])
        return halves[0], halves[1]


def _taken(parameter: Tensor) -> Tensor:
    gradient, parameter.grad = parameter.grad, None
    assert gradient is not None
    return gradient


@pytest.fixture(scope="module")
def bench() -> Bench:
    tasks, library = os.environ.get("DND_TUI_TASKS"), os.environ.get("DND_TUI_LIBRARY")
    if not tasks or not library:
        pytest.skip("DND_TUI_TASKS and DND_TUI_LIBRARY do not name a folder of tasks and a library over them")
    return Bench(Path(tasks), Path(library))


def predictors(places: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Ways to predict each of n tasks from the other n - 1: (n, n) weights, 0 on the diagonal, each row sums to 1."""
    count = len(places)
    yield "mean of the others", (1 - torch.eye(count)) / (count - 1)
    around = places - places.mean(0)
    kernel = around @ around.T
    for penalty in PENALTIES:
        weights = torch.zeros(count, count)
        for task in range(count):
            others = [index for index in range(count) if index != task]
            system = kernel[others][:, others] + penalty * torch.eye(count - 1)
            own = torch.linalg.solve(system, kernel[task, others])
            weights[task, others] = own - own.mean() + 1 / (count - 1)
        yield f"ridge, penalty {penalty}", weights
    for temperature in TEMPERATURES:
        alike = places @ places.T / temperature
        yield f"nearest, temperature {temperature}", torch.softmax(alike.fill_diagonal_(-torch.inf), 1)


def products(first: Tensor, second: Tensor) -> Tensor:
    """(n, values) each -> (n, n) inner products, some values at a time."""
    pieces = zip(first.split(1 << 16, 1), second.split(1 << 16, 1), strict=True)
    return sum((one.float() @ other.float().T for one, other in pieces), torch.zeros(len(first), len(second)))


def test_differences_of_tasks_in_weight_space(bench: Bench) -> None:
    inner = products(bench.differences, bench.differences)
    mean = inner.mean().sqrt()
    centred = inner - inner.mean(0) - inner.mean(1)[:, None] + inner.mean()
    shares = torch.linalg.eigvalsh(centred).flip(0) / centred.trace()
    print(f"\n{len(inner)} tasks: norm {inner.diagonal().sqrt().mean():.2f}, of their mean {mean:.2f}")
    for count in (4, 16, 64):
        print(f"  the {count} strongest directions hold {shares[:count].sum():.3f}")
    for name, weights in predictors(bench.places):
        wrong = torch.eye(len(inner)) - weights
        error = (wrong @ inner @ wrong.T).trace() / centred.trace()
        print(f"  {name}: squared error {error:.3f}")


def test_loss_on_held_out_tasks(bench: Bench) -> None:
    mean = bench.differences.mean(0)
    around = bench.places - bench.places.mean(0)
    own = bench.differences - mean

    def ridge(place: Tensor) -> Tensor:
        kernel = around @ around.T + 0.1 * torch.eye(len(around))
        return mean + torch.linalg.solve(kernel, around @ (place - bench.places.mean(0))) @ own

    def nearest(place: Tensor) -> Tensor:
        return torch.softmax(bench.places @ place / 0.05, 0) @ bench.differences

    arms = {"frame": lambda place: torch.zeros_like(mean), "mean": lambda place: mean, "ridge": ridge, "near": nearest}
    for name, make in arms.items():
        for other in (0, 1) if name in ("ridge", "near") else (0,):
            places = bench.held_places.roll(other, 0)
            losses = [bench.loss(make(place), held) for place, held in zip(places, bench.held_out, strict=True)]
            told = " with another task's prompts" if other else ""
            print(f"\n{name}{told}: {sum(losses) / len(losses):.4f} nats a token", end="")


def test_what_prompts_tell_of_a_tasks_gradient(bench: Bench) -> None:
    halves = bench.gradients()
    for kind, (first, second) in {"gradient": halves, "its sign": (halves[0].sign(), halves[1].sign())}.items():
        own, across, sizes = products(first, first), products(first, second), products(second, second).diagonal().sqrt()
        scale = own.diagonal().sqrt()
        cosines = across / scale[:, None] / sizes[None]
        others = (cosines.sum() - cosines.trace()) / (len(cosines) ** 2 - len(cosines))
        print(f"\n{kind}: cosine of a task's halves {cosines.diagonal().mean():.4f}, of different tasks {others:.4f}")
        alike = own / scale[:, None] / scale[None]
        for name, weights in predictors(bench.places):
            norms = (weights @ alike @ weights.T).diagonal().sqrt()
            found = (weights @ cosines).diagonal() / norms
            print(f"  {name}: cosine with the other half {found.mean():.4f}, median {found.median():.4f}")
