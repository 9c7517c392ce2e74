"""Where the prompts' signal is lost between the encoder and the generated differences. Run by `make bench`.

    DND_TUI_TASKS=TASKS python -m pytest tests/benchmarks/test_condition_signal.py -m benchmark -s

TASKS is a folder of labelled tasks; only those are used that the released generator's recipe allows for training.
No language model runs. Nothing is asserted about the figures: every one is printed.
"""

from __future__ import annotations

import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.base.fetch import resolve_encoder
from engine.condition.encoder import TextEncoder
from engine.forge.recipe import DecoderRecipe, read_recipe
from engine.generator.artifact import load_generator
from engine.generator.hyperconv import HyperConvDecoder, Shape
from engine.released import released_generator
from engine.tasks.tasks import SEEN, read_rows, read_tasks
from engine.training.loop import cosine

pytestmark = pytest.mark.benchmark

TASKS, PROMPTS, TOKENS, BATCHES = 40, 32, 128, 2
CPU = torch.device("cpu")


def encode_tasks(request: pytest.FixtureRequest, count: int, tokens: int) -> Tensor:
    """Two disjoint prompt batches of each of `count` tasks: (tasks, 2, N, L, C). Encoded once, kept by pytest."""
    folder = os.environ.get("DND_TUI_TASKS")
    if not folder:
        pytest.skip("DND_TUI_TASKS names no folder of labelled tasks")
    recipe = read_recipe(released_generator() / "recipe.json")
    encoder = TextEncoder(resolve_encoder(), CPU, request.config.cache.mkdir("conditions"))
    chance, chosen = random.Random("condition signal"), []
    tasks = read_tasks(Path(folder), SEEN, recipe.exclude)
    for task in chance.sample(tasks, len(tasks)):
        texts = list(dict.fromkeys(row.prompt for row in read_rows(task.train_path)))
        if len(texts) >= BATCHES * PROMPTS and len(chosen) < count:
            chosen.append(encoder.encode(chance.sample(texts, BATCHES * PROMPTS), tokens))
    return torch.stack(chosen).unflatten(1, (BATCHES, PROMPTS))


@pytest.fixture(scope="module")
def conditions(request: pytest.FixtureRequest) -> Tensor:
    return encode_tasks(request, TASKS, TOKENS)


def signal_row(name: str, features: Tensor) -> str:
    """A table row for features of (tasks, 2 batches, ...): shares of the mean square, and who is recognised.

    common: the mean over tasks. tasks: between tasks, without what differences within tasks would make of it.
    prompts: between the two batches of a task. The three add up to 1. Accuracy: the second batch's nearest first batch
    by cosine, as it is and after the mean over the first batches is subtracted.
    """
    x = features.flatten(2)
    first, second = x[:, 0], x[:, 1]
    whole = x.pow(2).sum(-1).mean()
    within = (first - second).pow(2).sum(-1).mean() / 2
    means = (first + second) / 2
    between = (means.var(0).sum() - within / 2).clamp_min(0)
    common = whole - within - between
    normalise = nn.functional.normalize

    def accuracy(shift: Tensor) -> float:
        alike = normalise(second - shift, dim=-1) @ normalise(first - shift, dim=-1).T
        return (alike.argmax(1) == torch.arange(len(x))).float().mean().item()

    shares = " | ".join(f"{(part / whole).item():.4f}" for part in (common, between, within))
    raw, centred = accuracy(torch.zeros(())), accuracy(first.mean(0))
    return f"| {name} | {shares} | {(between / within).item():.2f} | {raw:.2f} | {centred:.2f} |"


@torch.no_grad()
def by_block(decoder: HyperConvDecoder, conditions: Tensor, blocks: int) -> list[Tensor]:
    """Outputs of the first `blocks` blocks, each (tasks, 2, N', L', C')."""
    outputs = []
    x = conditions.flatten(0, 1)
    for block in list(decoder.blocks)[:blocks]:
        x = torch.cat([block(part) for part in x.split(8)])
        outputs.append(x.unflatten(0, conditions.shape[:2]))
    return outputs


