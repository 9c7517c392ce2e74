"""A chain of layers as a model of its own, beside the base and on the base's own weights.

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
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from engine.base.network import has_plain_cache
from engine.depth.chain import Chain, check_chain
from engine.errors import EngineError

# What says that a layer uses the keys and values of another one, or is given something of its own from outside.
_SHARING = ("num_kv_shared_layers", "kv_source_layers")
_OWN_INPUTS = ("hidden_size_per_layer_input", "ple_layer_ids")
_HINT = "Choose a base of plain decoder layers, such as Llama, Qwen2, Qwen3 or Gemma 2"


def decoder_layers(model: Any) -> nn.ModuleList:
    """The layers of a causal language model that can run in another order.

    Raises:
        EngineError: they cannot, or it is not known where they are; the reason is told.
    """
    name, config = type(model).__name__, model.config
    for setting in _SHARING:
        if getattr(config, setting, None):
            problem = f"{name} shares keys and values across layers, so that a layer cannot be skipped or looped"
            raise EngineError(problem, where=setting, hint=_HINT)
    for setting in _OWN_INPUTS:
        if getattr(config, setting, None):
            problem = f"{name} gives each layer an input of its own, so that a layer cannot be skipped or looped"
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
            raise EngineError(f"the layers of {name} do not say which place of the KV cache is theirs", hint=_HINT)
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


def added_bytes(model: nn.Module, view: nn.Module) -> int:
    """Bytes of Parameters and buffers that `view` has and `model` has not."""
    known = {tensor.data_ptr() for tensor in _tensors(model)}
    own = {tensor.data_ptr(): tensor.nbytes for tensor in _tensors(view) if tensor.data_ptr() not in known}
    return sum(own.values())


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


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
