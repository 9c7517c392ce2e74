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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from engine.adapter.formats import NUMBER_SIZES
from engine.adapter.kind import CONFIG_FILE
from engine.adapter.peft_config import check_small, read_plain_config
from engine.errors import EngineError
from engine.files import digest_bytes, digest_file, replacing_folder
from engine.weights.layout import ALL_LINEAR, Layout, LayoutModule, LoraSpec
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "adapter_model.safetensors"
DIGESTS_FILE = "SHA256SUMS"
LARGEST_WEIGHTS = 2**34
"""Bytes: above any LoRA of uniform rank. A larger file is not what it says it is."""

_NO_FILES: Mapping[str, str] = MappingProxyType({})
_KEY = re.compile(r"base_model\.model\.(?P<path>.{1,400})\.lora_(?P<half>[AB])\.weight")
_DIGEST_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>.+)")


def write_peft_folder(
    folder: Path,
    adapter: LoraAdapter,
    base_id: str,
    *,
    float_type: str = "float32",
    extra_files: Mapping[str, str] = _NO_FILES,
    replace: bool = False,
) -> None:
    """Write `adapter` as a PEFT folder, whole or not at all.

    Args:
        folder: where; its parents are made.
        base_id: what goes into the config as `base_model_name_or_path`.
        float_type: of the written matrices, "float32", "float16" or "bfloat16".
        extra_files: more text files, by name.
        replace: whether a folder that is there may be replaced.

    Raises:
        EngineError: the folder exists, the disk is full, a value is not finite or too large for `float_type`.
    """
    files = peft_files(adapter, base_id, float_type=float_type)
    with replacing_folder(folder, replace=replace) as part:
        write_files(part, files, extra_files)


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

    state = {key: matrix.contiguous() for key, matrix in stored_state(adapter, float_type).items()}
    settings = {**_config(adapter.layout.lora, base_id), **(more or {})}
    config = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    files = {
        CONFIG_FILE: config.encode(),
        WEIGHTS_FILE: safetensors.torch.save(state, metadata={"format": "pt"}),
    }
    digests = "".join(f"{digest_bytes(data)}  {name}\n" for name, data in files.items())
    return files | {DIGESTS_FILE: digests.encode()}


def stored_state(adapter: LoraAdapter, float_type: str) -> dict[str, Tensor]:
    """The matrices under peft's names as they are stored: of `float_type`, on the CPU, each with its own memory."""
    import torch

    if float_type not in NUMBER_SIZES:
        raise EngineError(f"matrices cannot be written as {float_type}", hint=f"There are: {', '.join(NUMBER_SIZES)}")
    dtype = getattr(torch, float_type)
    state = {}
    for key, matrix in adapter.peft_state().items():
        if not torch.isfinite(matrix).all():
            raise EngineError("a value is not finite", where=key, hint="This adapter is broken: generate it again")
        state[key] = matrix.detach().to("cpu", dtype, copy=True)
        if not torch.isfinite(state[key]).all():
            raise EngineError(f"a value is too large for {float_type}", where=key, hint="Write float32")
    return state


def read_peft_folder(folder: Path) -> tuple[LoraAdapter, dict[str, Any]]:
    """The adapter of any plain LoRA folder of peft, in float32, and its config.

    Raises:
        EngineError: a file is missing, broken, was changed or holds more than plain LoRA of one rank and alpha.
    """
    with _told_if_unreadable(folder):
        config = _read_checked_config(folder)
        return _read_weights(folder / WEIGHTS_FILE, config), config


def read_peft_layout(folder: Path) -> tuple[Layout, dict[str, Any]]:
    """Layout and config of such a folder. Light: of the weights, only the header is parsed.

    Raises:
        EngineError: as `read_peft_folder`, but for values that cannot be.
    """
    with _told_if_unreadable(folder):
        config = _read_checked_config(folder)
        with open_weights(folder / WEIGHTS_FILE, "numpy") as tensors:
            return _read_layout(_shapes(tensors), config, folder / WEIGHTS_FILE), config


@contextmanager
def _told_if_unreadable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(f"cannot be read: {error}", where=str(folder)) from error


def _read_checked_config(folder: Path) -> dict[str, Any]:
    """The config, after a look at whether the files are there and as they were written."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise EngineError(f"has no {name}", where=str(folder), hint=_missing_hint(folder))
    check_sums(folder)
    return read_plain_config(folder / CONFIG_FILE)


def _config(lora: LoraSpec, base_id: str) -> dict[str, Any]:
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": base_id,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "revision": None,
        "target_modules": list(lora.target_modules),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def _missing_hint(folder: Path) -> str:
    if (folder / "adapter_model.bin").exists() and not (folder / WEIGHTS_FILE).exists():
        return (
            "adapter_model.bin is a pickle, which can run code when it is read, so it is not read here. "
            "Load it where it was made with peft and save it again with safe_serialization=True"
        )
    if not folder.is_dir():
        return "Name the folder of an adapter"
    return f"An adapter folder holds {CONFIG_FILE} and {WEIGHTS_FILE}"


def check_sums(folder: Path) -> None:
    """What SHA256SUMS says must be so. A folder that peft wrote has none.

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


def _read_weights(file: Path, config: dict[str, Any]) -> LoraAdapter:
    """Shapes are compared from the header alone, before any matrix is loaded."""
    with open_weights(file, "pt") as tensors:
        layout = _read_layout(_shapes(tensors), config, file)
        halves: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
        for module in layout.modules:
            for half, matrices in halves.items():
                key = f"base_model.model.{module.path}.lora_{half}.weight"
                matrices[module.path] = _as_float32(tensors.get_tensor(key), f"{file}, {key}")
    return LoraAdapter(layout, halves["A"], halves["B"])


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


def _shapes(tensors: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118


def _read_layout(shapes: Mapping[str, tuple[int, ...]], config: dict[str, Any], file: Path) -> Layout:
    """The layout that the file's own matrices have; the config must agree with it."""
    rank = int(config["r"])
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise EngineError("is not a matrix of plain LoRA", where=f"{file}, {key}")
        inner = {"A": 0, "B": 1}[found["half"]]
        if len(shape) != 2 or shape[inner] != rank or min(shape) < 1:
            raise EngineError(f"has the shape {shape}, which does not go with rank {rank}", where=f"{file}, {key}")
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