def test_shares_of_the_signal(conditions: Tensor) -> None:
    recipe = DecoderRecipe()
    generator = load_generator(released_generator())
    grid = generator.grid
    first: Shape = (PROMPTS, TOKENS, conditions.shape[-1])
    torch.manual_seed(0)
    fresh = HyperConvDecoder((first, *recipe.cascade, (grid.tokens, grid.height, grid.width)), recipe.kernel)
    print(f"\n{len(conditions)} tasks, {BATCHES} batches of {PROMPTS} prompts; chance {1 / len(conditions):.3f}\n")
    print("| Features | common | tasks | prompts | tasks / prompts | accuracy | centred |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print(signal_row("condition (N, L, C)", conditions))
    print(signal_row("mean over prompts (L, C)", conditions.mean(2)))
    print(signal_row("mean over prompts and tokens (C)", conditions.mean((2, 3))))
    for name, decoder, blocks in (("fresh", fresh, len(recipe.cascade)), ("released", generator.decoder, 99)):
        for number, output in enumerate(by_block(decoder, conditions, blocks), 1):
            print(signal_row(f"{name}, block {number} {tuple(output.shape[2:])}", output))
            print(signal_row(f"{name}, block {number}, mean over its channels", output.mean(2)))
    made = output * generator.scales[:, None, None] * grid.mask
    print(signal_row("released, differences", made))
    frame = grid.cut({f"{path}.lora_B": matrix for path, matrix in generator.frame.b.items()})
    mean = made.mean((0, 1))
    print(f"\nnorms: frame's B {frame.norm():.3f}, differences {made.flatten(2).norm(dim=-1).mean():.4f}, their mean")
    print(f"over tasks {mean.norm():.4f}, a task's distance from it {(made - mean).flatten(2).norm(dim=-1).mean():.4f}")


# A small decoder of the default's form, so that a variant takes seconds.
FIT_TASKS, FIT_PROMPTS, FIT_TOKENS, FIT_STEPS, FIT_BATCH = 32, 8, 16, 150, 8
FIT_CASCADE: tuple[Shape, ...] = ((12, 8, 48), (24, 8, 48), (48, 8, 48))
FIT_GRID: Shape = (16, 8, 48)


@dataclass(frozen=True)
class Variant:
    """What is done to (B, N, L, C) conditions before the decoder, and how it learns."""

    name: str
    rate: float = 1e-3
    centred: bool = False
    pooled: bool = False
    normed: bool = True
    coded: bool = False
    linear: bool = False


VARIANTS = (
    Variant("as it is, rate 3e-4", 3e-4),
    Variant("as it is, rate 1e-3"),
    Variant("as it is, rate 3e-3", 3e-3),
    Variant("centred by the mean over tasks", centred=True),
    Variant("centred, no norm in block 1", centred=True, normed=False),
    Variant("pooled over prompts", pooled=True),
    Variant("pooled and centred", pooled=True, centred=True),
    Variant("pooled and centred, rate 3e-3", 3e-3, pooled=True, centred=True),
    Variant("control: a random code for each task", coded=True),
    Variant("control: linear map of the pooled mean", pooled=True, centred=True, linear=True),
)

UNSEEN_VARIANTS = (
    "as it is, rate 1e-3",
    "pooled and centred",
    "control: linear map of the pooled mean",
)


class LinearMap(nn.Module):
    """Mean over prompts and tokens -> all weight tokens, by one matrix that starts at zero."""

    def __init__(self, channels: int, grid: Shape) -> None:
        super().__init__()
        self._grid = grid
        self.map = nn.Linear(channels, math.prod(grid))
        nn.init.zeros_(self.map.weight)

    def forward(self, condition: Tensor) -> Tensor:
        mean = nn.functional.layer_norm(condition.mean((1, 2)), condition.shape[-1:])
        return self.map(mean).unflatten(1, self._grid)


def synthetic_targets(kind: str, conditions: Tensor, grid: Shape = FIT_GRID) -> Tensor:
    """(tasks, T, h, w) of mean square 1, for conditions (tasks, 2, N, L, C).

    "signs": one random sign for each task and token. "noise": every entry by itself. "readable": a value for each task
    and token, a random linear map of the task's mean condition.
    """
    seeded, tasks = torch.Generator().manual_seed(1), len(conditions)
    if kind == "noise":
        return torch.randn(tasks, *grid, generator=seeded)
    if kind == "signs":
        values = torch.randn(tasks, grid[0], generator=seeded).sign()
    else:
        mean = conditions.mean((1, 2, 3))
        values = (mean - mean.mean(0)) @ torch.randn(mean.shape[1], grid[0], generator=seeded)
        values = values / values.pow(2).mean(0).sqrt()
    return values[:, :, None, None].expand(tasks, *grid)


def fit(
    variant: Variant, conditions: Tensor, target: Tensor, trained: int, steps: int = FIT_STEPS
) -> tuple[float, float, float]:
    """Train on the first batches of the first `trained` tasks.

    Returns:
        The mean squared errors on those batches, on the second batches of those tasks, and on the first batches of
        the other tasks (nan without any).
    """
    seeded = torch.Generator().manual_seed(2)
    if variant.coded:
        code = torch.randn(conditions.shape[0], 1, 1, *conditions.shape[3:], generator=seeded)
        conditions = code.expand(conditions.shape)
    seen = conditions[:trained, 0]
    mean = seen.mean((0, 1)) if variant.centred else torch.zeros(())
    size = (seen - mean).pow(2).mean().sqrt()

    def prepared(drawn: Tensor) -> Tensor:
        x = (drawn - mean) / size
        return x.mean(1, keepdim=True) if variant.pooled else x

    torch.manual_seed(0)
    first: Shape = (1 if variant.pooled else FIT_PROMPTS, FIT_TOKENS, conditions.shape[-1])
    last: Shape = (target.shape[1], target.shape[2], target.shape[3])
    model = LinearMap(first[2], last) if variant.linear else HyperConvDecoder((first, *FIT_CASCADE, last), 3)
    if not variant.normed:
        model.blocks[0].norm = nn.Identity()
    optimizer = torch.optim.AdamW(model.parameters(), lr=variant.rate, weight_decay=0.01)
    for step in range(steps):
        chosen = torch.randperm(trained, generator=seeded)[:FIT_BATCH]
        places = torch.randperm(PROMPTS, generator=seeded)[:FIT_PROMPTS]
        loss = (model(prepared(seen[chosen][:, places])) - target[chosen]).pow(2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = cosine(step, steps, variant.rate, 20)
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def error(tasks: slice, batch: int) -> float:
        return (model(prepared(conditions[tasks, batch, :FIT_PROMPTS])) - target[tasks]).pow(2).mean().item()

    return error(slice(trained), 0), error(slice(trained), 1), error(slice(trained, None), 0)


@pytest.mark.parametrize("kind", ["signs", "noise"])
def test_what_makes_the_conditioning_learnable(kind: str, conditions: Tensor) -> None:
    chosen = conditions[:FIT_TASKS, :, :, :FIT_TOKENS].contiguous()
    target = synthetic_targets(kind, chosen)
    print(f"\ntargets: {kind}; {FIT_TASKS} tasks, {FIT_STEPS} steps of {FIT_BATCH}; an error of 1 is nothing learned\n")
    print("| Variant | training prompts | fresh prompts |\n|---|---:|---:|")
    for variant in VARIANTS:
        seen, fresh, _ = fit(variant, chosen, target, FIT_TASKS)
        print(f"| {variant.name} | {seen:.3f} | {fresh:.3f} |", flush=True)


def test_what_unseen_tasks_need(request: pytest.FixtureRequest) -> None:
    chosen = encode_tasks(request, 128 + 32, FIT_TOKENS)
    target = synthetic_targets("readable", chosen)
    print(f"\ntargets: readable; {len(chosen)} tasks, {FIT_STEPS} steps of {FIT_BATCH}; an error of 1 is the mean\n")
    print("| Variant | tasks trained on | training prompts | fresh prompts | unseen tasks |\n|---|---:|---:|---:|---:|")
    for variant in VARIANTS:
        if variant.name in UNSEEN_VARIANTS:
            for trained in (8, 32, 128):
                errors = " | ".join(f"{error:.3f}" for error in fit(variant, chosen, target, trained))
                print(f"| {variant.name} | {trained} | {errors} |", flush=True)


def test_how_much_the_decoder_holds(conditions: Tensor) -> None:
    chosen = conditions[:FIT_TASKS, :, :, :FIT_TOKENS].contiguous()
    print(f"\ntargets: noise; {FIT_TASKS} tasks, steps of {FIT_BATCH}; an error of 1 is nothing learned\n")
    print("| Weight tokens | parameters / target values | rate | steps | training prompts | fresh prompts |")
    print("|---:|---:|---:|---:|---:|---:|")
    for tokens in (FIT_GRID[0], 64, 256):
        grid: Shape = (tokens, *FIT_GRID[1:])
        shapes = ((FIT_PROMPTS, FIT_TOKENS, chosen.shape[-1]), *FIT_CASCADE, grid)
        parameters = sum(parameter.numel() for parameter in HyperConvDecoder(shapes, 3).parameters())
        target = synthetic_targets("noise", chosen, grid)
        for rate, steps in ((1e-3, FIT_STEPS), (3e-3, FIT_STEPS), (3e-3, 4 * FIT_STEPS)):
            seen, fresh, _ = fit(Variant("", rate), chosen, target, FIT_TASKS, steps)
            ratio = parameters / target.numel()
            print(f"| {tokens} | {ratio:.2f} | {rate} | {steps} | {seen:.3f} | {fresh:.3f} |", flush=True)
