"""Attach and export on the real default base; no network: skipped where the base was never fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from engine.adapter.attach import BASE_ROW, attach
from engine.adapter.check import CHECK_PROMPT
from engine.adapter.export import Choice, export_adapter
from engine.adapter.peft_folder import read_peft_folder
from engine.base.catalog import DEFAULT_BASE
from engine.base.chat import prompt_ids, stop_ids
from engine.base.convert import converted_base
from engine.base.fetch import find_model_files
from engine.base.load import LoadedBase, load_base, resolve_base
from engine.errors import EngineError
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.unit.adapter_parts import write_peft_folder


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    if converted_base(DEFAULT_BASE) is None and find_model_files(DEFAULT_BASE) is None:
        pytest.skip("the default base is not on this machine")
    return load_base(resolve_base(), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def ids(base: LoadedBase) -> list[int]:
    return prompt_ids(base.tokenizer, CHECK_PROMPT)


@pytest.fixture(scope="module")
def adapter(base: LoadedBase) -> LoraAdapter:
    layout = derive_layout(base.ref.config)
    seeded = torch.Generator().manual_seed(0)
    rank = layout.lora.rank
    # About the sizes of a trained adapter: rows of A near unit length, a small B.
    a = {m.path: torch.randn(rank, m.in_features, generator=seeded) / m.in_features**0.5 for m in layout.modules}
    b = {m.path: torch.randn(m.out_features, rank, generator=seeded) * 0.02 for m in layout.modules}
    return LoraAdapter(layout, a, b)


def test_on_off_and_detach(base: LoadedBase, adapter: LoraAdapter, ids: list[int]) -> None:
    modules = [(path, id(module)) for path, module in base.model.named_modules()]
    batch = torch.tensor([ids])
    with torch.inference_mode():
        before = base.model(input_ids=batch).logits
        attached = attach(base, adapter)
        assert (attached(input_ids=batch).logits - before).abs().max() > 0.1
        attached.use(None)
        assert torch.equal(attached(input_ids=batch).logits, before)
        assert torch.equal(attached.detach()(input_ids=batch).logits, before)
    assert [(path, id(module)) for path, module in base.model.named_modules()] == modules


def test_base_and_adapted_answer_in_one_batch(base: LoadedBase, adapter: LoraAdapter, ids: list[int]) -> None:
    how = {
        "max_new_tokens": 8,
        "do_sample": False,
        "pad_token_id": 0,
        "eos_token_id": stop_ids(base.tokenizer, base.model),
    }
    batch = torch.tensor([ids, ids])
    alone = base.model.generate(input_ids=batch, **how)
    with attach(base, adapter) as attached:
        mixed = attached.generate(input_ids=batch, adapter_names=[BASE_ROW, "adapted"], **how)
    length = min(alone.shape[1], mixed.shape[1])
    assert torch.equal(mixed[0, :length], alone[0, :length])
    assert not torch.equal(mixed[1, :length], alone[1, :length])


def test_export_is_checked_repeatable_and_loads_on_a_fresh_base(
    base: LoadedBase, adapter: LoraAdapter, ids: list[int], tmp_path: Path
) -> None:
    write_peft_folder(tmp_path / "source", adapter, base.ref.id)
    first = export_adapter(tmp_path / "source", tmp_path / "first", base, ids)
    export_adapter(tmp_path / "first", tmp_path / "second", base, ids)
    assert first.differences.logits <= 1e-5
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert read_peft_folder(tmp_path / "first")[0].layout == adapter.layout

    fresh = AutoModelForCausalLM.from_pretrained(base.ref.folder, dtype=torch.float32)
    reloaded = PeftModel.from_pretrained(fresh, str(tmp_path / "first"))
    with torch.inference_mode(), attach(base, adapter) as attached:
        batch = torch.tensor([ids])
        assert (attached(input_ids=batch).logits - reloaded(input_ids=batch).logits).abs().max() <= 1e-5


def test_export_in_float16_tells_its_rounding(
    base: LoadedBase, adapter: LoraAdapter, ids: list[int], tmp_path: Path
) -> None:
    write_peft_folder(tmp_path / "source", adapter, base.ref.id)
    result = export_adapter(tmp_path / "source", tmp_path / "half", base, ids, Choice(float_type="float16"))
    assert result.differences.logits <= 1e-5
    assert 0.0 < result.differences.rounding < 0.1
    assert result.bytes < 6_000_000


def test_an_adapter_for_a_smaller_base_is_refused(base: LoadedBase) -> None:
    config = type(base.ref.config)(**(base.ref.config.to_dict() | {"intermediate_size": 1024}))
    layout = derive_layout(config, LoraSpec(rank=2))
    zeros = {m.path: torch.zeros(2, m.in_features) for m in layout.modules}
    small = LoraAdapter(layout, zeros, {m.path: torch.zeros(m.out_features, 2) for m in layout.modules})
    with pytest.raises(EngineError, match=r"model\.layers\.0\.mlp\.gate_proj: the adapter maps 576 to 1024"):
        attach(base, small)
    assert not hasattr(base.model, "peft_config")
