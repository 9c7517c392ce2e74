"""A chain in forms that others read, each reloaded and compared before it counts as exported.

    mergekit    mergekit.yaml: a passthrough merge of slices of the base                 some bytes
    dense       a model folder: the chain's layers written out, an adapter merged in     every visit of a layer anew
    peft        a LoRA folder with `layer_replication`: the base's layers, shared        the adapter's matrices only
    json        chain.json alone: the chain, its base and what is known of it            some bytes

Beside the others: chain.json too. What a form cannot say is refused with the reason, never written approximately.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from engine.adapter.attach import AttachedModel
from engine.adapter.check import TOLERANCE
from engine.adapter.peft_folder import peft_files
from engine.base.config_file import complete_config
from engine.base.hub import quiet_libraries
from engine.base.load import load_base, resolve_base
from engine.base.source import source_of
from engine.depth.chain import Chain, identity, runs
from engine.depth.forms import form_refusal
from engine.depth.record import CHAIN_FILE, ChainRecord
from engine.depth.view import chain_view
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import read_json, replacing_folder, write_json
from engine.weights.layout import LayoutModule, LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

MERGEKIT_FILE = "mergekit.yaml"

_ADAPTER = "chained"


@dataclass(frozen=True)
class ChainExport:
    """A finished export.

    bytes: size of all its files.
    logit_difference: largest absolute logit difference between what was reloaded and the weights as written.
    merge_difference: the same between the chain as it runs here and the weights as written, with the adapter merged
        into them; float32 rounding only. 0.0 for the forms that merge nothing.
    """

    folder: Path
    bytes: int
    logit_difference: float
    merge_difference: float


def export_chain(
    base: LoadedBase,
    record: ChainRecord,
    adapter: LoraAdapter | None,
    target: Path,
    form: str,
    prompt_ids: Sequence[int],
    *,
    may_replace: bool = False,
    reporter: Reporter | None = None,
) -> ChainExport:
    """Write the chain of `record` to the folder `target`.

    Args:
        base: nothing is attached to it; it is as before afterwards.
        adapter: goes with the chain; None for the base's layers alone.
        form: one of `FORMS`.
        prompt_ids: tokens of the prompt whose logits are compared.
        reporter: hears the stages "write" and "check".

    Raises:
        EngineError: the form cannot say this chain of this base; the target is there; what was reloaded differs. The
            target is then as before.
    """
    reporter = reporter or Reporter()
    if refusal := form_refusal(form, with_adapter=adapter is not None):
        raise refusal
    work = FORMS[form](base, record.chain, adapter)
    with replacing_folder(target, replace=may_replace) as part:
        with reporter.stage("write"):
            write_json(part / CHAIN_FILE, record.to_json())
            expected, merge_difference = work.write(part, prompt_ids)
        with reporter.stage("check"):
            difference = _largest(work.reload(part, prompt_ids), expected)
        if not difference <= TOLERANCE:
            problem = f"what was written gives other answers (largest logit difference {difference:.3g})"
            raise EngineError(problem, where=form, hint="Nothing was exported; choose another --format")
    size = sum(file.stat().st_size for file in target.iterdir())
    return ChainExport(target, size, difference, merge_difference)


@dataclass(frozen=True)
class _Form:
    base: LoadedBase
    chain: Chain
    adapter: LoraAdapter | None

    def write(self, folder: Path, prompt_ids: Sequence[int]) -> tuple[Tensor, float]:
        """Write the files; the logits that they must give, and what merging changed."""
        raise NotImplementedError

    def reload(self, folder: Path, prompt_ids: Sequence[int]) -> Tensor:
        """The logits of what is in the folder."""
        raise NotImplementedError


class _Mergekit(_Form):
    def write(self, folder: Path, prompt_ids: Sequence[int]) -> tuple[Tensor, float]:
        _refuse_mixed(self.base, "mergekit", "mergekit leaves the base's own order of layer types in the config")
        types = getattr(self.base.ref.config, "layer_types", None) or ()
        if types and len(types) != len(self.chain):
            problem = "mergekit leaves the base's list of layer types in the config, of another length than this chain"
            raise EngineError(problem, where="mergekit", hint="Choose --format dense")
        # JSON strings are YAML strings.
        model = json.dumps(source_of(self.base.ref).name, ensure_ascii=False)
        lines = ["merge_method: passthrough", f"dtype: {_dtype(self.base)}", "slices:"]
        for first, last in runs(self.chain):
            lines += ["  - sources:", f"      - model: {model}", f"        layer_range: [{first}, {last + 1}]"]
        (folder / MERGEKIT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return _logits(chain_view(self.base.model, self.chain), prompt_ids), 0.0

    def reload(self, folder: Path, prompt_ids: Sequence[int]) -> Tensor:
        import yaml

        slices = yaml.safe_load((folder / MERGEKIT_FILE).read_text(encoding="utf-8"))["slices"]
        ranges = [source["layer_range"] for each in slices for source in each["sources"]]
        chain = tuple(layer for first, end in ranges for layer in range(first, end))
        return _logits(chain_view(self.base.model, chain), prompt_ids)


class _Dense(_Form):
    def write(self, folder: Path, prompt_ids: Sequence[int]) -> tuple[Tensor, float]:
        with _with_adapter(self.base, self.adapter) as model:
            attached = _logits(chain_view(model, self.chain), prompt_ids)
            merged = _merged_view(model, self.chain)
        # Visits of a layer share their tensors, and files hold no shared tensors. The new ones go into the view's own
        # modules: the base keeps its Parameters.
        merged.load_state_dict({name: tensor.clone() for name, tensor in merged.state_dict().items()}, assign=True)
        merged.tie_weights()
        expected = _logits(merged, prompt_ids)
        with quiet_libraries():
            merged.save_pretrained(folder)
        complete_config(folder / "config.json")
        self.base.tokenizer.save_pretrained(folder)
        return expected, _largest(attached, expected)

    def reload(self, folder: Path, prompt_ids: Sequence[int]) -> Tensor:
        loaded = load_base(resolve_base(str(folder)), device=str(self.base.device), dtype=_dtype(self.base))
        for parameter in loaded.model.parameters():
            # What was read lies in the file's own memory; kernels round differently for another alignment.
            parameter.data = parameter.data.clone()
        return _logits(loaded.model, prompt_ids)


class _Peft(_Form):
    def write(self, folder: Path, prompt_ids: Sequence[int]) -> tuple[Tensor, float]:
        _refuse_mixed(self.base, "peft", "peft's layer_replication leaves each place the base's own type of layer")
        types = getattr(self.base.ref.config, "layer_types", None)
        if types and len(self.chain) > len(types):
            problem = "peft's layer_replication leaves the base's own list of layer types, too short for this chain"
            raise EngineError(problem, where="peft", hint="Choose --format dense")
        adapter = _replicated(self.adapter or _no_update(self.base), self.chain)
        replication = [[first, last + 1] for first, last in runs(self.chain)]
        files = peft_files(adapter, self.base.ref.id, more={"layer_replication": replication})
        for name, data in files.items():
            (folder / name).write_bytes(data)
        with _with_adapter(self.base, self.adapter) as model:
            return _logits(chain_view(model, self.chain), prompt_ids), 0.0

    def reload(self, folder: Path, prompt_ids: Sequence[int]) -> Tensor:
        # peft rebuilds the layers of the model it is given: let it be one that nobody needs afterwards.
        spare = chain_view(self.base.model, identity(self.base.ref.config.num_hidden_layers))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return _logits(PeftModel.from_pretrained(spare, str(folder), torch_device="cpu"), prompt_ids)
            except (IndexError, KeyError, ValueError, RuntimeError) as error:
                problem = f"peft cannot run this chain of this base: {str(error).partition(chr(10))[0]}"
                raise EngineError(problem, where="peft", hint="Choose --format dense") from error


class _Json(_Form):
    def write(self, folder: Path, prompt_ids: Sequence[int]) -> tuple[Tensor, float]:
        return self._logits_of(self.chain, prompt_ids), 0.0  # the file is there already, as it is in every form

    def reload(self, folder: Path, prompt_ids: Sequence[int]) -> Tensor:
        return self._logits_of(tuple(read_json(folder / CHAIN_FILE)["layers"]), prompt_ids)

    def _logits_of(self, chain: Chain, prompt_ids: Sequence[int]) -> Tensor:
        with _with_adapter(self.base, self.adapter) as model:
            return _logits(chain_view(model, chain), prompt_ids)


FORMS: dict[str, Callable[[LoadedBase, Chain, LoraAdapter | None], _Form]] = {
    "mergekit": _Mergekit,
    "dense": _Dense,
    "peft": _Peft,
    "json": _Json,
}


class _with_adapter:
    """The base's model with `adapter` on it, while open."""

    def __init__(self, base: LoadedBase, adapter: LoraAdapter | None) -> None:
        self._attached = AttachedModel(base)
        self._adapter = adapter

    def __enter__(self) -> Any:
        if self._adapter is not None:
            self._attached.add(_ADAPTER, self._adapter)
            self._attached.use(_ADAPTER)
        return self._attached.model

    def __exit__(self, *failure: object) -> None:
        self._attached.detach()


