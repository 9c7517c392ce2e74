"""The native form of an adapter on disk: the folder that peft, vLLM, SGLang and Ollama read.

    adapter_config.json         what kind of LoRA, for which base
    adapter_model.safetensors   base_model.model.<path>.lora_A.weight (rank, in) and .lora_B.weight (out, rank)
    SHA256SUMS                  of the two, as `sha256sum -c` takes it; checked when the folder is read
    (README.md, provenance.json and the like, when given)

The same adapter gives the same bytes: nothing of the machine, the time or the versions is in the first three.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.formats import NUMBER_SIZES
from engine.errors import EngineError
from engine.files import digest_bytes, digest_file, read_json
from engine.weights.layout import ALL_LINEAR, Layout, LayoutModule, LoraSpec
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
DIGESTS_FILE = "SHA256SUMS"
LARGEST_WEIGHTS = 2**34
"""Bytes: above any LoRA of uniform rank. A larger file is not what it claims to be."""
LARGEST_RANK = 4096
"""A folder of a larger rank is not read: far above any real one."""
LARGEST_ALPHA = 2**20
"""The same of an alpha."""
FOLDED_SETTINGS = frozenset({"use_rslora", "rank_pattern", "alpha_pattern"})
"""Settings beyond plain LoRA that an import brings into its form."""

_KEY = re.compile(r"base_model\.model\.(?P<path>.{1,400})\.lora_(?P<half>[AB])\.weight")
_DIGEST_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>.+)")
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "pytorch_model.bin")
# Far above any real config file; a file beyond it is not what it claims to be.
_LARGEST_TEXT = 2**20
_LONGEST_SHOWN = 160
# Settings that may have any value: they do not change what the matrices mean (or are looked at one by one below).
_FREE_SETTINGS = frozenset((
    "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "megatron_core", "peft_type",
    "peft_version", "qalora_group_size", "r", "revision", "runtime_config", "target_modules", "task_type",
))  # fmt: skip
_MEANINGS = {
    "alora_invocation_tokens": "which turns the LoRA on only after certain tokens",
    "layer_replication": "which runs some layers of the base more than once",
    "lora_bias": "which trains biases",
    "modules_to_save": "so that whole trained modules go with the LoRA",
    "target_parameters": "which adapts parameters that are no linear modules",
    "trainable_token_indices": "which trains rows of the embeddings",
    "use_dora": "which is DoRA: it scales the base's own weights too",
}
# The other ways to start (PiSSA, OLoRA, CorDA, LoftQ and so on) put a part of the update into the base's own weights.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


def write_files(folder: Path, files: Mapping[str, bytes], extra_files: Mapping[str, str]) -> None:
    """Write what `peft_files` made, and more text files, into an existing folder."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    for name, text in extra_files.items():
        (folder / name).write_text(text, encoding="utf-8")


