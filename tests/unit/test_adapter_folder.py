"""PEFT folders: the same bytes for the same adapter, what is read back, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.adapter.peft_folder import peft_files, read_peft_folder, read_peft_layout
from engine.errors import EngineError
from engine.weights.layout import ALL_LINEAR, Layout, LayoutModule, LoraSpec
from engine.weights.lora import LoraAdapter
from tests.unit.adapter_parts import write_peft_folder

SIZES = {"q_proj": (6, 6), "k_proj": (6, 4), "down_proj": (10, 6)}


def make_adapter(layers: int = 12, kinds: tuple[str, ...] = tuple(SIZES), seed: int = 0) -> LoraAdapter:
    paths = [f"model.layers.{layer}.{'mlp' if kind == 'down_proj' else 'self_attn'}.{kind}"
             for layer in range(layers) for kind in kinds]  # fmt: skip
    modules = tuple(LayoutModule(path, *SIZES[path.rsplit(".", 1)[-1]]) for path in paths)
    seeded = torch.Generator().manual_seed(seed)
    a = {m.path: torch.randn(2, m.in_features, generator=seeded) for m in modules}
    b = {m.path: torch.randn(m.out_features, 2, generator=seeded) for m in modules}
    return LoraAdapter(Layout(modules, LoraSpec(2, 6, kinds)), a, b)


def rewrite_config(folder: Path, **changes: Any) -> None:
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    file = folder / "adapter_model.safetensors"
    state = safetensors.torch.load(file.read_bytes())
    change(state)
    file.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_peft_folder(tmp_path / "adapter", make_adapter(), "someone/base")
    return tmp_path / "adapter"


def test_round_trip_is_exact(folder: Path) -> None:
    adapter = make_adapter()
    read, config = read_peft_folder(folder)
    assert read.layout == adapter.layout
    assert all(torch.equal(read.a[m.path], adapter.a[m.path]) for m in adapter.layout.modules)
    assert all(torch.equal(read.b[m.path], adapter.b[m.path]) for m in adapter.layout.modules)
    assert config["base_model_name_or_path"] == "someone/base"


@given(
    layers=st.integers(1, 13),
    kinds=st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_any_layout_comes_back_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, layers: int, kinds: list[str], seed: int
) -> None:
    adapter = make_adapter(layers, tuple(sorted(kinds, key=ALL_LINEAR.index)), seed)
    target = tmp_path_factory.mktemp("any") / "adapter"
    write_peft_folder(target, adapter, "base")
    assert read_peft_folder(target)[0].layout == adapter.layout


def test_same_adapter_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_peft_folder(tmp_path / name, make_adapter(), "base", extra_files={"README.md": name})
    for file in ("adapter_config.json", "adapter_model.safetensors", "SHA256SUMS"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert peft_files(make_adapter(seed=1), "base") != peft_files(make_adapter(), "base")
    assert (tmp_path / "one" / "README.md").read_text() == "one"


def test_matrices_that_are_views_of_one_tensor_are_written_alike() -> None:
    adapter = make_adapter()
    paths = [m.path for m in adapter.layout.modules]
    stacked = {kind: torch.stack([adapter.a[p].T for p in paths if p.endswith(kind)]) for kind in SIZES}
    counts = dict.fromkeys(SIZES, -1)
    views = {}
    for path in paths:
        kind = path.rsplit(".", 1)[-1]
        counts[kind] += 1
        views[path] = stacked[kind][counts[kind]].T
    assert peft_files(LoraAdapter(adapter.layout, views, adapter.b), "base") == peft_files(adapter, "base")


def test_config_is_what_consumers_read(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "CAUSAL_LM"
    assert (config["r"], config["lora_alpha"]) == (2, 6)
    assert isinstance(config["lora_alpha"], int)
    assert config["target_modules"] == ["q_proj", "k_proj", "down_proj"]
    assert (config["bias"], config["use_rslora"], config["inference_mode"]) == ("none", False, True)


def test_weights_have_the_names_of_peft(folder: Path) -> None:
    with safetensors.safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        keys = set(file.keys())
    assert "base_model.model.model.layers.11.self_attn.k_proj.lora_B.weight" in keys
    assert len(keys) == 2 * 12 * 3


def test_float16_halves_the_file_and_reads_as_float32(tmp_path: Path) -> None:
    adapter = make_adapter()
    write_peft_folder(tmp_path / "half", adapter, "base", float_type="float16")
    read, _ = read_peft_folder(tmp_path / "half")
    path = adapter.layout.modules[0].path
    assert read.a[path].dtype == torch.float32
    assert torch.equal(read.a[path], adapter.a[path].half().float())


@pytest.mark.parametrize(
    ("value", "float_type"), [(float("nan"), "float32"), (float("inf"), "float32"), (7e4, "float16")]
)
def test_values_that_cannot_be_stored_are_refused(tmp_path: Path, value: float, float_type: str) -> None:
    adapter = make_adapter()
    path = adapter.layout.modules[4].path
    adapter.b[path][1, 1] = value
    with pytest.raises(EngineError, match=f"{path}.lora_B.weight"):
        write_peft_folder(tmp_path / "adapter", adapter, "base", float_type=float_type)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept_unless_it_may_be_replaced(folder: Path) -> None:
    before = (folder / "adapter_model.safetensors").read_bytes()
    with pytest.raises(EngineError, match="already exists"):
        write_peft_folder(folder, make_adapter(seed=1), "base")
    assert (folder / "adapter_model.safetensors").read_bytes() == before
    write_peft_folder(folder, make_adapter(seed=1), "base", replace=True)
    assert (folder / "adapter_model.safetensors").read_bytes() != before


def test_a_folder_as_peft_writes_it_is_read(folder: Path) -> None:
    rewrite_config(
        folder, target_modules=["down_proj", "q_proj", "k_proj"], lora_alpha=6.0, peft_version="0.21.2",
        megatron_core="megatron.core", qalora_group_size=16, lora_dropout=0.1, loftq_config={}, task_type=None,
    )  # fmt: skip
    assert read_peft_folder(folder)[0].layout == make_adapter().layout


@pytest.mark.parametrize(
    "limits", [{"target_modules": r".*\.q_proj"}, {"layers_to_transform": [0, 1]}, {"target_modules": ["q_proj"]}]
)
def test_modules_that_the_config_does_not_list_by_kind_get_full_paths(folder: Path, limits: dict[str, Any]) -> None:
    rewrite_config(folder, **limits)
    layout = read_peft_folder(folder)[0].layout
    assert layout.lora.target_modules == tuple(module.path for module in make_adapter().layout.modules)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"use_dora": True}, "use_dora is set"),
        ({"use_rslora": True}, "use_rslora is set"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern is set"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern is set"),
        ({"a_setting_of_tomorrow": 1}, "a_setting_of_tomorrow is set"),
        ({"init_lora_weights": "pissa"}, "changes the weights of the base"),
        ({"lora_alpha": 0.5}, "lora_alpha is 0.5"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"r": True}, "r is True"),
        ({"r": None}, "r is None"),
        ({"r": 10**9}, "r is more than"),
        ({"r": 4}, "does not go with rank 4"),
    ],
)
def test_more_than_plain_lora_is_refused_with_the_reason(folder: Path, changes: dict[str, Any], reason: str) -> None:
    rewrite_config(folder, **changes)
    with pytest.raises(EngineError, match=reason):
        read_peft_folder(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"r": ' + "9" * 5000 + "}", "[" * 100_000, " " * 2_000_000])
def test_a_broken_config_is_told(folder: Path, text: str) -> None:
    (folder / "SHA256SUMS").unlink()
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(EngineError, match=r"adapter_config\.json"):
        read_peft_folder(folder)


def _set(key_end: str, value: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: state.update({next(key for key in state if key.endswith(key_end)): value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("0.self_attn.q_proj.lora_A.weight", torch.full((2, 6), float("nan"))), "not finite"),
        (_set("0.self_attn.q_proj.lora_B.weight", torch.zeros(6, 3)), r"shape \(6, 3\)"),
        (_set("0.self_attn.q_proj.lora_B.weight", torch.zeros(6)), r"shape \(6,\)"),
        (_set("0.self_attn.q_proj.lora_B.weight", torch.zeros(0, 2)), r"shape \(0, 2\)"),
        (_set("0.self_attn.q_proj.lora_B.weight", torch.zeros(6, 2, dtype=torch.int32)), "int32"),
        (lambda state: state.pop("base_model.model.model.layers.3.mlp.down_proj.lora_A.weight"), "lora_A is missing"),
        (lambda state: state.update({"base_model.model.lm_head.weight": torch.ones(3)}), "lm_head.weight: is not"),
        (lambda state: state.clear(), "no matrices"),
    ],
)
def test_wrong_matrices_are_told(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], reason: str
) -> None:
    rewrite_weights(folder, change)
    with pytest.raises(EngineError, match=reason):
        read_peft_folder(folder)


def test_one_changed_byte_of_a_matrix_is_noticed(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with pytest.raises(EngineError, match="was changed after it was written"):
        read_peft_folder(folder)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    files = peft_files(make_adapter(layers=1), "base")
    del files["SHA256SUMS"]
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content), 900) - 1))] = data.draw(st.integers(0, 255))
    files[name] = bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    target = tmp_path_factory.mktemp("damaged")
    for name, written in files.items():
        (target / name).write_bytes(written)
    try:
        adapter, _ = read_peft_folder(target)
    except EngineError as error:
        assert str(target) in str(error)
    else:
        assert all(torch.isfinite(matrix).all() for matrix in (*adapter.a.values(), *adapter.b.values()))


def test_a_truncated_file_says_what_to_do(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(EngineError, match="copy it again"):
        read_peft_folder(folder)


def test_a_pickle_is_not_read(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(EngineError, match="is a pickle"):
        read_peft_folder(folder)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="Name the folder of an adapter"):
        read_peft_folder(tmp_path / "nowhere")
    with pytest.raises(EngineError, match=r"has no adapter_config\.json"):
        read_peft_folder(tmp_path)


def test_the_folder_may_be_replaced_while_its_adapter_is_in_use(folder: Path) -> None:
    read, _ = read_peft_folder(folder)
    file = folder / "adapter_model.safetensors"
    with open(file, "r+b") as handle:
        handle.seek(-400, 2)
        handle.write(b"\0" * 400)
    path = make_adapter().layout.modules[-1].path
    assert torch.equal(read.b[path], make_adapter().b[path])


def test_the_layout_alone_is_read_without_torch(folder: Path) -> None:
    assert read_peft_layout(folder) == (make_adapter().layout, read_peft_folder(folder)[1])
    ask = (
        "import sys; from pathlib import Path; from engine.events import Reporter; from engine.jobs import run;"
        "from engine.requests import InfoRequest, ModelChoice;"
        "data = run(InfoRequest(models=ModelChoice(), target=Path(sys.argv[1])), Reporter()).to_json();"
        "print(data['parameters'], 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", ask, str(folder)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(make_adapter().layout.parameters), "False"]
