"""Layouts from configs alone; matrices to weight tokens and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.weights.frame import fresh_frame, generated_shapes
from engine.weights.layout import Layout, LoraSpec, derive_layout
from engine.weights.tokens import TokenGrid, token_grid
from tests.tiny import CONFIGS, tiny_config, tiny_model


@pytest.mark.parametrize("family", CONFIGS)
def test_layout_from_config_has_the_shapes_of_the_real_model(family: str) -> None:
    layout = derive_layout(tiny_config(family), LoraSpec(rank=4, alpha=8))
    model = tiny_model(family)
    assert len(layout.modules) == 2 * 7
    for module in layout.modules:
        weight = model.get_submodule(module.path).weight
        assert weight.shape == (module.out_features, module.in_features)
        assert module.layer in (0, 1)
    assert layout.parameters == 4 * sum(m.in_features + m.out_features for m in layout.modules)


def test_layout_survives_json() -> None:
    layout = derive_layout(tiny_config("llama"))
    again = Layout.from_json(layout.to_json())
    assert again == layout and again.digest == layout.digest
    assert derive_layout(tiny_config("llama"), LoraSpec(rank=4)).digest != layout.digest


def test_unknown_target_modules_are_told_with_those_there() -> None:
    with pytest.raises(EngineError, match=r"no linear module.*down_proj"):
        derive_layout(tiny_config("llama"), LoraSpec(target_modules=("query",)))


shapes = st.dictionaries(
    st.sampled_from(["a.lora_A", "a.lora_B", "b.lora_B", "c.lora_A", "d.lora_B"]),
    st.tuples(st.integers(1, 9), st.integers(1, 40)),
    min_size=1,
)


@given(shapes, st.integers(1, 6), st.integers(1, 17), st.sampled_from([(), (3,), (2, 2)]))
def test_cut_and_join_give_back_every_value(
    shapes: dict[str, tuple[int, int]], height: int, width: int, leading: tuple[int, ...]
) -> None:
    grid = TokenGrid(tuple(shapes.items()), height, width)
    matrices = {name: torch.randn(*leading, *shape) for name, shape in shapes.items()}
    tokens = grid.cut(matrices)
    assert tokens.shape == (*leading, grid.tokens, height, width)
    joined = grid.join(tokens)
    assert all(torch.equal(joined[name], matrix) for name, matrix in matrices.items())
    # The mask counts exactly the values of the matrices, and padding holds nothing.
    assert int(grid.mask.sum()) == sum(rows * columns for rows, columns in shapes.values())
    assert not tokens[..., ~grid.mask].any()
    assert len(grid.token_owner) == grid.tokens


@given(shapes)
def test_padding_never_reaches_a_matrix(shapes: dict[str, tuple[int, int]]) -> None:
    grid = TokenGrid(tuple(shapes.items()), 4, 7)
    tokens = torch.where(grid.mask, 1.0, torch.nan)
    assert all(torch.equal(matrix, torch.ones_like(matrix)) for matrix in grid.join(tokens).values())


def test_cut_says_which_matrix_is_wrong() -> None:
    grid = TokenGrid((("x.lora_B", (4, 2)),), 2, 4)
    with pytest.raises(EngineError, match=r"x\.lora_B: is missing"):
        grid.cut({})
    with pytest.raises(EngineError, match=r"x\.lora_B.*\(2, 4\)"):
        grid.cut({"x.lora_B": torch.zeros(2, 4)})


def test_the_grid_of_the_default_base_needs_no_padding() -> None:
    config = tiny_config(
        "llama", hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3, head_dim=64
    )
    layout = derive_layout(config)
    grid = token_grid(generated_shapes(layout, "shared_a"), layout.lora.rank)
    assert (grid.height, grid.width) == (8, 192)
    assert bool(grid.mask.all())


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_fresh_frame_is_orthonormal_seeded_and_changes_nothing(family: str) -> None:
    layout = derive_layout(tiny_config(family), LoraSpec(rank=4))
    frame = fresh_frame(layout, "shared_a", seed=3)
    for module in layout.modules:
        a = frame.a[module.path]
        assert torch.allclose(a @ a.T, torch.eye(4), atol=2e-3)  # rounded to float16 values
        assert torch.equal(a, a.half().float())
        assert not frame.b[module.path].any()
    same, other = fresh_frame(layout, "shared_a", seed=3), fresh_frame(layout, "shared_a", seed=4)
    path = layout.modules[0].path
    assert torch.equal(frame.a[path], same.a[path]) and not torch.equal(frame.a[path], other.a[path])


def test_a_full_frame_generates_a_and_b() -> None:
    layout = derive_layout(tiny_config("llama"), LoraSpec(rank=4))
    assert len(generated_shapes(layout, "full")) == 2 * len(generated_shapes(layout, "shared_a"))
    with pytest.raises(EngineError, match="unknown kind of frame"):
        generated_shapes(layout, "half")