def peft_files(
    adapter: LoraAdapter, base_id: str, *, float_type: str = "float32", more: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """The content of the folder's three own files, by name; the same for the same arguments.

    Args:
        more: further settings of the config.

    Raises:
        EngineError: a value is not finite or too large for `float_type`.
    """
    import safetensors.torch

    settings = {**_config(adapter.layout.lora, base_id), **(more or {})}
    config = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    files = {
        CONFIG_FILE: config.encode(),
        WEIGHTS_FILE: safetensors.torch.save(stored(adapter, float_type).peft_state(), metadata={"format": "pt"}),
    }
    digests = "".join(f"{digest_bytes(data)}  {name}\n" for name, data in files.items())
    return files | {DIGESTS_FILE: digests.encode()}


def stored(adapter: LoraAdapter, float_type: str) -> LoraAdapter:
    """The matrices as they are stored: of `float_type`, on the CPU, each with its own memory.

    Raises:
        EngineError: a value is not finite or too large for `float_type`.
    """
    import torch

    if float_type not in NUMBER_SIZES:
        raise EngineError(f"matrices cannot be written as {float_type}", hint=f"There are: {', '.join(NUMBER_SIZES)}")
    dtype = getattr(torch, float_type)

    def of_type(matrix: Tensor, key: str) -> Tensor:
        if not matrix.isfinite().all():
            raise EngineError("a value is not finite", where=key, hint="This adapter is broken: generate it again")
        cast = matrix.detach().to("cpu", dtype, copy=True).contiguous()
        if not cast.isfinite().all():
            raise EngineError(f"a value is too large for {float_type}", where=key, hint="Write float32")
        return cast

    paths = [module.path for module in adapter.layout.modules]
    return LoraAdapter(
        adapter.layout,
        {path: of_type(adapter.a[path], f"base_model.model.{path}.lora_A.weight") for path in paths},
        {path: of_type(adapter.b[path], f"base_model.model.{path}.lora_B.weight") for path in paths},
    )


def read_peft_folder(folder: Path) -> tuple[LoraAdapter, dict[str, Any]]:
    """The adapter of any plain LoRA folder of peft, in float32, and its config.

    Raises:
        EngineError: a file is missing, broken, was changed or holds more than plain LoRA of one rank and alpha.
    """
    halves: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    with _opened(folder) as (tensors, layout, config):
        for module in layout.modules:
            for half, matrices in halves.items():
                key = f"base_model.model.{module.path}.lora_{half}.weight"
                matrices[module.path] = _as_float32(tensors.get_tensor(key), f"{folder / WEIGHTS_FILE}, {key}")
    return LoraAdapter(layout, halves["A"], halves["B"]), config


def read_peft_layout(folder: Path) -> tuple[Layout, dict[str, Any]]:
    """Layout and config of such a folder. Light: of the weights, only the header is parsed.

    Raises:
        EngineError: as `read_peft_folder`, but for values that cannot be.
    """
    with _opened(folder, "numpy") as (_, layout, config):
        return layout, config


@contextmanager
def _opened(folder: Path, framework: str = "pt") -> Iterator[tuple[Any, Layout, dict[str, Any]]]:
    """Weights, layout and config, after a look at whether the files are there and as they were written.

    Shapes are compared from the header alone, before any matrix is loaded.
    """
    try:
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise EngineError(f"has no {name}", where=str(folder), hint=missing_hint(folder))
        check_sums(folder)
        config = read_plain_config(folder / CONFIG_FILE)
        with open_weights(folder / WEIGHTS_FILE, framework) as tensors:
            yield tensors, _read_layout(tensors, config, folder / WEIGHTS_FILE), config
    except OSError as error:
        raise EngineError(f"cannot be read: {error}", where=str(folder)) from error


def _config(lora: LoraSpec, base_id: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(("auto_mapping", "layers_pattern", "layers_to_transform", "modules_to_save", "revision")),
        **dict.fromkeys(("fan_in_fan_out", "use_dora", "use_rslora"), False),
        **dict.fromkeys(("inference_mode", "init_lora_weights"), True),
        "alpha_pattern": {},
        "rank_pattern": {},
        "base_model_name_or_path": base_id,
        "bias": "none",
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": list(lora.target_modules),
        "task_type": "CAUSAL_LM",
    }


def missing_hint(folder: Path) -> str:
    """What to do where a file of the folder is missing."""
    if not folder.is_dir():
        return "Name the folder of an adapter"
    if parts := sorted(folder.glob("adapter_model-*-of-*.safetensors")):
        return f"The adapter is in parts ({parts[0].name}): load it with peft and save it again, in one file"
    if not (folder / CONFIG_FILE).is_file() and (inner := _adapters_inside(folder)):
        return f"Name the folder of one adapter: {', '.join(inner)}"
    pickle = next((name for name in _PICKLES if (folder / name).exists()), None)
    if pickle is None or (folder / WEIGHTS_FILE).exists():
        return f"A PEFT folder holds {CONFIG_FILE} and {WEIGHTS_FILE}"
    return (
        f"{pickle} is a pickle, which can run code when it is read, so it is not read here. "
        'On a machine where you trust it: python -c "from peft import AutoPeftModelForCausalLM as M; '
        "M.from_pretrained('OLD').save_pretrained('NEW')\""
    )


def _adapters_inside(folder: Path) -> list[str]:
    """The subfolders that hold an adapter, as the checkpoints of a training are named."""
    found = (file.parent for depth in ("*", "*/*", "*/*/*") for file in sorted(folder.glob(f"{depth}/{CONFIG_FILE}")))
    return list(map(str, islice(found, 8)))


def check_sums(folder: Path) -> None:
    """What SHA256SUMS lists must be there. A folder that peft wrote has none.

    Raises:
        EngineError: a file is another one than was written.
    """
    file = folder / DIGESTS_FILE
    if not file.is_file():
        return
    check_small(file)
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        entry = _DIGEST_LINE.fullmatch(line)
        if entry is None or entry["name"] not in (CONFIG_FILE, WEIGHTS_FILE):
            continue
        if digest_file(folder / entry["name"]) != entry["digest"]:
            hint = f"Copy it again from its source, or remove {DIGESTS_FILE} if you changed it on purpose"
            raise EngineError("was changed after it was written", where=str(folder / entry["name"]), hint=hint)


@contextmanager
def open_weights(file: Path, framework: str) -> Iterator[Any]:
    """A safetensors file, its header parsed and checked against its size; "pt" or "numpy" is what tensors come as.

    Raises:
        EngineError: the file is too large, or no whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if file.stat().st_size > LARGEST_WEIGHTS:
        raise EngineError(f"is larger than {LARGEST_WEIGHTS:,} bytes", where=str(file))
    try:
        with safe_open(file, framework=framework) as tensors:
            yield tensors
    except SafetensorError as error:
        hint = "The file is truncated or was changed: copy it again from its source"
        raise EngineError(f"is not a whole safetensors file ({error})", where=str(file), hint=hint) from None


def _read_layout(tensors: Any, config: dict[str, Any], file: Path) -> Layout:
    """The layout that the file's own matrices have; the config must agree with it."""
    rank = int(config["r"])
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for key in tensors.keys():  # noqa: SIM118
        found, shape = _KEY.fullmatch(key), tuple(tensors.get_slice(key).get_shape())
        where = f"{file}, {shown(key)}"
        if found is None:
            raise EngineError("is not a matrix of plain LoRA", where=where)
        inner = {"A": 0, "B": 1}[found["half"]]
        if len(shape) != 2 or shape[inner] != rank or min(shape) < 1:
            raise EngineError(f"has the shape {shape}, which does not go with rank {rank}", where=where)
        halves.setdefault(found["path"], {})[found["half"]] = shape
    if not halves:
        raise EngineError("holds no matrices", where=str(file))
    for path, pair in halves.items():
        if len(pair) != 2:
            raise EngineError(f"lora_{'B' if 'A' in pair else 'A'} is missing", where=f"{file}, {path}")
    ordered = sorted(halves.items(), key=lambda item: module_place(item[0]))
    modules = tuple(LayoutModule(path, pair["A"][1], pair["B"][0]) for path, pair in ordered)
    return Layout(modules, LoraSpec(rank, int(config["lora_alpha"]), _target_modules(config, modules)))


def _target_modules(config: dict[str, Any], modules: tuple[LayoutModule, ...]) -> tuple[str, ...]:
    """The config's kinds of module where it lists them for all layers; otherwise the full path of every module."""
    listed = config.get("target_modules")
    limited = any(config.get(name) for name in ("layers_to_transform", "layers_pattern", "exclude_modules"))
    kinds = {module.kind for module in modules}
    if isinstance(listed, list) and not limited and kinds == {name for name in listed if isinstance(name, str)}:
        return tuple(sorted(kinds, key=_kind_place))
    return tuple(module.path for module in modules)


def module_place(path: str) -> tuple[list[tuple[bool, int, str]], tuple[int, str]]:
    """Sorts as a model lists its modules: layer 2 before layer 10, and in a layer in the order of `ALL_LINEAR`."""
    *parents, kind = path.split(".")
    numbered = [index for index, part in enumerate(parents) if part.isdecimal()]
    above = parents[: numbered[-1] + 1] if numbered else parents
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in above], _kind_place(kind, path)


