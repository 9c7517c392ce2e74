"""PEFT folders of anybody: what is read in them, and everything that is refused, with the reason."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.adapter.foreign import fit, fold, plan
from engine.adapter.foreign_peft import open_foreign_peft
from engine.adapter.kind import known_kind
from engine.errors import EngineError
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_model
from tests.unit.adapter_parts import TINY, random_adapter

PREFIX = "base_model.model."
ADAPTER = random_adapter(derive_layout(TINY, LoraSpec(2, 4, ("q_proj", "down_proj"))))
STATE = ADAPTER.peft_state()
# As peft 0.21 writes it.
CONFIG: dict[str, Any] = {
    "alora_invocation_tokens": None, "alpha_pattern": {}, "auto_mapping": None, "base_model_name_or_path": "them/base",
    "bias": "none", "corda_config": None, "ensure_weight_tying": False, "eva_config": None, "exclude_modules": None,
    "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "layer_replication": None,
    "layers_pattern": None, "layers_to_transform": None, "loftq_config": {}, "lora_alpha": 4, "lora_bias": False,
    "lora_dropout": 0.0, "megatron_config": None, "megatron_core": "megatron.core", "modules_to_save": None,
    "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 2, "rank_pattern": {},
    "revision": None, "target_modules": ["down_proj", "q_proj"], "target_parameters": None, "task_type": "CAUSAL_LM",
    "trainable_token_indices": None, "use_dora": False, "use_qalora": False, "use_rslora": False,
}  # fmt: skip


def write(folder: Path, state: dict[str, Tensor] = STATE, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    copies = {name: tensor.clone() for name, tensor in state.items()}
    (folder / "adapter_model.safetensors").write_bytes(safetensors.torch.save(copies))
    return folder


def imported(folder: Path) -> LoraAdapter:
    foreign = open_foreign_peft(folder)
    foreign.check_base(TINY)
    fitted = fit(foreign.pairs, TINY)
    made = plan(fitted, foreign.scales_for(fitted))
    with foreign.reading(TINY) as read:
        return fold(made, read)


def same(first: LoraAdapter, second: LoraAdapter) -> bool:
    ours, theirs = first.peft_state(), second.peft_state()
    return first.layout == second.layout and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_plain_folder_comes_in_bit_for_bit(tmp_path: Path) -> None:
    foreign = open_foreign_peft(write(tmp_path / "a"))
    assert same(imported(tmp_path / "a"), ADAPTER)
    assert (foreign.named_base, foreign.changes) == ("them/base", ())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_values(tmp_path: Path, dtype: torch.dtype) -> None:
    half = {name: tensor.to(dtype) for name, tensor in STATE.items()}
    read = imported(write(tmp_path / "a", half)).peft_state()
    assert all(torch.equal(read[name], tensor.float()) for name, tensor in half.items())
    assert "became float32" in open_foreign_peft(tmp_path / "a").changes[0]


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: name.replace(".weight", ".my-adapter_0.weight"),
        lambda name: name.removeprefix(PREFIX),
        lambda name: name.replace("model.layers", "layers"),
        lambda name: f"{PREFIX}{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace("layers.1.", "layers.1._checkpoint_wrapped_module."),
        lambda name: name.replace(PREFIX, f"{PREFIX}_fsdp_wrapped_module."),
    ],
)
def test_names_as_other_tools_write_them(tmp_path: Path, rename: Callable[[str], str]) -> None:
    assert same(imported(write(tmp_path / "a", {rename(name): tensor for name, tensor in STATE.items()})), ADAPTER)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', not 'LORA'"),
        ({"peft_type": "PREFIX_TUNING"}, "'PREFIX_TUNING'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ({"bias": "lora_only"}, "bias is 'lora_only'"),
        ({"lora_bias": True}, "lora_bias is set, which trains biases"),
        ({"use_dora": True}, "use_dora is set, which is DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is set, so that whole trained modules"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is set, which runs some layers"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices is set"),
        ({"target_parameters": ["experts"]}, "target_parameters is set"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens is set, which turns the LoRA on only"),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes the weights of the base"),
        ({"a_setting_of_tomorrow": 1}, "a_setting_of_tomorrow is set"),
        ({"x" * 5000: 1}, "xxx is set"),
        ({"r": 0}, "r: 0 is not a rank"),
        ({"r": True}, "r: True is not a rank"),
        ({"r": 2.0}, "r: 2.0 is not a rank"),
        ({"r": 10**9}, "r: 1000000000 is not a rank"),
        ({"lora_alpha": 0}, "lora_alpha: 0 is not an alpha"),
        ({"lora_alpha": -4}, "lora_alpha: -4 is not an alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha: nan is not an alpha"),
        ({"lora_alpha": float("inf")}, "lora_alpha: inf is not an alpha"),
        ({"lora_alpha": "4"}, "lora_alpha: '4' is not an alpha"),
        ({"rank_pattern": [2]}, "rank_pattern: is not a JSON object"),
        ({"rank_pattern": {"q_proj": "2"}}, "rank_pattern, q_proj: '2' is not a rank"),
        ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern, q_proj: None is not an alpha"),
        ({"alpha_pattern": {"q_proj(": 2}}, "is no pattern"),
        ({"alpha_pattern": {"a" * 401 + ".*": 2}}, "is a very long pattern"),
        ({"alpha_pattern": {f".*q{number}": 2 for number in range(2000)}}, "2000 patterns that are no paths"),
        ({"r": 4}, "is of rank 2, the config has 4"),
        ({"rank_pattern": {"q_proj": 1}}, "q_proj: is of rank 2, the config has 1"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else next(iter(value))[:20],
)
def test_a_config_of_more_than_lora_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        imported(write(tmp_path / "a", **changes))
    assert caught.value.hint and caught.value.where and len(str(caught.value)) < 700


def test_patterns_of_thousands_of_keys_come_to_an_end(tmp_path: Path) -> None:
    evil = {f"a?(a|a|a|a|a|a|a|a){'.' * number}": 3 for number in range(300)}
    paths = {f"model.layers.{number}.self_attn.q_proj": 4 for number in range(10_000)}
    for pattern in (paths, evil | {"x_proj": 3}):
        assert same(imported(write(tmp_path / "a", alpha_pattern=pattern)), ADAPTER)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"r": ' + "9" * 5000 + "}", "[" * 100_000, " " * 2_000_000])
def test_a_broken_config_is_told(tmp_path: Path, text: str) -> None:
    (write(tmp_path / "a") / "adapter_config.json").write_text(text)
    with pytest.raises(EngineError, match=r"adapter_config\.json"):
        open_foreign_peft(tmp_path / "a")


Q0A = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({f"{PREFIX}model.embed_tokens.lora_embedding_A": torch.zeros(2, 61)}, "is LoRA of the embeddings"),
        ({f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.bias": torch.zeros(16)}, "is a trained bias"),
        ({f"{PREFIX}model.layers.0.self_attn.q_proj.lora_magnitude_vector": torch.zeros(16)}, "belongs to DoRA"),
        ({f"{PREFIX}score.modules_to_save.default.weight": torch.zeros(2, 16)}, "is a weight that was trained whole"),
        ({"optimizer.step": torch.zeros(1)}, "is no matrix of LoRA"),
        ({"../../../etc/lora_A.weight": torch.zeros(2, 16)}, "is no matrix of LoRA"),
        ({f"{PREFIX}..lora_A.weight": torch.zeros(2, 16)}, "outside of the layers|no lora_B"),
        ({"x" * 5000: torch.zeros(1)}, "is no matrix of LoRA"),
        ({Q0A.replace("q_proj", "v_proj"): torch.zeros(2, 16)}, "has a lora_A and no lora_B"),
        ({Q0A.removeprefix(PREFIX): torch.zeros(2, 16)}, "is there twice, under two names"),
        ({Q0A.replace("A.weight", "A.two.weight").replace("0.self", "1.self"): torch.zeros(2, 16)}, "twice|several"),
        ({Q0A: torch.zeros(2, 16, dtype=torch.int8)}, "is of type I8, not one of F32, F16, BF16"),
        ({Q0A: torch.zeros(2, 16, dtype=torch.float64)}, "is of type F64"),
        ({Q0A: torch.zeros(3, 16)}, "lora_A is of rank 3, lora_B of rank 2"),
        ({Q0A: torch.zeros(2, 24)}, "maps 24 to 16 values, the base 16 to 16"),
        ({Q0A: torch.full((2, 16), torch.inf)}, "a value is not finite"),
    ],
)
def test_tensors_of_more_than_lora_are_refused(tmp_path: Path, more: dict[str, Tensor], told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        imported(write(tmp_path / "a", STATE | more))
    assert caught.value.hint and len(str(caught.value)) < 700


def test_several_adapters_in_one_file_are_told(tmp_path: Path) -> None:
    names = {name: name.replace("A.weight", "A.one.weight").replace("B.weight", "B.two.weight") for name in STATE}
    named = {names[name]: tensor for name, tensor in STATE.items()}
    with pytest.raises(EngineError, match="holds several adapters: one, two"):
        imported(write(tmp_path / "a", named))


def test_a_pickle_is_not_read_and_how_to_convert_it_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    for name in ("adapter_model.bin", "adapter_model.pt"):
        file = (folder / "adapter_model.safetensors").rename(folder / name)
        with pytest.raises(EngineError, match=f"{name} is a pickle") as caught:
            open_foreign_peft(folder)
        assert "save_pretrained" in str(caught.value)
        file.rename(folder / "adapter_model.safetensors")


def test_a_missing_file_and_an_mlx_folder_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match=r"has no adapter_model\.safetensors"):
        open_foreign_peft(folder)
    (folder / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora", "lora_parameters": {"rank": 2}}))
    with pytest.raises(EngineError, match="is the config of an MLX folder"):
        open_foreign_peft(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_links_out_of_the_folder_and_special_files_are_refused(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "a")
    outside = (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(outside)
    with pytest.raises(EngineError, match="outside of the folder"):
        open_foreign_peft(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(f"../{name}")
    with pytest.raises(EngineError, match="outside of the folder"):
        open_foreign_peft(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(EngineError, match="is not a plain file"):
        open_foreign_peft(folder)
    (folder / name).unlink()
    (folder / name).symlink_to(name)
    with pytest.raises(EngineError):
        open_foreign_peft(folder)
    (folder / name).unlink()
    outside.rename(folder / "inside")
    (folder / name).symlink_to("inside")
    assert same(imported(folder), ADAPTER)


def test_a_snapshot_of_the_hubs_cache_is_read(tmp_path: Path) -> None:
    written = write(tmp_path / "a")
    snapshot, blobs = tmp_path / "models--me--it" / "snapshots" / "0123", tmp_path / "models--me--it" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(written.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert same(imported(snapshot), ADAPTER)
    # A blob is no way to anywhere else.
    (blobs / "0").rename(tmp_path / "elsewhere")
    (blobs / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="outside of the folder"):
        open_foreign_peft(snapshot)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a") / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(EngineError, match="is not a whole safetensors file"):
        open_foreign_peft(tmp_path / "a")


def test_what_was_changed_after_an_export_is_noticed(tmp_path: Path) -> None:
    (write(tmp_path / "a") / "SHA256SUMS").write_text(f"{'0' * 64}  adapter_model.safetensors\n")
    with pytest.raises(EngineError, match="was changed after it was written"):
        open_foreign_peft(tmp_path / "a")


@pytest.mark.parametrize(
    "lie",
    [
        lambda header: header[Q0A].update(shape=[2, 16_000_000]),
        lambda header: header[Q0A].update(shape=[2**62, 16]),
        lambda header: header[Q0A].update(shape=[-2, -16]),
        lambda header: header[Q0A].update(data_offsets=[0, 2**40]),
        lambda header: header[Q0A].update(data_offsets=[128, 0]),
        lambda header: header[Q0A].update(dtype="F16"),
    ],
)
def test_sizes_that_lie_are_told(tmp_path: Path, lie: Callable[[dict[str, Any]], object]) -> None:
    file = write(tmp_path / "a") / "adapter_model.safetensors"
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    lie(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(EngineError, match="is not a whole safetensors file"):
        open_foreign_peft(tmp_path / "a")
    file.write_bytes(struct.pack("<Q", 2**60) + text)
    with pytest.raises(EngineError, match="is not a whole safetensors file"):
        open_foreign_peft(tmp_path / "a")


def test_more_tensors_than_any_adapter_has_are_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a") / "adapter_model.safetensors"
    text = json.dumps({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(70_000)}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(EngineError, match="holds 70,000 tensors"):
        open_foreign_peft(tmp_path / "a")


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_files_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write(tmp_path_factory.getbasetemp() / "damaged")
    file = folder / data.draw(st.sampled_from(["adapter_config.json", "adapter_model.safetensors"]))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content), 900) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]))
    try:
        adapter = imported(folder)
    except EngineError as error:
        assert error.problem
    else:
        assert all(torch.isfinite(matrix).all() for matrix in adapter.peft_state().values())


def test_patterns_as_peft_and_axolotl_write_them(tmp_path: Path) -> None:
    """One layer's q_proj by an expression with two wildcards; the others have the usual alpha."""
    pattern = {r".*\.layers\.1\..*(q_proj|v_proj)": 8}
    adapter = imported(write(tmp_path / "a", alpha_pattern=pattern))
    for path in ADAPTER.a:
        factor = 2.0 if path.endswith("layers.1.self_attn.q_proj") else 1.0
        ours, theirs = adapter.layout.lora, ADAPTER.layout.lora
        one = ours.alpha / ours.rank * adapter.b[path] @ adapter.a[path]
        assert torch.allclose(one, factor * theirs.alpha / theirs.rank * ADAPTER.b[path] @ ADAPTER.a[path])


