"""Module paths and their norms as a grid of layers and kinds."""

from __future__ import annotations

import pytest
from textual.geometry import Offset

from dnd_tui.widgets.module_grid import ModuleGrid, Picture


def grid_of(*paths: str) -> ModuleGrid:
    grid = ModuleGrid()
    grid.add({path: (float(number), 2.0) for number, path in enumerate(paths)})
    return grid


def test_rows_follow_the_way_through_a_layer() -> None:
    kinds = ("mlp.down_proj", "self_attn.o_proj", "mlp.extra", "self_attn.q_proj")
    assert grid_of(*(f"model.layers.0.{kind}" for kind in kinds)).labels() == ["q", "o", "down", "extra"]


def test_names_that_would_be_the_same_are_shown_in_full() -> None:
    grid = grid_of("transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj", "transformer.h.0.mlp.c_fc")
    assert grid.labels() == ["attn.c_proj", "mlp.c_proj", "c_fc"]


def test_modules_in_no_layer_have_a_column_of_their_own() -> None:
    grid = grid_of("lm_head", "model.layers.10.mlp.up_proj", "model.layers.2.mlp.up_proj")
    assert grid.columns(10) == [(2,), (10,), (None,)]
    cell = grid.cell("lm_head", (None,))
    assert cell and cell.where == "in no layer" and cell.generated == 0.0


def test_experts_share_a_cell_that_shows_their_mean() -> None:
    grid = grid_of(*(f"model.layers.3.mlp.experts.{expert}.up_proj" for expert in range(3)))
    cell = grid.cell("mlp.experts.up_proj", (3,))
    assert cell and (cell.modules, cell.generated, cell.difference) == (3, 1.0, -0.5)


def test_layers_share_columns_where_there_are_too_many() -> None:
    grid = grid_of(*(f"model.layers.{layer}.mlp.up_proj" for layer in range(100)))
    columns = grid.columns(54)
    assert len(columns) == 50 and columns[-1] == (98, 99)
    cell = grid.cell("mlp.up_proj", columns[-1])
    assert cell and cell.where == "layers 98 to 99" and cell.generated == 98.5
    assert grid.columns(1) == [tuple(range(100))]


def test_expected_modules_are_known_and_have_no_norms() -> None:
    grid = ModuleGrid()
    grid.expect(["model.layers.0.mlp.up_proj"])
    assert grid.has("mlp.up_proj", (0,)) and grid.cell("mlp.up_proj", (0,)) is None
    grid.add({"model.layers.0.mlp.up_proj": (1.0, 0.0)})
    cell = grid.cell("mlp.up_proj", (0,))
    assert cell and cell.difference is None


@pytest.mark.parametrize(
    ("norm", "share"), [(0.0, 0.0), (0.05, 0.0), (0.1, 0.0), (1.0, 1 / 3), (10.0, 2 / 3), (300.0, 1.0)]
)
def test_the_scale_of_norms_is_the_same_for_every_adapter(norm: float, share: float) -> None:
    for largest in (0.2, 80.0):
        grid = ModuleGrid()
        grid.add({"model.layers.0.mlp.up_proj": (largest, 0.0)})
        picture = Picture.fitting(grid, "generated", 60, 12)
        assert picture.scale == (0.1, 100.0) and picture.share(norm) == pytest.approx(share)


def test_the_scale_of_differences_ends_at_all_of_the_frame() -> None:
    picture = Picture.fitting(grid_of("model.layers.0.mlp.up_proj"), "difference", 60, 12)
    assert picture.scale == (0.0, 1.0) and picture.share(0.25) == 0.25 and picture.share(4.0) == 1.0


def test_two_maps_only_where_both_have_room() -> None:
    grid = grid_of(*(f"model.layers.{layer}.mlp.up_proj" for layer in range(30)))
    assert Picture.fitting(grid, "generated", 80, 12).maps == ("generated", "frame")
    assert Picture.fitting(grid, "frame", 60, 12).maps == ("frame",)
    assert Picture.fitting(grid, "difference", 300, 12).maps == ("difference",)


def test_the_place_under_the_mouse() -> None:
    grid = grid_of(*(f"model.layers.{layer}.mlp.up_proj" for layer in range(30)))
    picture = Picture.fitting(grid, "generated", 80, 12)
    second = picture.label_width + 1 + 30 + 4 + picture.label_width + 1
    assert picture.at(Offset(picture.label_width + 1 + 7, 2)) == (0, 7)
    assert picture.at(Offset(second + 29, 2)) == (0, 29)
    assert picture.at(Offset(0, 2)) is None and picture.at(Offset(10, 1)) is None and picture.at(Offset(10, 3)) is None


def test_numbers_under_the_map_do_not_run_into_one_another() -> None:
    grid = grid_of(*(f"model.layers.{layer}.mlp.up_proj" for layer in range(30)))
    picture = Picture.fitting(grid, "generated", 60, 12)
    assert picture.layer_numbers(None).plain.split() == ["0", "5", "10", "15", "20", "25"]
    assert picture.layer_numbers(11).plain.split() == ["0", "5", "11", "15", "20", "25"]
    assert picture.layer_numbers(29).plain.index("29") == 28


def test_cells_are_higher_where_there_is_room() -> None:
    grid = grid_of(*(f"model.layers.{layer}.mlp.{kind}_proj" for layer in range(30) for kind in ("gate", "up", "down")))
    assert Picture.fitting(grid, "generated", 300, 6).cell == (4, 2)
    assert Picture.fitting(grid, "generated", 300, 5).cell == (4, 1)
    assert Picture.fitting(grid, "generated", 100, 6).cell == (1, 1)