def _kind_place(kind: str, path: str = "") -> tuple[int, str]:
    return (ALL_LINEAR.index(kind) if kind in ALL_LINEAR else len(ALL_LINEAR), path or kind)


def _as_float32(matrix: Tensor, where: str) -> Tensor:
    import torch

    if not matrix.is_floating_point():
        raise EngineError(f"is of type {matrix.dtype}, not of a float type", where=where)
    # A copy: what safetensors hands out can be the file itself, which an export may be about to replace.
    own = matrix.to(torch.float32, copy=True)
    if not torch.isfinite(own).all():
        raise EngineError("a value is not finite", where=where, hint="This adapter is broken: generate it again")
    return own


def check_small(file: Path) -> None:
    """Raises EngineError when a text file is larger than any of an adapter's."""
    if file.stat().st_size > _LARGEST_TEXT:
        raise EngineError(f"is larger than {_LARGEST_TEXT:,} bytes", where=str(file))


def read_config(file: Path) -> dict[str, Any]:
    """The JSON object in a config file, whatever it holds.

    Raises:
        EngineError: the file is too large, or holds no JSON object.
    """
    check_small(file)
    try:
        config = read_json(file)
    except (ValueError, RecursionError):  # numbers of thousands of digits, endless nesting
        config = None
    if not isinstance(config, dict):
        raise EngineError("is not the config of an adapter", where=str(file))
    return config


