"""The decoder's block against its equation, written with explicit sums instead of convolution layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.generator.hyperconv import HyperConvBlock, HyperConvDecoder


def plane_convolution(x: Tensor, weight: Tensor, channel_axis: int) -> Tensor:
    """Slide a (k, k) window over the two axes of x (N, L, C) that are not `channel_axis`, mixing the channels.

    y[o, i, j] = sum over c, u, v of weight[o, c, u, v] * x[c, i + u - k//2, j + v - k//2], zero outside.
    """
    planes = x.movedim(channel_axis, 0)
    _, height, width = planes.shape
    kernel = weight.shape[-1]
    half = kernel // 2
    result = torch.zeros(weight.shape[0], height, width, dtype=x.dtype)
    for u in range(kernel):
        for v in range(kernel):
            for i in range(height):
                for j in range(width):
                    row, column = i + u - half, j + v - half
                    if 0 <= row < height and 0 <= column < width:
                        result[:, i, j] += weight[:, :, u, v] @ planes[:, row, column]
    return result.movedim(0, channel_axis)


def block_by_formula(block: HyperConvBlock, x: Tensor) -> Tensor:
    mean = x.mean(dim=(1, 2), keepdim=True)
    variance = x.var(dim=(1, 2), keepdim=True, unbiased=False)
    normed = (x - mean) / torch.sqrt(variance + block.norm.eps) * block.norm.weight + block.norm.bias
    over_c = lambda value, conv: plane_convolution(value, conv.weight, 2)  # noqa: E731
    over_l = lambda value, conv: plane_convolution(value, conv.weight, 1)  # noqa: E731
    wide = over_l(over_c(normed, block.width_first_c), block.width_first_l)
    high = torch.tanh(over_c(over_l(normed, block.height_first_l), block.height_first_c))
    mixed = plane_convolution((wide + high + block.bias) / 3, block.over_n.weight, 0)
    return mixed + x if mixed.shape == x.shape else mixed


@pytest.mark.parametrize(("source", "target"), [((3, 4, 5), (2, 6, 3)), ((3, 4, 5), (3, 4, 5))])
@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_a_block_is_its_equation(source: tuple[int, int, int], target: tuple[int, int, int], kernel: int) -> None:
    torch.manual_seed(kernel)
    block = HyperConvBlock(source, target, kernel).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, *source, dtype=torch.float64)
    expected = torch.stack([block_by_formula(block, one) for one in x])
    # Only the order of the sums differs: float64 leaves far less than this.
    assert torch.allclose(block(x), expected, atol=1e-10)


def test_the_published_cascade_has_the_published_size() -> None:
    """arXiv 2506.16406's cascade for the 0.5 B base: 1.11 B parameters, counted from its public configuration."""
    cascade = [
        (128, 384, 384), (128, 200, 300), (128, 100, 256), (256, 50, 200), (512, 50, 200),
        (1024, 25, 200), (1024, 10, 200), (2048, 10, 200), (4296, 10, 130),
    ]  # fmt: skip
    with torch.device("meta"):
        decoder = HyperConvDecoder(cascade, kernel=9)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == pytest.approx(1.11e9, rel=0.01)


def test_an_untrained_decoder_moves_nothing() -> None:
    decoder = HyperConvDecoder([(2, 4, 6), (3, 4, 5), (5, 2, 4)], kernel=3)
    assert not decoder(torch.randn(2, 2, 4, 6)).any()