def test_settings_without_effect_and_names_of_wrapped_models(tmp_path: Path) -> None:
    named = {f"module.{name}": tensor for name, tensor in STATE.items()}
    assert same(imported(write(tmp_path / "a", named, ensure_weight_tying=True)), ADAPTER)


def test_modules_that_the_config_promises_and_the_file_lacks_are_named(tmp_path: Path) -> None:
    model = tiny_model("llama")
    first, second = "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.v_proj"
    told = (f"Its config adapts 2 modules more, of which the file has no matrices: {first}, {second}.",)
    for promised, said in (
        (["down_proj", "q_proj", "v_proj"], told),
        (r".*\.(q_proj|v_proj)", told),
        (["down_proj", "q_proj"], ()),
        ("all-linear", ()),
        (r"(.|..|...)+[0-9]" * 50, ()),
        ("(", ()),
    ):
        assert open_foreign_peft(write(tmp_path / "a", target_modules=promised)).check_weights(model) == said
    folder = write(tmp_path / "a", target_modules=["q_proj", "v_proj"], exclude_modules=[first.removeprefix("model.")])
    assert open_foreign_peft(folder).check_weights(model) == (
        f"Its config adapts 1 module more, of which the file has no matrices: {second}.",
    )


def test_a_layer_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    half = {name: tensor for name, tensor in STATE.items() if "layers.1.self_attn" not in name}
    (told,) = open_foreign_peft(write(tmp_path / "a", half)).check_weights(tiny_model("llama"))
    assert "1 module more" in told and "model.layers.1.self_attn.q_proj" in told


