"""How each format of a chain is written and reloaded; `engine.adapter.formats` names the classes here.

    mergekit    mergekit.yaml: a passthrough merge of slices of the base                 some bytes
    dense       a model folder: the chain's layers written out, an adapter merged in     every visit of a layer anew
    peft        a LoRA folder with `layer_replication`: the base's layers, shared        the adapter's matrices only
    json        chain.json alone: the chain, its base and what is known of it            some bytes

Beside the others: chain.json too. What a format cannot hold is refused with the reason, never written approximately.
"""

from __future__ import annotations

import json
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from engine.adapter.attach import ADAPTED, attach
from engine.adapter.check import TOLERANCE, Differences
from engine.adapter.export import Writer, write_checked
from engine.adapter.formats import chosen_chain_format
from engine.adapter.peft_folder import peft_files, write_files
from engine.base.config_file import complete_config
from engine.base.device import dtype_name
from engine.base.hub import quiet_libraries
from engine.base.load import load_base, resolve_base
from engine.base.source import source_of
from engine.depth.chain import Chain, identity, runs
from engine.depth.record import CHAIN_FILE, ChainRecord
from engine.depth.view import chain_view
from engine.errors import EngineError, setting
from engine.events import Reporter, Stage
from engine.files import read_json
from engine.weights.layout import LayoutModule, LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

MERGEKIT_FILE = "mergekit.yaml"

_DENSE = f"Choose {setting('format')} dense"


@dataclass(frozen=True)
class ChainWork:
    """A chain to be written, of a base that is as before afterwards; with an adapter, or of the base's layers alone.

    form: name of the format, of `CHAIN_FORMATS`. prompt_ids: tokens of the prompt whose logits are compared.
    """

    form: str
    base: LoadedBase
    chain: Chain
    adapter: LoraAdapter | None
    prompt_ids: Sequence[int]

    def logits(self, chain: Chain) -> Tensor:
        """Of a chain of this base with this adapter, as it runs here."""
        with attach(self.base, self.adapter) as attached:
            return _logits(chain_view(attached.model, chain), self.prompt_ids)

    def refuse_mixed(self, problem: str) -> None:
        """Raises EngineError when the base has layers of several types."""
        if len(set(getattr(self.base.ref.config, "layer_types", None) or ())) > 1:
            raise EngineError(f"{problem}, and this base mixes types", where=self.form, hint=_DENSE)


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
) -> tuple[int, Differences]:
    """Write the chain of `record` to the folder `target`; the bytes of its files, and what the check found.

    Args:
        base: nothing is attached to it; it is as before afterwards.
        adapter: goes with the chain; None for the base's layers alone.
        form: one of `CHAIN_FORMATS`.
        prompt_ids: tokens of the prompt whose logits are compared.
        reporter: hears the stages "write" and "check".

    Raises:
        EngineError: the form cannot hold this chain of this base; the target is there; what was reloaded differs. The
            target is then as before.
    """
    chosen = chosen_chain_format(form, with_adapter=adapter is not None)
    writer = chosen.load_writer()(ChainWork(form, base, record.chain, adapter, prompt_ids))
    texts = {CHAIN_FILE: json.dumps(record.to_json(), indent=2, ensure_ascii=False) + "\n"}
    return write_checked(writer, target, texts, replace=may_replace, reporter=reporter or Reporter())


class _ChainFiles(Writer[ChainWork]):
    """What is reloaded has to give the logits of the weights as they were written.

    expected: these logits, once all is written.
    merging: how much the chain as it runs here differs from them, where the adapter is merged into the weights: by the
        rounding of float32 only.
    """

    expected: Tensor
    merging = 0.0

    @abstractmethod
    def reload(self, folder: Path) -> Tensor:
        """The logits of what is in the folder."""

    def check(self, folder: Path) -> Differences:
        """Reload the files and compare."""
        difference = _largest(self.reload(folder), self.expected)
        if not difference <= TOLERANCE:
            problem = f"what was written gives other answers (largest logit difference {difference:.3g})"
            hint = f"Nothing was exported; choose another {setting('format')}"
            raise EngineError(problem, where=self.work.form, hint=hint)
        return Differences(difference, self.merging)


