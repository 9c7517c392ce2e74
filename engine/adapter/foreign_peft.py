"""A PEFT folder that any tool wrote, read as what it is: somebody else's files.

Only adapter_config.json and adapter_model.safetensors are opened (and SHA256SUMS, where there is one). Nothing out of
them is used as a path, a program or a name of a class; a pickle is never read.

Notable
- Names of tensors as peft, unsloth, axolotl and LLaMA-Factory write them (`base_model.model.<path>.lora_A.weight`), and
  as they come out of a state dict: with the adapter's name after lora_A, without the prefix, with the parts that
  torch.compile, FSDP and activation checkpointing put in between.
- In the hub's cache the files of a snapshot are links to its blobs. These are followed, other links out of the folder
  are not.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.foreign import BROKEN, MOST_TENSORS, Fitted, Foreign, Pair, Read, paired, shown
from engine.adapter.kind import CONFIG_FILE
from engine.adapter.peft_config import FOLDED_SETTINGS, more_than_lora, read_config
from engine.adapter.peft_folder import DIGESTS_FILE, WEIGHTS_FILE, check_sums, open_weights
from engine.adapter.peft_scales import PeftScales, peft_scales
from engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from fractions import Fraction

    from torch import Tensor
    from transformers import PretrainedConfig

_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<path>[\w.-]{1,400}?)\.lora_(?P<half>[AB])(?:\.(?P<adapter>[^.]{1,200}))?\.weight",
    re.ASCII,
)
_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_MERGE = "Merge it into its base where it was made (merge_and_unload of peft) and use that model with --base"
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "pytorch_model.bin")
# What stands in a name that is none of a LoRA matrix, and what that says.
_OTHERS = (
    ("lora_embedding_", "is LoRA of the embeddings"),
    ("lora_magnitude_vector", "belongs to DoRA, which scales the base's own weights too"),
    (".bias", "is a trained bias"),
    ("modules_to_save", "is a weight that was trained whole"),
    ("embed_tokens.weight", "is a weight that was trained whole"),
    ("lm_head.weight", "is a weight that was trained whole"),
)


@dataclass(frozen=True, kw_only=True)
class ForeignPeft(Foreign):
    """A PEFT folder, and what its config says of ranks and scales."""

    scales: PeftScales

    def scales_for(self, fitted: Fitted) -> dict[str, Fraction]:
        """alpha / r, or of rsLoRA alpha / sqrt(r); checks the ranks of the config."""
        for pair in fitted.pairs.values():
            rank = self.scales.rank_of(pair.path)
            if pair.rank != rank:
                problem = f"is of rank {pair.rank}, the config says {rank}"
                raise EngineError(problem, where=f"{self.weights}, {shown(pair.path)}", hint=BROKEN)
        return {path: self.scales.scale_of(pair.path) for path, pair in fitted.pairs.items()}

    @contextmanager
    def reading(self, config: PretrainedConfig) -> Iterator[Read]:
        """The matrices as they are in the file."""
        import torch

        with open_weights(self.weights, "pt") as tensors:

            def matrix(name: str) -> Tensor:
                # A copy: what safetensors hands out can be the file itself.
                return tensors.get_tensor(name).to(torch.float32, copy=True)

            yield lambda path, pair: (matrix(pair.a), matrix(pair.b))


def open_foreign_peft(folder: Path) -> ForeignPeft:
    """Look through config and header of a PEFT folder.

    Raises:
        EngineError: it is not LoRA alone, a file is missing or broken, or leads out of the folder.
    """
    try:
        config_file = _own_file(folder, CONFIG_FILE)
        config = read_config(config_file)
        _check_config(config, str(folder / CONFIG_FILE))
        weights = _own_file(folder, WEIGHTS_FILE)
        if (folder / DIGESTS_FILE).exists():
            _own_file(folder, DIGESTS_FILE)
            check_sums(folder)
        with open_weights(weights, "numpy") as tensors:
            names = tensors.keys()
            if len(names) > MOST_TENSORS:
                raise EngineError(f"holds {len(names):,} tensors", where=str(weights), hint=BROKEN)
            header = {name: _entry(tensors, name) for name in names}
    except OSError as error:
        raise EngineError(f"cannot be read: {error}", where=str(folder)) from error
    where = str(folder / WEIGHTS_FILE)
    pairs = _pairs(header, where)
    scales = peft_scales(config, str(folder / CONFIG_FILE))
    named = config.get("base_model_name_or_path")
    return ForeignPeft(
        weights=weights,
        pairs=pairs,
        named_base=named if isinstance(named, str) and named else None,
        changes=_changes(config, {kind for kind, _ in header.values()}),
        scales=scales,
    )


def _own_file(folder: Path, name: str) -> Path:
    """The file itself, after a look at whether it is a plain one and belongs to the folder."""
    file = folder / name
    if not file.exists():
        raise EngineError(f"has no {name}", where=str(folder), hint=_missing_hint(folder))
    real, home = file.resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else None
    if home not in real.parents and real.parent != blobs:
        hint = "Copy the file itself into the folder, if you know what it is"
        raise EngineError(f"is a link to {real}, outside of the folder", where=str(file), hint=hint)
    if not stat.S_ISREG(real.stat().st_mode):
        raise EngineError("is not a plain file", where=str(file), hint="An adapter consists of plain files")
    return real


def _missing_hint(folder: Path) -> str:
    pickle = next((name for name in _PICKLES if (folder / name).exists()), None)
    if pickle is None:
        return f"A PEFT folder holds {CONFIG_FILE} and {WEIGHTS_FILE}"
    return (
        f"{pickle} is a pickle, which can run code when it is read, so it is not read here. "
        'On a machine where you trust it: python -c "from peft import AutoPeftModelForCausalLM as M; '
        "M.from_pretrained('OLD').save_pretrained('NEW')\""
    )


def _check_config(config: dict[str, Any], where: str) -> None:
    if "lora_parameters" in config and "peft_type" not in config:
        hint = "Only PEFT folders and GGUF adapters are imported; mlx_lm.fuse makes a model of it, to use with --base"
        raise EngineError("is the config of an MLX folder, not of a PEFT folder", where=where, hint=hint)
    reason = more_than_lora(config, FOLDED_SETTINGS)
    if reason:
        raise EngineError(f"{reason}; only LoRA alone is imported", where=where, hint=_MERGE)


def _entry(tensors: Any, name: str) -> tuple[str, tuple[int, ...]]:
    """Number format and shape."""
    entry = tensors.get_slice(name)
    return entry.get_dtype(), tuple(entry.get_shape())


def _pairs(header: Mapping[str, tuple[str, tuple[int, ...]]], where: str) -> tuple[Pair, ...]:
    halves: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    adapters: set[str | None] = set()
    for name, (kind, shape) in header.items():
        found = _KEY.fullmatch(name)
        place = f"{where}, {shown(name)}"
        if found is None:
            told = next((told for part, told in _OTHERS if part in name), "is no matrix of LoRA")
            raise EngineError(f"{told}; only LoRA of linear modules is imported", where=place, hint=_MERGE)
        if kind not in _FLOATS:
            raise EngineError(f"is of type {kind}, not one of {', '.join(_FLOATS)}", where=place, hint=BROKEN)
        adapters.add(found["adapter"])
        path = _WRAPPERS.sub("", found["path"]).removeprefix("base_model.model.")
        if halves.setdefault(path, {}).setdefault(found["half"], (name, shape))[0] != name:
            raise EngineError("is there twice, under two names", where=place, hint=BROKEN)
    if len(adapters) > 1:
        named = ", ".join(sorted(shown(each or "one without a name") for each in adapters)[:5])
        raise EngineError(f"holds several adapters: {named}", where=where, hint="Save each in a folder of its own")
    return paired(halves, where)


def _changes(config: Mapping[str, Any], kinds: Iterable[str]) -> tuple[str, ...]:
    told = []
    if config.get("use_rslora"):
        told.append("Its scale is that of rsLoRA, alpha / sqrt(rank).")
    told += [f"Its {name}_pattern gives some modules another {name}." for name in ("rank", "alpha")
             if config.get(f"{name}_pattern")]  # fmt: skip
    short = sorted(_FLOATS[kind] for kind in kinds if kind != "F32")
    if short:
        told.append(f"Numbers of {' and '.join(short)} became float32, all of the same value.")
    return tuple(told)
