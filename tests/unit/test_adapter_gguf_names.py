"""Names and row orders of GGUF against the `gguf` package, transformers' own reader and the definition of RoPE."""

from __future__ import annotations

from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from engine.adapter.gguf import (
    GGUF_ARCHITECTURES,
    module_path,
    permute_rows,
    permuted_heads,
    tensor_name,
    unpermute_rows,
)
from engine.errors import EngineError
from engine.weights.layout import derive_layout
from tests.tiny import tiny_config


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_names_are_those_of_the_gguf_package(family: str) -> None:
    architectures = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[GGUF_ARCHITECTURES[family]], 2)
    paths = [module.path for module in derive_layout(tiny_config(family)).modules]
    assert len(paths) == 14
    for path in paths:
        assert tensor_name(path) == f"{names.get_name(path)}.weight"
        assert module_path(tensor_name(path)) == path


@pytest.mark.parametrize("path", ["lm_head", "model.layers.0.mlp.experts", "model.layers.\u0663.mlp.up_proj", ""])
def test_a_module_without_a_name_is_told(path: str) -> None:
    with pytest.raises(EngineError, match="no name in a GGUF file"):
        tensor_name(path)


@pytest.mark.parametrize(
    "name", ["output.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.bias", "blk.x.attn_q.weight"]
)
def test_a_tensor_that_is_no_module_is_told(name: str) -> None:
    with pytest.raises(EngineError, match="no module that is known"):
        module_path(name)


sizes = st.tuples(st.integers(1, 6), st.integers(1, 8), st.integers(1, 5))


@given(sizes, st.integers(0, 2**32 - 1))
def test_rows_come_back_in_numpy_and_torch(size: tuple[int, int, int], seed: int) -> None:
    heads, half, columns = size
    matrix = np.random.default_rng(seed).standard_normal((heads * half * 2, columns)).astype(np.float32)
    permuted = permute_rows(matrix, heads)
    assert np.array_equal(unpermute_rows(permuted, heads), matrix)
    assert np.array_equal(permute_rows(unpermute_rows(matrix, heads), heads), matrix)
    assert torch.equal(permute_rows(torch.from_numpy(matrix), heads), torch.from_numpy(permuted.copy()))
    # transformers undoes the same permutation when it reads a GGUF file.
    undo = LlamaTensorProcessor(config=None)._reverse_permute_weights
    assert np.array_equal(undo(permuted, heads, heads), matrix)


def test_a_pair_that_transformers_rotates_stands_next_to_each_other() -> None:
    rows = permute_rows(np.arange(12)[:, None], 2)[:, 0]
    assert rows.tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


def test_rows_that_no_heads_fit_are_refused() -> None:
    for rows, heads in ((6, 2), (8, 0)):
        with pytest.raises(EngineError, match="cannot be those of"):
            permute_rows(np.zeros((rows, 1)), heads)


def test_only_q_and_k_of_llama_are_reordered() -> None:
    config = SimpleNamespace(model_type="llama", num_attention_heads=9, num_key_value_heads=3)
    found = {
        path.rsplit(".")[-1]: permuted_heads(path, config)
        for path in (f"model.layers.0.self_attn.{kind}_proj" for kind in "qkvo")
    }
    assert found == {"q_proj": 9, "k_proj": 3, "v_proj": None, "o_proj": None}
    config.model_type = "qwen2"
    assert permuted_heads("model.layers.0.self_attn.q_proj", config) is None