def test_embeddings_of_the_base_are_left_out_and_others_refused(tmp_path: Path) -> None:
    model = tiny_model("llama", tie_word_embeddings=False)
    own = {
        f"{PREFIX}model.embed_tokens.weight": model.get_input_embeddings().weight.detach(),
        f"{PREFIX}lm_head.weight": model.get_output_embeddings().weight.detach(),
    }
    foreign = open_foreign_peft(write(tmp_path / "a", STATE | own))
    assert sorted(foreign.check_weights(model)) == [
        "Its embed_tokens is the base's own and was left out.",
        "Its lm_head is the base's own and was left out.",
    ]
    assert len(foreign.pairs) == len(ADAPTER.a)
    name = f"{PREFIX}lm_head.weight"
    foreign = open_foreign_peft(write(tmp_path / "a", STATE | own | {name: own[name] + 0.5}))
    with pytest.raises(EngineError, match=r"lm_head\.weight: is not the base's own weight"):
        foreign.check_weights(model)


def test_checkpoints_inside_and_parts_are_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write(run / "checkpoint-10")
    for folder in (run, tmp_path):
        with pytest.raises(EngineError, match=r"Name the folder of one adapter: .*checkpoint-10"):
            known_kind(folder)
    folder = write(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model-00001-of-00002.safetensors")
    with pytest.raises(EngineError, match="is in parts"):
        open_foreign_peft(folder)


def test_a_pattern_that_takes_years_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.adapter.foreign_peft._MATCHING", 0.02)
    with pytest.raises(EngineError, match="takes too long to match"):
        imported(write(tmp_path / "a", alpha_pattern={"(.|..|...)+[0-9]": 2}))
