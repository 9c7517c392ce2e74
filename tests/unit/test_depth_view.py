"""A view is the base in another order of layers: same weights, right cache and masks; the base is as it was."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.adapter.attach import attach
from engine.depth.chain import Chain, identity
from engine.depth.view import chain_view, decoder_layers
from engine.errors import EngineError
from engine.weights.layout import derive_layout
from tests.tiny import tiny_model
from tests.unit.adapter_parts import random_adapter

LAYERS = 6
CHAINS: dict[str, Chain] = {
    "identity": identity(LAYERS),
    "skip": (0, 1, 4, 5),
    "loop": (0, 1, 2, 1, 2, 3, 4, 5),
    "skip and loop": (0, 2, 3, 2, 3, 2, 3, 5),
    "one layer again and again": (3, 3, 3, 3, 3, 3, 3, 3, 3),
    "backwards": (5, 4, 3, 2, 1, 0),
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    # A window shorter than the prompts, on every other layer or on the last ones.
    "qwen2 mixed": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 3},
    "qwen3 mixed": {
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
    },
    "gemma2": {"sliding_window": 6},
}
# Float32 on a CPU: with a cache the same sums are added up in another order.
CLOSE = 2e-4


def model_of(family: str) -> Any:
    return tiny_model(family.split()[0], num_hidden_layers=LAYERS, **FAMILIES[family])


def batch(rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(3, 300, (rows, 12))
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, : 3 * row] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits_with_cache(model: Any, inputs: dict[str, torch.Tensor], first: int) -> torch.Tensor:
    """Logits of the columns from `first` - 1 on, the later ones read token by token."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache, found = None, []
    edges = [0, *range(first, ids.shape[1] + 1)]
    for start, end in pairwise(edges):
        out = model(
            input_ids=ids[:, start:end],
            attention_mask=mask[:, :end],
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        found.append(out.logits[:, -1])
    return torch.stack(found, 1)


def added_bytes(model: torch.nn.Module, view: torch.nn.Module) -> int:
    """Bytes of Parameters and buffers that `view` has and `model` has not."""
    known = {tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    own = {tensor.data_ptr(): tensor.nbytes for tensor in [*view.parameters(), *view.buffers()]}
    return sum(size for place, size in own.items() if place not in known)


def logits_at_once(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    logits: torch.Tensor = model(**inputs, position_ids=positions, use_cache=False).logits
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_identity_is_the_base_bit_for_bit(family: str) -> None:
    model = model_of(family)
    before = logits_at_once(model, batch(4))
    view = chain_view(model, identity(LAYERS))
    assert torch.equal(logits_at_once(view, batch(4)), before)
    assert added_bytes(model, view) == 0 and view is not model
    assert torch.equal(logits_at_once(model, batch(4)), before)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=list(CHAINS))
@pytest.mark.parametrize("family", FAMILIES)
def test_with_the_cache_as_without(family: str, chain: Chain, rows: int) -> None:
    model = model_of(family)
    view = chain_view(model, chain)
    inputs = batch(rows)
    at_once = logits_at_once(view, inputs)
    with_cache = logits_with_cache(view, inputs, 10)
    torch.testing.assert_close(with_cache, at_once[:, 9:], atol=CLOSE, rtol=0)
    if chain != identity(LAYERS):
        assert not torch.allclose(at_once, logits_at_once(model, inputs), atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_view_runs_the_layers_of_the_chain_with_their_own_masks(family: str) -> None:
    """Against the layers called one by one, each with what the base itself gives it."""
    model = model_of(family)
    given: dict[int, Any] = {}

    def note(place: int) -> Any:
        return lambda layer, args, named: given.update({place: (args, named)})

    layers = enumerate(model.model.layers)
    hooks = [layer.register_forward_pre_hook(note(place), with_kwargs=True) for place, layer in layers]
    logits_at_once(model, batch(4))
    for hook in hooks:
        hook.remove()
    for chain in CHAINS.values():
        hidden = given[0][0][0]
        for layer in chain:
            hidden = model.model.layers[layer](hidden, **given[layer][1])
        body = chain_view(model, chain).model
        inputs = batch(4)
        positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        assert torch.equal(body(**inputs, position_ids=positions).last_hidden_state, model.model.norm(hidden))


@pytest.mark.parametrize("chain", list(CHAINS.values())[1:4], ids=list(CHAINS)[1:4])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3 mixed"])
def test_beams_with_the_cache_as_without(family: str, chain: Chain) -> None:
    view = chain_view(model_of(family), chain)
    settings = {"max_new_tokens": 6, "num_beams": 3, "do_sample": False, "eos_token_id": None}
    for rows in (1, 4):
        cached = view.generate(**batch(rows), **settings, use_cache=True)
        assert torch.equal(cached, view.generate(**batch(rows), **settings, use_cache=False))


def test_base_and_views_side_by_side() -> None:
    model = model_of("qwen3 mixed")
    inputs = batch(4)
    base = logits_with_cache(model, inputs, 9)
    short, long = chain_view(model, (0, 1, 4, 5)), chain_view(model, (0, 1, 2, 1, 2, 3, 4, 5))
    first = logits_with_cache(short, inputs, 9), logits_with_cache(long, inputs, 9)
    assert torch.equal(logits_with_cache(model, inputs, 9), base)
    assert torch.equal(logits_with_cache(short, inputs, 9), first[0])
    assert torch.equal(logits_with_cache(long, inputs, 9), first[1])
    assert (model.config.num_hidden_layers, short.config.num_hidden_layers) == (6, 4)
    assert short.config.layer_types == ["sliding_attention", "full_attention"] * 2
    assert [layer.self_attn.layer_idx for layer in long.model.layers] == list(range(8))
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == list(range(6))


def test_hooks_of_a_view_are_its_own() -> None:
    model = model_of("llama")
    view = chain_view(model, (0, 0, 1))
    heard: list[str] = []
    view.model.layers[0].register_forward_hook(lambda *_: heard.append("view"))
    logits_at_once(model, batch(1))
    assert heard == []
    logits_at_once(view, batch(1))
    assert heard == ["view"]


def test_hidden_states_are_those_of_the_chain_though_the_base_gave_its_own_before() -> None:
    model = model_of("llama")
    model(**batch(1), output_hidden_states=True)  # from here on the base has hooks that record
    view = chain_view(model, (0, 0, 1))
    assert len(view(**batch(1), output_hidden_states=True).hidden_states) == 4
    assert len(model(**batch(1), output_hidden_states=True).hidden_states) == 7


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_with_an_adapter_attached(family: str) -> None:
    model = model_of(family)
    chain = CHAINS["skip and loop"]
    bare = logits_at_once(chain_view(model, chain), batch(4))
    with attach(model, random_adapter(derive_layout(model.config), size=0.2)) as attached:
        whole = chain_view(attached.model, identity(LAYERS))
        assert torch.equal(logits_at_once(whole, batch(4)), logits_at_once(attached.model, batch(4)))
        view = chain_view(attached.model, chain)
        assert added_bytes(attached.model, view) == 0
        adapted = logits_at_once(view, batch(4))
        torch.testing.assert_close(logits_with_cache(view, batch(4), 10), adapted[:, 9:], atol=CLOSE, rtol=0)
        attached.use(None)
        assert torch.equal(logits_at_once(chain_view(attached.model, chain), batch(4)), bare)
    assert not torch.allclose(adapted, bare, atol=1e-2)
    # The view goes on as it was made, the base is clean.
    assert torch.equal(logits_at_once(view, batch(4)), adapted)
    assert torch.equal(logits_at_once(chain_view(model, chain), batch(4)), bare)


def test_an_adapter_on_a_view_leaves_the_base_alone() -> None:
    model = model_of("llama")
    before = logits_at_once(model, batch(1))
    view = chain_view(model, (0, 1, 1, 2))
    with attach(view, random_adapter(derive_layout(view.config), size=0.2)) as attached:
        assert torch.equal(logits_at_once(model, batch(1)), before)
        logits_at_once(attached, batch(1))
    assert torch.equal(logits_at_once(model, batch(1)), before)


@pytest.mark.parametrize(("chain", "told"), [((), "the chain is empty"), ((0, 6), "there is no layer 6")])
def test_chains_that_do_not_fit_are_told(chain: Chain, told: str) -> None:
    with pytest.raises(EngineError, match=told):
        chain_view(model_of("llama"), chain)


def tiny_gemma3n(shared: int) -> Any:
    config = AutoConfig.for_model(
        "gemma3n_text", num_hidden_layers=4, num_kv_shared_layers=shared, hidden_size=32, intermediate_size=48,
        vocab_size=300, num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size_per_layer_input=300,
        hidden_size_per_layer_input=8, laurel_rank=4, layer_types=["sliding_attention", "full_attention"] * 2,
        activation_sparsity_pattern=[0.0] * 4,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def tiny_other(kind: str, **settings: Any) -> Any:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=300, **settings))


def patched() -> Any:
    model = model_of("llama")
    model.model.layers[1].forward = model.model.layers[1].forward
    return model


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tiny_gemma3n(2), "Gemma3nForCausalLM shares keys and values across layers"),
        (lambda: tiny_gemma3n(0), "gives each layer an input of its own"),
        (lambda: tiny_other("gpt2", n_embd=32, n_layer=2, n_head=4), "not known how GPT2LMHeadModel keeps its layers"),
        (
            lambda: tiny_other("mamba", hidden_size=32, state_size=4, num_hidden_layers=2),
            "MambaForCausalLM carries a state|keeps its layers",
        ),
        (patched, "was changed after loading"),
    ],
)
def test_bases_that_cannot_are_refused_with_the_reason(make: Any, told: str) -> None:
    with pytest.raises(EngineError, match=told):
        decoder_layers(make())
