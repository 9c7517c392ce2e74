"""GGUF files and MLX folders against the `gguf` package, the bytes on disk and the definition of LoRA."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from adapter_parts import random_adapter

from engine.adapter import gguf as gguf_files
from engine.adapter.export import AdapterWork
from engine.adapter.gguf import read_gguf_adapter, write_gguf_adapter
from engine.adapter.merged import largest_difference, write_gguf_merged
from engine.adapter.writers import MlxFolder
from engine.base.source import BaseSource
from engine.errors import EngineError
from engine.events import Reporter
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_config, tiny_model
from tests.tiny_gguf import write_tiny_gguf

CONFIG = tiny_config("llama")


@pytest.fixture(scope="module")
def adapter() -> LoraAdapter:
    return random_adapter(derive_layout(CONFIG, LoraSpec(rank=2, alpha=3)), size=0.2)


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "base.gguf", "llama", tiny_model("llama"))


def same(first: LoraAdapter, second: LoraAdapter) -> bool:
    pairs = [(first.a[m.path], second.a[m.path]) for m in first.layout.modules]
    pairs += [(first.b[m.path], second.b[m.path]) for m in first.layout.modules]
    return all(torch.equal(one, other) for one, other in pairs)


def test_the_file_says_what_llama_cpp_asks_for(tmp_path: Path, adapter: LoraAdapter) -> None:
    file = tmp_path / "adapter.gguf"
    write_gguf_adapter(file, adapter, CONFIG, name="mine")
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert fields == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "general.name": "mine",
        "adapter.type": "lora",
        "adapter.lora.alpha": 3.0,
    }
    assert reader.fields["adapter.lora.alpha"].types == [gguf.GGUFValueType.FLOAT32]
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(tensors) == 2 * 14
    assert tensors["blk.1.ffn_up.weight.lora_a"].shape == (2, 32)
    assert tensors["blk.1.ffn_up.weight.lora_b"].shape == (48, 2)
    assert same(read_gguf_adapter(file, CONFIG, adapter.layout), adapter)


def test_only_q_and_k_have_other_rows_than_peft(tmp_path: Path, adapter: LoraAdapter) -> None:
    write_gguf_adapter(tmp_path / "adapter.gguf", adapter, CONFIG, name="mine")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "adapter.gguf").tensors}
    kinds = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj"}
    equal = {
        name: np.array_equal(tensors[f"blk.0.{name}.weight.lora_b"], adapter.b[f"model.layers.0.{kind}"].numpy())
        for name, kind in kinds.items()
    }
    assert equal == {"attn_q": False, "attn_k": False, "attn_v": True}


@pytest.mark.parametrize("float_type", ["float32", "float16", "bfloat16"])
def test_a_merged_file_is_the_base_and_the_update(
    tmp_path: Path, base_file: Path, adapter: LoraAdapter, float_type: str
) -> None:
    file = tmp_path / "model.gguf"
    write_gguf_merged(file, base_file, adapter, CONFIG, name="mine", float_type=float_type)
    found = largest_difference(file, base_file, adapter, CONFIG, float_type=float_type)
    assert found <= {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}[float_type]
    base, merged = gguf.GGUFReader(base_file), gguf.GGUFReader(file)
    assert [each.name for each in merged.tensors] == [each.name for each in base.tensors]
    assert "output.weight" not in {each.name for each in merged.tensors}  # tied
    kinds = {len(each.shape): each.tensor_type.name for each in merged.tensors}
    assert kinds == {1: "F32", 2: {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[float_type]}
    copied = [name for name in base.fields if name.startswith(("tokenizer.", "llama."))]
    assert len(copied) > 12
    for name in copied:
        assert merged.fields[name].types == base.fields[name].types
        assert merged.fields[name].contents() == base.fields[name].contents()


def test_what_was_changed_after_writing_is_found(tmp_path: Path, base_file: Path, adapter: LoraAdapter) -> None:
    file = tmp_path / "model.gguf"
    write_gguf_merged(file, base_file, adapter, CONFIG, name="mine")
    tensor = next(each for each in gguf.GGUFReader(file).tensors if each.name == "blk.0.attn_v.weight")
    with open(file, "r+b") as handle:
        handle.seek(int(tensor.data_offset))
        handle.write(struct.pack("<f", 1.0))
    with pytest.raises(EngineError, match=r"blk\.0\.attn_v\.weight: the written tensor differs"):
        largest_difference(file, base_file, adapter, CONFIG)


def test_a_merged_file_without_the_permutation_is_found(
    tmp_path: Path, base_file: Path, adapter: LoraAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    with monkeypatch.context() as left_out:
        left_out.setattr(gguf_files, "permuted_heads", lambda *_: None)
        write_gguf_merged(file, base_file, adapter, CONFIG, name="mine")
    with pytest.raises(EngineError, match=r"attn_[qk]\.weight: the written tensor differs"):
        largest_difference(file, base_file, adapter, CONFIG)


def test_an_adapter_for_another_base_is_told_with_the_tensor(
    tmp_path: Path, base_file: Path, adapter: LoraAdapter
) -> None:
    other = random_adapter(derive_layout(tiny_config("llama", intermediate_size=64), adapter.layout.lora))
    with pytest.raises(EngineError, match=r"blk\.0\.ffn_gate\.weight: .* \(64, 32\), the base has \(48, 32\)"):
        write_gguf_merged(tmp_path / "model.gguf", base_file, other, CONFIG, name="mine")


def test_an_architecture_without_names_is_told(tmp_path: Path, adapter: LoraAdapter) -> None:
    with pytest.raises(EngineError, match="type gemma2 are not known"):
        write_gguf_adapter(tmp_path / "a.gguf", adapter, tiny_config("gemma2"), name="mine")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64])
def test_a_base_file_that_is_no_whole_gguf_file_is_told(tmp_path: Path, adapter: LoraAdapter, content: bytes) -> None:
    broken = tmp_path / "base.gguf"
    broken.write_bytes(content)
    with pytest.raises(EngineError, match="not a whole GGUF file"):
        write_gguf_merged(tmp_path / "model.gguf", broken, adapter, CONFIG, name="mine")


def read_safetensors_by_hand(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and matrices by the format's description alone."""
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    matrices = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]
        matrices[name] = np.frombuffer(data[8 + length :][begin:end], kind).reshape(entry["shape"])
    return metadata, matrices


