"""A chain of layers as a model of its own, beside the base and on the base's own weights; how fast it is.

    base model, chain --> new module objects, one a visit of a layer --> the base's Parameters, none of them copied

Notable
- Every visit of a layer is a module with a `layer_idx` of its own, so a looped layer has keys and values of each visit
  in the KV cache. A looped layer that kept its `layer_idx` would read the first visit's.
- Which mask a layer gets and how far its cache reaches is looked up by position in the config: the view has its own
  config, with its per-layer lists in the order of the chain.
- Adapters that are attached stay attached: the view answers with the adapter that was selected when it was made.
- The hook dictionaries are copied: a hook set on the view is not heard by the base.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from engine.base.network import has_plain_cache
from engine.decode import stream_answers
from engine.depth.chain import Chain, check_chain
from engine.errors import EngineError

# Settings of a config by which a layer depends on others, or is given something of its own from outside.
_REFUSED = {
    ("num_kv_shared_layers", "kv_source_layers"): "shares keys and values across layers",
    ("hidden_size_per_layer_input", "ple_layer_ids"): "gives each layer an input of its own",
}
_ROUNDS = 8
_DECODED = 12
_HINT = "Choose a base of plain decoder layers, such as Llama, Qwen2, Qwen3 or Gemma 2"


@dataclass(frozen=True)
class Speed:
    """Tokens a second for one prompt: reading it, and writing after the first token."""

    prefill: float
    decode: float


def decoder_layers(model: Any) -> nn.ModuleList:
    """The layers of a causal language model that can run in another order.

    Raises:
        EngineError: they cannot, or it is not known where they are; with the reason.
    """
    name, config = type(model).__name__, model.config
    for settings, reason in _REFUSED.items():
        for setting in settings:
            if getattr(config, setting, None):
                problem = f"{name} {reason}, so that a layer cannot be skipped or looped"
                raise EngineError(problem, where=setting, hint=_HINT)
    if getattr(config, "is_heterogeneous", False):
        raise EngineError(f"the layers of {name} differ in their config", hint=_HINT)
    layers = getattr(getattr(model, "base_model", None), "layers", None)
    if not isinstance(layers, nn.ModuleList) or len(layers) != getattr(config, "num_hidden_layers", None):
        raise EngineError(f"it is not known how {name} keeps its layers", hint=_HINT)
    if not has_plain_cache(model):
        raise EngineError(f"{name} carries a state from token to token besides keys and values", hint=_HINT)
    for layer in layers:
        if not any(isinstance(getattr(part, "layer_idx", None), int) for part in layer.modules()):
            raise EngineError(f"the layers of {name} do not show which place of the KV cache is theirs", hint=_HINT)
    for path, part in model.named_modules():
        if "forward" in vars(part):
            raise EngineError(f"the forward of {name} was changed after loading", where=path or name, hint=_HINT)
    return layers


def chain_view(model: Any, chain: Chain) -> Any:
    """`model` with the layers of `chain`: a model of the same class that shares all Parameters with it.

    Args:
        model: a causal language model in eval(), with or without adapters attached. It is not changed, and its
            Parameters must not be replaced while the view is in use.

    Raises:
        EngineError: the chain is empty or names a layer that is not there; the model's layers cannot be reordered.
    """
    layers = decoder_layers(model)
    check_chain(chain, len(layers))
    copies: dict[int, Any] = {id(model.config): _chain_config(model.config, chain), id(layers): nn.ModuleList()}
    view = _clone(model, copies)
    configs = {id(model.config): view.config}
    for place, layer in enumerate(chain):
        visit = _clone(layers[layer], dict(configs))
        for part in visit.modules():
            if isinstance(getattr(part, "layer_idx", None), int):
                part.layer_idx = place
        view.base_model.layers.append(visit)
    return view


def measure_speed(
    models: Mapping[str, Any],
    tokenizer: Any,
    prompt: Sequence[int],
    on_step: Callable[[], None] = lambda: None,
    *,
    seconds: float = 10.0,
) -> dict[str, Speed]:
    """The speed of each model on the same prompt, each of its steps in the round in which that was fastest.

    The models take turns, and other work on the machine only ever slows a step down: the fastest one shows most about
    the model itself. A whole round without other work may never come where single steps without it do.

    Args:
        seconds: no round after the second begins when that much time has gone. Who searched for minutes wants the
            result; a table is in no hurry.
    """
    began = time.perf_counter()
    rounds: dict[str, list[list[float]]] = {name: [] for name in models}
    for number in range(_ROUNDS):
        if number >= 2 and time.perf_counter() - began > seconds:
            break
        for name, model in models.items():
            rounds[name].append(_step_seconds(model, tokenizer, prompt, on_step))
    fastest = {name: [min(step) for step in zip(*several, strict=True)] for name, several in rounds.items()}
    return {
        name: Speed(len(prompt) / reading, len(writing) / sum(writing)) for name, (reading, *writing) in fastest.items()
    }


def _chain_config(config: Any, chain: Chain) -> Any:
    """A copy of the config for the chain: number of layers, and every list that has an entry a layer."""
    own = copy.deepcopy(config)
    for name, value in _layer_lists(config).items():
        setattr(own, name, [value[layer] for layer in chain])
    own.num_hidden_layers = len(chain)
    return own


def _layer_lists(config: Any) -> Mapping[str, Any]:
    layers = config.num_hidden_layers
    return {
        name: value
        for name, value in vars(config).items()
        if "layer" in name and isinstance(value, list | tuple) and len(value) == layers
    }


def _clone(module: nn.Module, copies: dict[int, Any]) -> Any:
    """New module objects down the tree, on the same tensors.

    Args:
        copies: by id, what stands in the place of an object; grows by every module cloned.
    """
    if id(module) in copies:
        return copies[id(module)]
    clone = copies[id(module)] = object.__new__(type(module))
    for name, value in vars(module).items():
        # Parameters, buffers, submodules and hooks are in dictionaries of the module: those become the clone's own.
        own = copy.copy(value) if isinstance(value, dict | list | set) else copies.get(id(value), value)
        # Past nn.Module's own __setattr__, which needs the dictionaries that are only coming.
        object.__setattr__(clone, name, own)
    for name, child in module._modules.items():
        clone._modules[name] = None if child is None else _clone(child, copies)
    return clone


def _step_seconds(model: Any, tokenizer: Any, prompt: Sequence[int], on_step: Callable[[], None]) -> list[float]:
    """Seconds of reading the prompt up to its first token, then of each token after it."""
    times: list[float] = []

    def note() -> None:
        times.append(time.perf_counter())
        on_step()

    for _ in stream_answers(model, tokenizer, [prompt], max_new_tokens=_DECODED, stop_ids=[], on_step=note):
        pass
    return [after - before for before, after in pairwise(times)]
