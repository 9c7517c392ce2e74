"""Attaching: what is selected, what refuses, and what the base is like afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from adapter_parts import TINY, random_adapter, tiny_model, tiny_with

from engine.adapter.attach import BASE_ROW, AttachedModel, attach
from engine.errors import EngineError
from engine.weights.layout import Layout, LoraSpec, derive_layout

IDS = torch.tensor([[3, 9, 27, 20]])


@pytest.fixture
def model() -> torch.nn.Module:
    return tiny_model()


@pytest.fixture
def layout() -> Layout:
    return derive_layout(TINY, LoraSpec(rank=2, alpha=4))


def logits(call: object) -> torch.Tensor:
    return call(input_ids=IDS).logits  # type: ignore[operator]


def test_detach_puts_every_module_back(model: torch.nn.Module, layout: Layout) -> None:
    before = [(path, id(module), type(module)) for path, module in model.named_modules()]
    attached = attach(model, random_adapter(layout))
    attached.add("other", random_adapter(layout, 1))
    assert attached.detach() is model
    assert [(path, id(module), type(module)) for path, module in model.named_modules()] == before
    assert not hasattr(model, "peft_config")
    attach(model, random_adapter(layout)).detach()


def test_several_adapters_are_kept_apart(model: torch.nn.Module, layout: Layout) -> None:
    first, second = random_adapter(layout, 1), random_adapter(layout, 2)
    with attach(model, first) as alone:
        expected_first = logits(alone)
    with attach(model, second) as alone:
        expected_second = logits(alone)
    base = logits(model)
    with AttachedModel(model) as attached:
        assert torch.equal(logits(attached), base)
        attached.add("first", first)
        assert attached.selected is None
        assert torch.equal(logits(attached), base)
        attached.use("first")
        attached.add("second", second)
        assert attached.names == ("first", "second")
        assert torch.equal(logits(attached), expected_first)
        attached.use("second")
        assert torch.equal(logits(attached), expected_second)
        attached.remove("first")
        assert torch.equal(logits(attached), expected_second)
        attached.remove("second")
        assert attached.names == ()
        assert torch.equal(logits(attached), base)


def test_removing_the_selected_one_leaves_the_base_on(model: torch.nn.Module, layout: Layout) -> None:
    base = logits(model)
    with AttachedModel(model) as attached:
        attached.add("first", random_adapter(layout, 1))
        attached.add("second", random_adapter(layout, 2))
        attached.use("first")
        attached.remove("first")
        assert attached.selected is None
        assert torch.equal(logits(attached), base)


def test_nothing_becomes_trainable(model: torch.nn.Module, layout: Layout) -> None:
    with attach(model, random_adapter(layout)) as attached:
        attached.use(None)
        attached.use("adapted")
        attached(input_ids=IDS, adapter_names=["adapted"])
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not logits(attached).requires_grad


def test_mixed_rows_work_while_off_and_leave_it_off(model: torch.nn.Module, layout: Layout) -> None:
    base = logits(model)
    with attach(model, random_adapter(layout)) as attached:
        adapted = logits(attached)
        attached.use(None)
        mixed = attached(input_ids=IDS.repeat(2, 1), adapter_names=[BASE_ROW, "adapted"]).logits
        assert torch.allclose(mixed[0], base[0], atol=1e-5)
        assert torch.allclose(mixed[1], adapted[0], atol=1e-4)
        assert not mixed.requires_grad
        assert torch.equal(logits(attached), base)


def test_generate_answers_base_and_adapted_in_one_batch(model: torch.nn.Module, layout: Layout) -> None:
    how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with attach(model, random_adapter(layout)) as attached:
        adapted = attached.generate(input_ids=IDS, **how)
        attached.use(None)
        base = attached.generate(input_ids=IDS, **how)
        names = ["adapted", BASE_ROW]
        mixed = attached.generate(input_ids=IDS.repeat(2, 1), adapter_names=names, **how)
    assert not torch.equal(adapted, base)
    assert torch.equal(mixed, torch.cat([adapted, base]))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_mixed_batch_that_is_interrupted_leaves_no_trace(
    model: torch.nn.Module, layout: Layout, failure: type[BaseException]
) -> None:
    def interrupt(*_: object) -> None:
        raise failure

    base = logits(model)
    with attach(model, random_adapter(layout)) as attached:
        adapted = logits(attached)
        hook = model.get_submodule("lm_head").register_forward_hook(interrupt)
        with pytest.raises(failure):
            attached(input_ids=IDS, adapter_names=[BASE_ROW])
        hook.remove()
        assert torch.equal(logits(attached), adapted)
        attached.use(None)
        assert torch.equal(logits(attached), base)


def test_random_state_is_not_touched(model: torch.nn.Module, layout: Layout) -> None:
    state = torch.get_rng_state()
    attach(model, random_adapter(layout)).detach()
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_base_keeps_float32_matrices(model: torch.nn.Module, layout: Layout) -> None:
    adapter = random_adapter(layout)
    path = layout.modules[0].path
    with attach(model.to(torch.bfloat16), adapter):
        held = model.get_submodule(path).lora_A["adapted"].weight  # type: ignore[union-attr, index, operator]
        assert torch.equal(held, adapter.a[path])


def test_an_adapter_of_some_layers_touches_only_those(model: torch.nn.Module, layout: Layout) -> None:
    some = replace(layout, modules=tuple(module for module in layout.modules if module.layer == 1))
    with attach(model, random_adapter(some)):
        wrapped = [path for path, module in model.named_modules() if hasattr(module, "base_layer")]
    assert wrapped == [module.path for module in some.modules]


def test_a_missing_module_is_named(model: torch.nn.Module) -> None:
    with pytest.raises(EngineError, match=r"model\.layers\.2\.self_attn\.q_proj: the base has no such module"):
        attach(model, random_adapter(derive_layout(tiny_with(num_hidden_layers=3))))
    assert not hasattr(model, "peft_config")


def test_other_sizes_are_named(model: torch.nn.Module) -> None:
    with pytest.raises(EngineError, match=r"model\.layers\.0\.mlp\.gate_proj: .* 16 to 32 values, the base 16 to 24"):
        attach(model, random_adapter(derive_layout(tiny_with(intermediate_size=32))))


def test_a_matrix_of_another_shape_or_none_is_named(model: torch.nn.Module, layout: Layout) -> None:
    adapter = random_adapter(layout)
    path = layout.modules[3].path
    with pytest.raises(EngineError, match=f"{path}: matrix B must have the shape"):
        attach(model, replace(adapter, b=dict(adapter.b) | {path: adapter.b[path].T}))
    with pytest.raises(EngineError, match=f"{path}: matrix A must have the shape .* no value"):
        attach(model, replace(adapter, a={other: value for other, value in adapter.a.items() if other != path}))


def test_a_model_with_something_attached_is_refused(model: torch.nn.Module, layout: Layout) -> None:
    with attach(model, random_adapter(layout)), pytest.raises(ValueError, match="attached already"):
        AttachedModel(model)


@pytest.mark.parametrize("name", ["adapted", BASE_ROW, "with.dot", ""])
def test_names_that_cannot_be_told_apart_are_refused(model: torch.nn.Module, layout: Layout, name: str) -> None:
    with attach(model, random_adapter(layout)) as attached, pytest.raises(ValueError, match="name of an adapter"):
        attached.add(name, random_adapter(layout))


def test_unknown_names_are_refused(model: torch.nn.Module, layout: Layout) -> None:
    with attach(model, random_adapter(layout)) as attached:
        with pytest.raises(ValueError, match="no adapter 'other'; there are: adapted"):
            attached.use("other")
        with pytest.raises(ValueError, match="no adapter 'other'"):
            attached(input_ids=IDS, adapter_names=["other"])