def read_plain_config(file: Path) -> dict[str, Any]:
    """The config of plain LoRA of one rank and one whole alpha.

    Raises:
        EngineError: it is none; names the setting that is another.
    """
    config = read_config(file)
    reason = more_than_lora(config) or _not_uniform(config)
    if reason:
        hint = "Only plain LoRA of one rank and a whole alpha is read"
        if more_than_lora(config, FOLDED_SETTINGS) is None:
            hint += "; dnd-tui import makes it that"
        raise EngineError(reason, where=str(file), hint=hint)
    return config


def more_than_lora(config: dict[str, Any], allowed: Set[str] = frozenset()) -> str | None:
    """Why this config is not LoRA for a causal language model alone; None if it is.

    Args:
        allowed: names of settings that may be set besides those of plain LoRA.
    """
    if config.get("peft_type") != "LORA":
        return f"peft_type is {quoted(config.get('peft_type'))}, not 'LORA'"
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        return f"task_type is {quoted(config['task_type'])}, not 'CAUSAL_LM'"
    if config.get("bias", "none") != "none":
        return f"bias is {quoted(config['bias'])}, not 'none'"
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        return f"init_lora_weights is {quoted(config['init_lora_weights'])}, which changes the weights of the base"
    for name, value in sorted(config.items()):
        if name not in _FREE_SETTINGS and name not in allowed and value:
            meaning = _MEANINGS.get(name)
            return f"{name[:100]} is set" + (f", {meaning}" if meaning else "")
    return None


def _not_uniform(config: dict[str, Any]) -> str | None:
    """Why rank and alpha are none that this form has."""
    for name, largest in (("r", LARGEST_RANK), ("lora_alpha", LARGEST_ALPHA)):
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value % 1 != 0:
            return f"{name} is {quoted(value)}, not a whole number of at least 1"
        if value > largest:
            return f"{name} is more than {largest}"
    return None


def shown(text: str) -> str:
    """A name out of somebody's file, no longer than a line."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def quoted(value: object) -> str:
    """A value out of somebody's file, no longer than a part of a line."""
    return repr(value)[:100]