def mlx_folder(folder: Path, adapter: LoraAdapter, float_type: str) -> MlxFolder:
    base: Any = SimpleNamespace(model=SimpleNamespace(config=CONFIG))
    written = MlxFolder(AdapterWork(adapter, base, "base", BaseSource("base", "llama"), float_type, []))
    with Reporter().stage("write") as stage:
        written.write(folder, stage)
    return written


@pytest.mark.parametrize("float_type", ["float32", "float16"])
def test_an_mlx_folder_computes_the_update_as_mlx_does(tmp_path: Path, adapter: LoraAdapter, float_type: str) -> None:
    folder = mlx_folder(tmp_path, adapter, float_type)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["fine_tune_type"], config["num_layers"]) == ("lora", 2)
    parameters = config["lora_parameters"]
    assert parameters["rank"] == 2 and parameters["scale"] == 1.5 and parameters["dropout"] == 0.0
    metadata, matrices = read_safetensors_by_hand(tmp_path / "adapters.safetensors")
    assert metadata == {"format": "mlx"} and len(matrices) == 2 * 14
    # mlx-lm adapts in each of the last `num_layers` layers what `keys` names, and loads by these names.
    expected = {f"model.layers.{layer}.{key}" for layer in range(2) for key in parameters["keys"]}
    assert {name.rsplit(".", 1)[0] for name in matrices} == expected
    x = np.random.default_rng(0).standard_normal((3, 48)).astype(np.float32)
    for module in adapter.layout.modules:
        a, b = (matrices[f"{module.path}.lora_{half}"].astype(np.float32) for half in "ab")
        assert a.shape == (module.in_features, 2) and b.shape == (2, module.out_features)
        given = x[:, : module.in_features]
        mlx = parameters["scale"] * (given @ a) @ b
        peft = given @ adapter.update(module.path).numpy().T
        assert abs(mlx - peft).max() <= {"float32": 1e-5, "float16": 1e-2}[float_type]
    if float_type == "float32":
        assert same(folder.read(tmp_path), adapter)


def test_an_mlx_folder_that_says_another_scale_is_told(tmp_path: Path, adapter: LoraAdapter) -> None:
    folder = mlx_folder(tmp_path, adapter, "float32")
    file = tmp_path / "adapter_config.json"
    file.write_text(file.read_text().replace("1.5", "20.0"))
    with pytest.raises(EngineError, match="is not the adapter that was written"):
        folder.read(tmp_path)
