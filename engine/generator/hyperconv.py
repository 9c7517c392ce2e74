"""The cascaded hyper-convolutional decoder (arXiv 2506.16406, section 3.4): condition -> weight tokens.

One block maps x (B, N, L, C) to (B, N', L', C'):

    x --LayerNorm over (L, C)--+--> conv over C as channels --> conv over L as channels ----------+
                               |                                                               | + bias, / 3
                               +--> conv over L as channels --> conv over C as channels --> tanh -+
                                                                                               |
                           x, where the shapes agree --(+)<-- conv over N as channels (N -> N') <-+

All convolutions are two-dimensional, keep the size of the two other axes ("same" padding) and have no bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]


class HyperConvBlock(nn.Module):
    """One block: (B, N, L, C) -> (B, N', L', C'), both shapes given as (N, L, C)."""

    def __init__(self, source: Shape, target: Shape, kernel: int) -> None:
        super().__init__()
        (n, length, channels), (new_n, new_length, new_channels) = source, target

        def conv(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

        self.norm = nn.LayerNorm((length, channels))
        self.width_first_c = conv(channels, new_channels)
        self.width_first_l = conv(length, new_length)
        self.height_first_l = conv(length, new_length)
        self.height_first_c = conv(channels, new_channels)
        self.bias = nn.Parameter(torch.zeros(new_length, new_channels))
        self.over_n = conv(n, new_n)
        self.residual = source == target

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, L, C) -> (B, N', L', C')."""
        normed = self.norm(x)
        wide = _over_l(self.width_first_l, _over_c(self.width_first_c, normed))
        high = torch.tanh(_over_c(self.height_first_c, _over_l(self.height_first_l, normed)))
        mixed = self.over_n((wide + high + self.bias) / 3)
        return mixed + x if self.residual else mixed


class HyperConvDecoder(nn.Module):
    """A cascade of blocks: (B, N, L, C) -> (B, T, h, w).

    shapes: the (N, L, C) of the condition, of every block's output in between, and (T, h, w) at the end.
    The last convolution starts at zero: an untrained decoder gives the frame's own adapter.
    """

    def __init__(self, shapes: Sequence[Shape], kernel: int) -> None:
        super().__init__()
        blocks = [HyperConvBlock(source, target, kernel) for source, target in pairwise(shapes)]
        nn.init.zeros_(blocks[-1].over_n.weight)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, condition: Tensor) -> Tensor:
        """(B, N, L, C) condition -> (B, T, h, w) weight tokens, in units of the token scales."""
        x = condition
        for block in self.blocks:
            x = block(x)
        return x


def _over_c(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolution with C as channels, over the (N, L) plane: (B, N, L, C) -> (B, N, L, C')."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _over_l(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolution with L as channels, over the (N, C) plane: (B, N, L, C) -> (B, N, L', C)."""
    return conv(x.transpose(1, 2)).transpose(1, 2)
