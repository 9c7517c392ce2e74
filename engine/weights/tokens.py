"""LoRA matrices <-> weight tokens (arXiv 2506.16406, section 3: each matrix is cut into segments of one shape).

A matrix stands with its rank as height: A as it is (rank, in), B transposed (rank, out). It is cut into
non-overlapping (h, w) pieces, row of pieces by row of pieces; the last ones are padded with zeros, as the mask has it:

    B^T (8, 576), h = 8, w = 192   ->   3 tokens of (8, 192), no padding

Cutting and joining only move values: the round trip is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.errors import EngineError


@dataclass(frozen=True)
class TokenGrid:
    """How named matrices are cut into T tokens of (height, width).

    shapes: (name, (rows, columns)) in order, as matrices come: A (rank, in), B (out, rank).
    """

    shapes: tuple[tuple[str, tuple[int, int]], ...]
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return sum(rows * columns for rows, columns in self.pieces.values())

    @cached_property
    def pieces(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of pieces that each matrix is cut into."""
        counts = {}
        for name, shape in self.shapes:
            rank, length = _standing_shape(name, shape)
            counts[name] = (-(-rank // self.height), -(-length // self.width))
        return counts

    @cached_property
    def token_owner(self) -> tuple[str, ...]:
        """The matrix name of each token: T names."""
        return tuple(name for name, (rows, columns) in self.pieces.items() for _ in range(rows * columns))

    @cached_property
    def mask(self) -> Tensor:
        """(T, h, w) bool: True where a value belongs to a matrix, False in padding."""
        return self.cut({name: torch.ones(shape) for name, shape in self.shapes}).bool()

    def cut(self, matrices: Mapping[str, Tensor]) -> Tensor:
        """Matrices, each (..., rows, columns) with the same leading dimensions -> tokens (..., T, h, w).

        Raises:
            EngineError: a matrix is missing or has another shape.
        """
        pieces = []
        for name, shape in self.shapes:
            matrix = matrices.get(name)
            if matrix is None or tuple(matrix.shape[-2:]) != shape:
                found = "missing" if matrix is None else f"of shape {tuple(matrix.shape[-2:])}"
                raise EngineError(f"is {found}, the layout has {shape}", where=name)
            standing = matrix.transpose(-1, -2) if name.endswith(".lora_B") else matrix
            rows, columns = self.pieces[name]
            below = rows * self.height - standing.shape[-2]
            right = columns * self.width - standing.shape[-1]
            grid = pad(standing, (0, right, 0, below)).unflatten(-1, (columns, self.width))
            grid = grid.unflatten(-3, (rows, self.height)).transpose(-2, -3)
            pieces.append(grid.flatten(-4, -3))
        return torch.cat(pieces, dim=-3)

    def join(self, tokens: Tensor) -> dict[str, Tensor]:
        """Tokens (..., T, h, w) -> matrices by name; padding is dropped. The inverse of `cut`."""
        matrices = {}
        counts = [rows * columns for rows, columns in self.pieces.values()]
        for (name, shape), part in zip(self.shapes, tokens.split(counts, dim=-3), strict=True):
            rows, columns = self.pieces[name]
            grid = part.unflatten(-3, (rows, columns)).transpose(-2, -3)
            standing = grid.flatten(-2, -1).flatten(-3, -2)
            rank, length = _standing_shape(name, shape)
            standing = standing[..., :rank, :length]
            matrices[name] = standing.transpose(-1, -2) if name.endswith(".lora_B") else standing
        return matrices


def token_grid(shapes: Mapping[str, tuple[int, int]], rank: int) -> TokenGrid:
    """The grid with tokens of the rank's height and the width (64 to 256) that pads least; the widest of those."""
    lengths = [_standing_shape(name, shape)[1] for name, shape in shapes.items()]

    def padding(width: int) -> int:
        return sum(-length % width for length in lengths)

    width = min(range(64, 257, 8), key=lambda candidate: (padding(candidate), -candidate))
    return TokenGrid(tuple(shapes.items()), rank, width)


def _standing_shape(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    return (shape[1], shape[0]) if name.endswith(".lora_B") else shape