def _merged_view(model: Any, chain: Chain) -> Any:
    """The view with plain linear modules, the adapter's update in their weights."""
    view = chain_view(model, chain)
    for path, module in list(view.named_modules()):
        if isinstance(module, LoraLayer):
            base_layer = module.get_base_layer()
            linear = nn.Linear(base_layer.in_features, base_layer.out_features, bias=False, device="meta")
            weight = base_layer.weight + module.get_delta_weight(_ADAPTER).to(base_layer.weight.dtype)
            linear.weight = nn.Parameter(weight, requires_grad=False)
            linear.bias = base_layer.bias
            view.set_submodule(path, linear)
    return view


def _replicated(adapter: LoraAdapter, chain: Chain) -> LoraAdapter:
    """The adapter with the matrices of a layer at every visit of it."""
    modules: list[LayoutModule] = []
    sources: list[str] = []
    for place, layer in enumerate(chain):
        for module in adapter.layout.modules:
            if module.layer == layer:
                path = module.path.replace(f".{layer}.", f".{place}.", 1)
                modules.append(replace(module, path=path))
                sources.append(module.path)
    kinds = adapter.layout.lora.target_modules
    by_kind = not any("." in name for name in kinds)
    lora = (
        adapter.layout.lora if by_kind else replace(adapter.layout.lora, target_modules=tuple(m.path for m in modules))
    )
    pairs = list(zip(modules, sources, strict=True))
    return LoraAdapter(
        replace(adapter.layout, modules=tuple(modules), lora=lora),
        {module.path: adapter.a[source] for module, source in pairs},
        {module.path: adapter.b[source] for module, source in pairs},
    )