class Mergekit(_ChainFiles):
    """A recipe: slices of the base."""

    def write(self, folder: Path, stage: Stage) -> None:
        """The recipe."""
        base, chain = self.work.base, self.work.chain
        self.work.refuse_mixed("mergekit leaves the base's own order of layer types in the config")
        types = getattr(base.ref.config, "layer_types", None) or ()
        if types and len(types) != len(chain):
            problem = "mergekit leaves the base's list of layer types in the config, of another length than this chain"
            raise EngineError(problem, where=self.work.form, hint=_DENSE)
        # JSON strings are YAML strings.
        model = json.dumps(source_of(base.ref).name, ensure_ascii=False)
        lines = ["merge_method: passthrough", f"dtype: {dtype_name(base.dtype)}", "slices:"]
        for first, last in runs(chain):
            lines += ["  - sources:", f"      - model: {model}", f"        layer_range: [{first}, {last + 1}]"]
        (folder / MERGEKIT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.expected = self.work.logits(chain)

    def reload(self, folder: Path) -> Tensor:
        """Of the slices that the recipe names."""
        import yaml

        slices = yaml.safe_load((folder / MERGEKIT_FILE).read_text(encoding="utf-8"))["slices"]
        ranges = [source["layer_range"] for each in slices for source in each["sources"]]
        return self.work.logits(tuple(layer for first, end in ranges for layer in range(first, end)))


class Dense(_ChainFiles):
    """A model of its own."""

    def write(self, folder: Path, stage: Stage) -> None:
        """Weights, config and tokenizer."""
        base, chain, prompt_ids = self.work.base, self.work.chain, self.work.prompt_ids
        with attach(base, self.work.adapter) as attached:
            here = _logits(chain_view(attached.model, chain), prompt_ids)
            merged = _merged_view(attached.model, chain)
        # Visits of a layer share their tensors, and files hold no shared tensors. The new ones go into the view's own
        # modules: the base keeps its Parameters.
        merged.load_state_dict({name: tensor.clone() for name, tensor in merged.state_dict().items()}, assign=True)
        merged.tie_weights()
        self.expected = _logits(merged, prompt_ids)
        self.merging = _largest(here, self.expected)
        with quiet_libraries():
            merged.save_pretrained(folder)
        complete_config(folder / "config.json")
        base.tokenizer.save_pretrained(folder)

    def reload(self, folder: Path) -> Tensor:
        """Of the model in the folder."""
        base = self.work.base
        loaded = load_base(resolve_base(str(folder)), device=str(base.device), dtype=dtype_name(base.dtype))
        for parameter in loaded.model.parameters():
            # What was read lies in the file's own memory; kernels round differently for another alignment.
            parameter.data = parameter.data.clone()
        return _logits(loaded.model, self.work.prompt_ids)


class Replicated(_ChainFiles):
    """An adapter that has peft visit the base's layers in the chain's order."""

    def write(self, folder: Path, stage: Stage) -> None:
        """Config, matrices and their checksums."""
        base, chain, adapter = self.work.base, self.work.chain, self.work.adapter
        self.work.refuse_mixed("peft's layer_replication leaves each place the base's own type of layer")
        types = getattr(base.ref.config, "layer_types", None)
        if types and len(chain) > len(types):
            problem = "peft's layer_replication leaves the base's own list of layer types, too short for this chain"
            raise EngineError(problem, where=self.work.form, hint=_DENSE)
        replication = {"layer_replication": [[first, last + 1] for first, last in runs(chain)]}
        files = peft_files(_replicated(adapter or _no_update(base), chain), base.ref.id, more=replication)
        write_files(folder, files, {})
        self.expected = self.work.logits(chain)

    def reload(self, folder: Path) -> Tensor:
        """By peft."""
        # peft rebuilds the layers of the model it is given: let it be one that nobody needs afterwards.
        base = self.work.base
        spare = chain_view(base.model, identity(base.ref.config.num_hidden_layers))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = PeftModel.from_pretrained(spare, str(folder), torch_device="cpu")
                return _logits(loaded, self.work.prompt_ids)
            except (IndexError, KeyError, ValueError, RuntimeError) as error:
                problem = f"peft cannot run this chain of this base: {str(error).partition(chr(10))[0]}"
                raise EngineError(problem, where=self.work.form, hint=_DENSE) from error


class ChainFile(_ChainFiles):
    """Nothing beside the record, which is there in every format."""

    def write(self, folder: Path, stage: Stage) -> None:
        """No file."""
        self.expected = self.work.logits(self.work.chain)

    def reload(self, folder: Path) -> Tensor:
        """Of the record's chain."""
        return self.work.logits(tuple(read_json(folder / CHAIN_FILE)["layers"]))


def _merged_view(model: Any, chain: Chain) -> Any:
    """The view with plain linear modules, the adapter's update in their weights."""
    view = chain_view(model, chain)
    for path, module in list(view.named_modules()):
        if isinstance(module, LoraLayer):
            base_layer = module.get_base_layer()
            linear = nn.Linear(base_layer.in_features, base_layer.out_features, bias=False, device="meta")
            weight = base_layer.weight + module.get_delta_weight(ADAPTED).to(base_layer.weight.dtype)
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
    """peft wants some adapter where there is only a chain to write: the smallest, with an update of zero."""
    kind = derive_layout(base.ref.config).kinds[0]
    layout = derive_layout(base.ref.config, LoraSpec(rank=1, alpha=1, target_modules=(kind,)))
    a = {module.path: torch.zeros(1, module.in_features) for module in layout.modules}
    b = {module.path: torch.zeros(module.out_features, 1) for module in layout.modules}
    return LoraAdapter(layout, a, b)


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
