"""Export: reloaded and compared before anything takes the target's place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from adapter_parts import TINY, random_adapter, tiny_model, tiny_with, write_peft_folder

from engine.adapter import writers
from engine.adapter.attach import attach
from engine.adapter.check import check_peft_folder
from engine.adapter.export import Choice, export_adapter, write_checked_export
from engine.adapter.peft_folder import read_peft_folder
from engine.errors import EngineError
from engine.events import Event, Note, Reporter
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

IDS = [3, 9, 27, 20, 5]


@pytest.fixture
def base() -> Any:
    return SimpleNamespace(model=tiny_model(), ref=SimpleNamespace(id="tiny"))


@pytest.fixture
def adapter() -> LoraAdapter:
    return random_adapter(derive_layout(TINY, LoraSpec(rank=2, alpha=4)), size=0.3)


@pytest.fixture
def source(tmp_path: Path, adapter: LoraAdapter) -> Path:
    write_peft_folder(tmp_path / "source", adapter, "tiny")
    return tmp_path / "source"


def test_the_same_adapter_has_no_difference_and_another_has(source: Path, base: Any, adapter: LoraAdapter) -> None:
    ids = torch.tensor([IDS])
    before = base.model(input_ids=ids).logits
    assert check_peft_folder(source, base, adapter, IDS) == 0.0
    assert check_peft_folder(source, base, random_adapter(adapter.layout, 1), IDS) > 0.1
    assert torch.equal(base.model(input_ids=ids).logits, before)
    assert not hasattr(base.model, "peft_config")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_base_has_no_difference_either(
    source: Path, base: Any, adapter: LoraAdapter, dtype: torch.dtype
) -> None:
    base.model.to(dtype)
    assert check_peft_folder(source, base, adapter, IDS) == 0.0


def test_a_folder_for_another_base_leaves_this_one_clean(tmp_path: Path, base: Any, adapter: LoraAdapter) -> None:
    wider = derive_layout(tiny_with(intermediate_size=32), adapter.layout.lora)
    write_peft_folder(tmp_path / "other", random_adapter(wider), "other")
    with pytest.raises(EngineError, match="gate_proj"):
        check_peft_folder(tmp_path / "other", base, adapter, IDS)
    assert not hasattr(base.model, "peft_config")
    attach(base.model, adapter).detach()


def test_export_copies_the_adapter_with_a_card(tmp_path: Path, source: Path, base: Any) -> None:
    events: list[Event] = []
    reporter = Reporter(events.append)
    result = export_adapter(source, tmp_path / "out", base, IDS, reporter=reporter)
    assert (result.differences.logits, result.differences.rounding) == (0.0, 0.0)
    assert result.bytes == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
    assert "base_model:adapter:tiny" in (tmp_path / "out" / "README.md").read_text()
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (source / weights).read_bytes()
    assert list(reporter.timings) == ["read", "write", "check"]
    assert not [event for event in events if isinstance(event, Note)]


def test_export_in_float16_tells_what_rounding_costs(tmp_path: Path, source: Path, base: Any) -> None:
    result = export_adapter(source, tmp_path / "out", base, IDS, Choice(float_type="float16"))
    assert result.differences.logits == 0.0
    assert 0.0 < result.differences.rounding < 0.05


def test_export_onto_itself(source: Path, base: Any, adapter: LoraAdapter) -> None:
    export_adapter(source, source, base, IDS, Choice(float_type="float16", replace=True))
    path = adapter.layout.modules[0].path
    assert torch.equal(read_peft_folder(source)[0].a[path], adapter.a[path].half().float())


def test_export_warns_when_the_adapter_names_another_base(tmp_path: Path, adapter: LoraAdapter, base: Any) -> None:
    write_peft_folder(tmp_path / "source", adapter, "someone/base")
    events: list[Event] = []
    export_adapter(tmp_path / "source", tmp_path / "out", base, IDS, reporter=Reporter(events.append))
    assert [event.text for event in events if isinstance(event, Note) and event.warning] == [
        "The adapter names someone/base as its base; it is checked on tiny"
    ]
    assert read_peft_folder(tmp_path / "out")[1]["base_model_name_or_path"] == "someone/base"


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_a_failed_check_leaves_what_was_there(
    tmp_path: Path, source: Path, base: Any, monkeypatch: pytest.MonkeyPatch, difference: float
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    monkeypatch.setattr(writers, "check_peft_folder", lambda *_: difference)
    with pytest.raises(EngineError, match="other answers"):
        export_adapter(source, target, base, IDS, Choice(replace=True))
    with pytest.raises(EngineError, match="other answers"):
        export_adapter(source, tmp_path / "new", base, IDS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    assert [path.name for path in target.iterdir()] == ["mine.txt"]


def test_an_adapter_in_memory_is_written_and_checked_alike(
    tmp_path: Path, source: Path, base: Any, adapter: LoraAdapter
) -> None:
    write_checked_export(tmp_path / "out", adapter, base, IDS, base_id="tiny", provenance=None)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
