"""GGUF adapters of anybody: the way back from an export, what llama.cpp makes of a file, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.adapter.foreign import fit, fold, plan
from engine.adapter.foreign_gguf import BrokenHeader, open_foreign_gguf, parse_header
from engine.adapter.gguf import write_gguf_adapter
from engine.errors import EngineError
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_config
from tests.unit.adapter_parts import random_adapter

CONFIG = tiny_config("llama")
Q0, V1 = "blk.0.attn_q.weight", "blk.1.attn_v.weight"
ONES, ZEROS = np.ones((2, 32), np.float32), np.zeros((32, 2), np.float32)


def imported(file: Path, config: Any = CONFIG) -> LoraAdapter:
    foreign = open_foreign_gguf(file)
    foreign.check_base(config)
    fitted = fit(foreign.pairs, config)
    made = plan(fitted, foreign.scales_for(fitted))
    with foreign.reading(config) as read:
        return fold(made, read)


def same(first: LoraAdapter, second: LoraAdapter) -> bool:
    ours, theirs = first.peft_state(), second.peft_state()
    return first.layout == second.layout and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def write(
    file: Path,
    tensors: dict[str, np.ndarray] | None = None,
    *,
    alpha: float | None = 4.0,
    type_: str | None = "adapter",
    form: str | None = "lora",
    architecture: str = "llama",
    raw: gguf.GGMLQuantizationType | None = None,
    more: dict[str, int] | None = None,
) -> Path:
    """A file of somebody's own making, by the `gguf` package."""
    writer = gguf.GGUFWriter(file, architecture)
    if type_ is not None:
        writer.add_type(type_)
    if form is not None:
        writer.add_string("adapter.type", form)
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_array("some.texts", ["a", "bc"])
    for name, number in (more or {}).items():
        writer.add_uint32(name, number)
    if tensors is None:
        tensors = {f"{Q0}.lora_a": ONES, f"{Q0}.lora_b": ZEROS}
    for name, values in tensors.items():
        writer.add_tensor(name, values, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kinds", [("q_proj", "k_proj", "v_proj", "up_proj"), ("k_proj",)])
def test_an_export_comes_back_bit_for_bit(tmp_path: Path, family: str, kinds: tuple[str, ...]) -> None:
    config = tiny_config(family)
    adapter = random_adapter(derive_layout(config, LoraSpec(2, 3, kinds)))
    write_gguf_adapter(tmp_path / "a.gguf", adapter, config, name="mine")
    assert same(imported(tmp_path / "a.gguf", config), adapter)
    assert open_foreign_gguf(tmp_path / "a.gguf").changes == ()


def test_half_precision_keeps_its_values(tmp_path: Path) -> None:
    adapter = random_adapter(derive_layout(CONFIG, LoraSpec(2, 3)))
    write_gguf_adapter(tmp_path / "a.gguf", adapter, CONFIG, name="mine", float_type="float16")
    read = imported(tmp_path / "a.gguf").peft_state()
    assert all(torch.equal(read[name], matrix.half().float()) for name, matrix in adapter.peft_state().items())
    a, b = torch.randn(2, 32).bfloat16(), torch.randn(16, 2).bfloat16()
    tensors = {f"{V1}.lora_a": a.view(torch.uint16).numpy(), f"{V1}.lora_b": b.view(torch.uint16).numpy()}
    brain = imported(write(tmp_path / "b.gguf", tensors, raw=gguf.GGMLQuantizationType.BF16))
    path = "model.layers.1.self_attn.v_proj"
    assert torch.equal(brain.a[path], a.float()) and torch.equal(brain.b[path], b.float())
    assert "Numbers of bfloat16 became float32" in open_foreign_gguf(tmp_path / "b.gguf").changes[0]


def test_each_pair_has_the_scale_that_llama_cpp_gives_it(tmp_path: Path) -> None:
    tensors = {}
    for name, rank, out in ((Q0, 2, 32), (V1, 4, 16)):
        tensors[f"{name}.lora_a"] = np.full((rank, 32), 0.5, np.float32)
        tensors[f"{name}.lora_b"] = np.full((out, rank), 3.0, np.float32)
    for alpha, scales in ((6.0, (3.0, 1.5)), (0.0, (1.0, 1.0)), (0.3, (0.15, 0.075))):
        adapter = imported(write(tmp_path / "a.gguf", tensors, alpha=alpha))
        paths = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj")
        for path, rank, scale in zip(paths, (2, 4), scales, strict=True):
            update = adapter.layout.lora.scaling * (adapter.b[path] @ adapter.a[path])
            assert update[0, 0].item() == pytest.approx(scale * rank * 0.5 * 3.0, rel=1e-6)


def test_no_alpha_is_a_scale_of_one_and_a_whole_number_is_an_alpha(tmp_path: Path) -> None:
    tensors = {f"{Q0}.lora_a": np.full((2, 32), 0.5, np.float32), f"{Q0}.lora_b": np.full((32, 2), 3.0, np.float32)}
    for more, scale in ((None, 1.0), ({"adapter.lora.alpha": 6}, 3.0)):
        adapter = imported(write(tmp_path / "a.gguf", tensors, alpha=None, more=more))
        (path,) = adapter.a
        update = adapter.layout.lora.scaling * (adapter.b[path] @ adapter.a[path])
        assert update[0, 0].item() == pytest.approx(scale * 2 * 0.5 * 3.0, rel=1e-6)
    (change,) = open_foreign_gguf(write(tmp_path / "b.gguf", tensors, alpha=None)).changes
    assert "no alpha" in change


def test_norm_vectors_are_left_out_as_llama_cpp_does(tmp_path: Path) -> None:
    tensors = {f"{Q0}.lora_a": ONES, f"{Q0}.lora_b": ZEROS, "blk.0.attn_norm.weight": np.ones(32, np.float32)}
    foreign = open_foreign_gguf(write(tmp_path / "a.gguf", tensors))
    assert len(foreign.pairs) == 1 and foreign.changes == ("1 norm vectors were left out, as llama.cpp does.",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"type_": "model"}, "is of type 'model', 'lora', not adapter, lora"),
        ({"type_": None}, "is of type None"),
        ({"form": "control_vector"}, "'control_vector'"),
        ({"architecture": "gemma2"}, "is for bases of type 'gemma2'"),
        ({"architecture": "qwen2"}, "is for bases of type qwen2, this one is of type llama"),
        ({"alpha": float("nan")}, "adapter.lora.alpha is nan"),
        ({"alpha": -1.0}, "adapter.lora.alpha is -1.0"),
        ({"alpha": 1e30}, "not a number from 0 to"),
        ({"more": {"adapter.alora.invocation_tokens": 1}}, "is an aLoRA"),
        ({"tensors": {f"{Q0}.lora_a": ONES}}, "has a lora_A and no lora_B"),
        ({"tensors": {f"{Q0}": ONES}}, "is no matrix of LoRA"),
        ({"tensors": {"token_embd.weight.lora_a": ONES}}, "of a module that is not known"),
        ({"tensors": {"output.weight.lora_b": np.ones((300, 2), np.float32)}}, "of a module that is not known"),
        ({"tensors": {"blk.0.../x.weight.lora_a": ONES}}, "of a module that is not known"),
        ({"tensors": {f"{Q0}.lora_a": np.ones((2, 32), np.float64)}}, "none of F32, F16, BF16"),
        ({"tensors": {f"{Q0}.lora_a": np.ones((2, 32), np.int8)}}, "none of F32, F16, BF16"),
        ({"tensors": {f"{Q0}.lora_a": np.ones((2, 34), np.uint8)}, "raw": gguf.GGMLQuantizationType.Q8_0}, "quantised"),
        ({"tensors": {f"{Q0}.lora_a": np.ones((2, 2, 2), np.float32), f"{Q0}.lora_b": ZEROS}},
         r"has the shape \(2, 2, 2\)"),
        ({"tensors": {f"{Q0}.lora_a": np.ones((2, 30), np.float32), f"{Q0}.lora_b": ZEROS}},
         "maps 30 to 32 values, the base 32 to 32"),
        ({"tensors": {f"{Q0}.lora_a": np.full((2, 32), np.nan, np.float32), f"{Q0}.lora_b": ZEROS}},
         "a value is not finite"),
    ],
)  # fmt: skip
def test_what_is_no_lora_of_this_base_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        imported(write(tmp_path / "a.gguf", **changes))
    assert str(tmp_path) in str(caught.value) or "blk." in str(caught.value) or "layers." in str(caught.value)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.gguf").read_bytes()
    for length in (0, 4, 20, 60, len(whole) // 2, len(whole) - 200):
        (tmp_path / "a.gguf").write_bytes(whole[:length])
        with pytest.raises(EngineError, match="is not a whole GGUF file"):
            open_foreign_gguf(tmp_path / "a.gguf")


def header(tensors: int = 0, fields: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + rest


def text(of: str) -> bytes:
    return struct.pack("<Q", len(of)) + of.encode()


def tensor(name: str, sizes: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GGML" + bytes(40), "does not begin with GGUF"),
        (header(version=1), "version 1 is not"),
        (header(version=0x03000000), "version 50331648"),  # the other order of bytes
        (header(tensors=2**63), "9,223,372,036,854,775,808 tensors"),
        (header(fields=2**20), "1,048,576 fields"),
        (header(fields=1, rest=struct.pack("<Q", 2**62)), "a text of 4,611,686,018,427,387,904 bytes"),
        (header(fields=1, rest=text("a") + struct.pack("<IIQ", 9, 0, 2**62)), "cut off"),
        (header(fields=1, rest=text("a") + struct.pack("<IIQ", 9, 8, 2**62)), "cut off"),
        (header(fields=1, rest=text("a") + struct.pack("<IIQ", 9, 9, 1)), "a value of the unknown type 9"),
        (header(fields=1, rest=text("a") + struct.pack("<I", 77)), "a value of the unknown type 77"),
        (header(fields=1, rest=struct.pack("<Q", 2) + b"\xff\xfe"), "is not UTF-8"),
        (header(fields=2, rest=(text("a") + struct.pack("<IB", 0, 1)) * 2), "'a' is there twice"),
        (header(fields=1, rest=text("general.alignment") + struct.pack("<II", 4, 3)), "general.alignment is 3"),
        (header(fields=1, rest=text("general.alignment") + struct.pack("<II", 4, 0)), "general.alignment is 0"),
        (header(tensors=1, rest=text("a") + struct.pack("<I", 2**31)), "2147483648 dimensions"),
        (header(tensors=1, rest=tensor("a", (2**40, 2**40))), "does not lie in the file"),
        (header(tensors=1, rest=tensor("a", (4,), offset=2**63)), "does not lie in the file"),
        (header(tensors=2, rest=tensor("a", (4,)) * 2), "a tensor is there twice"),
        (header(tensors=2, rest=tensor("a", (4,)) + tensor("b", (4,))), "or on another tensor"),
    ],
)  # fmt: skip
def test_a_header_that_lies_is_told(data: bytes, told: str) -> None:
    with pytest.raises(BrokenHeader, match=told):
        parse_header(data, len(data) + 64)


def test_the_header_is_read_as_the_gguf_package_reads_it(tmp_path: Path) -> None:
    adapter = random_adapter(derive_layout(CONFIG, LoraSpec(2, 3)))
    write_gguf_adapter(tmp_path / "a.gguf", adapter, CONFIG, name="mine")
    data = (tmp_path / "a.gguf").read_bytes()
    theirs = gguf.GGUFReader(tmp_path / "a.gguf")
    fields, tensors = parse_header(data, len(data))
    assert fields == {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert [(each.name, each.shape, each.type, each.start, each.bytes) for each in tensors] == [
        (each.name, tuple(each.data.shape), each.tensor_type, each.data_offset, each.n_bytes) for each in theirs.tensors
    ]


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_files_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = write(tmp_path_factory.getbasetemp() / "damaged.gguf")
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, min(len(content), 500) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]))
    try:
        adapter = imported(file)
    except EngineError as error:
        assert error.problem
    else:
        assert all(torch.isfinite(matrix).all() for matrix in adapter.peft_state().values())