def _no_update(base: LoadedBase) -> LoraAdapter:
    """peft wants some adapter where there is only a chain to tell: the smallest, with an update of zero."""
    kind = derive_layout(base.ref.config).kinds[0]
    layout = derive_layout(base.ref.config, LoraSpec(rank=1, alpha=1, target_modules=(kind,)))
    a = {module.path: torch.zeros(1, module.in_features) for module in layout.modules}
    b = {module.path: torch.zeros(module.out_features, 1) for module in layout.modules}
    return LoraAdapter(layout, a, b)


def _refuse_mixed(base: LoadedBase, form: str, problem: str) -> None:
    if len(set(getattr(base.ref.config, "layer_types", None) or ())) > 1:
        raise EngineError(f"{problem}, and this base mixes types", where=form, hint="Choose --format dense")


def _dtype(base: LoadedBase) -> str:
    return str(base.dtype).removeprefix("torch.")


def _logits(model: Any, prompt_ids: Sequence[int]) -> Tensor:
    """(2 · tokens, vocabulary), float32, on the CPU: of the whole prompt at once, and token by token with the cache."""
    ids = torch.tensor([list(prompt_ids)], device=model.device)
    with torch.inference_mode():
        at_once = model(input_ids=ids, use_cache=False).logits[0]
        found, cache = [], None
        for place in range(ids.shape[1]):
            out = model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            found.append(out.logits[0])
    return torch.cat([at_once, *found]).float().cpu()


def _largest(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()
