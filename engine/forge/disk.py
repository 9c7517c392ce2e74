"""How many bytes `collect` and `train` write, from the shapes alone. torch comes in for the decoder's size only."""

from __future__ import annotations

from dataclasses import dataclass

from engine.forge.recipe import Recipe
from engine.weights.layout import Layout

_FLOAT32, _FLOAT16 = 4, 2
# AdamW: a value and its two moments.
_STATE = 3 * _FLOAT32
# A state is written beside the one that it replaces.
_COPIES = 2


@dataclass(frozen=True)
class DiskPlan:
    """Bytes that stay when all is done, and the most that is needed beside them on the way."""

    lasting: int
    temporary: int


def collect_disk(layout: Layout, recipe: Recipe, collected: int) -> DiskPlan:
    """Frame and checkpoints of `collected` tasks; the training state of the stage under way."""
    made = layout.generated_parameters(recipe.frame.kind)
    kept = recipe.library.keep
    group = recipe.library.adapters * made * (_STATE + kept * _FLOAT32)
    lasting = (layout.parameters + collected * kept * made) * _FLOAT16
    return DiskPlan(lasting, _COPIES * max(made * _STATE, group))


def train_disk(layout: Layout, kind: str, recipe: Recipe, channels: int, tasks: int) -> DiskPlan:
    """The artifact; the encoded prompts of `tasks` tasks, at most, and the training states of both stages.

    Args:
        kind: of the library's frame.
        channels: of the condition.
    """
    import torch

    from engine.forge.conditions import POOL
    from engine.generator.hyperconv import HyperConvDecoder
    from engine.weights.frame import generated_shapes
    from engine.weights.tokens import token_grid

    wanted = recipe.decoder
    grid = token_grid(generated_shapes(layout, kind), layout.lora.rank)
    first, last = (wanted.prompts, wanted.prompt_tokens, channels), (grid.tokens, grid.height, grid.width)
    with torch.device("meta"):
        decoder = HyperConvDecoder((first, *wanted.cascade, last), wanted.kernel)
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    conditions = tasks * POOL * wanted.prompts * wanted.prompt_tokens * channels * _FLOAT16
    moving = parameters + (layout.generated_parameters(kind) if recipe.language_loss.frame_learning_rate else 0)
    # Of the second stage the values at the lowest held-out loss too.
    states = parameters * _STATE + _COPIES * moving * (_STATE + _FLOAT32)
    return DiskPlan((parameters + layout.parameters) * _FLOAT16, conditions + states)
