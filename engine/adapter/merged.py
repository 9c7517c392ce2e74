"""Base and adapter as one model: the folder that transformers, vLLM, SGLang and mlx-lm load, or one GGUF file.

    base's weights --(a tensor at a time: in float32 + alpha/rank · B·A, cast)--> safetensors, config, tokenizer
    base.gguf      --(a tensor at a time: dequantise, + alpha/rank · B·A, cast)--> model.gguf

One tensor beyond the base's own is in memory at a time.

The folder: every parameter is written once, under its first name: tied embeddings stay tied, and `lm_head` is not
touched. safetensors' own writer takes all tensors of a file at once, so the files are written by hand:

    model.safetensors                                    of a model that fits into one file
    model-00001-of-00002.safetensors, ..., model.safetensors.index.json      of a larger one
    each: 8 bytes of length, a JSON header of types, shapes and places, the values in little-endian order

The GGUF file: the vocabulary, the chat template and all settings are copied from the base's file, so only a base that
is here as a GGUF file can be merged in this way. Matrices are written in the chosen float type; vectors (norms, biases)
stay in float32, as llama.cpp's own conversion does. A base without `output.weight` has tied embeddings: there is
nothing to touch.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.adapter.formats import NUMBER_SIZES
from engine.adapter.gguf import gguf_rows, peft_rows, tensor_name
from engine.base.config_file import complete_config
from engine.base.gguf import close_gguf, gguf_field, open_gguf
from engine.base.load import reads_images
from engine.errors import EngineError
from engine.events import Stage
from engine.files import digest_file
from engine.weights.layout import LayoutModule
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    import numpy as np
    from transformers import PretrainedConfig

    from engine.base.load import LoadedBase

SHARD_BYTES = 4_000_000_000
"""Largest file of a folder; a single larger tensor has one of its own."""

# As safetensors and GGUF both call them.
_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_ALIGNMENT = 8
_WRITTEN_ANEW = frozenset({"general.architecture", "general.file_type", "general.name", "general.quantization_version"})
# Of what a number format rounds to, relative; and room for the order in which sums are taken.
_ROUNDING = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_SUM_ORDER = 1e-5


def write_merged(
    folder: Path,
    base: LoadedBase,
    adapter: LoraAdapter,
    *,
    base_id: str,
    float_type: str = "float32",
    stage: Stage | None = None,
) -> dict[str, str]:
    """Write the merged model into an existing folder; the SHA-256 of each weight file.

    Args:
        base: not changed.
        float_type: of all weights.
        stage: hears every tensor.

    Raises:
        EngineError: a file cannot be written.
    """
    dtype = getattr(torch, float_type)
    # Without the names that share a parameter with an earlier one.
    parameters = dict(base.model.named_parameters(remove_duplicate=True))
    modules = {f"{module.path}.weight": module.path for module in adapter.layout.modules}

    def tensor(name: str) -> torch.Tensor:
        weight = parameters[name].detach()
        if name in modules:
            weight = weight.float() + adapter.update(modules[name]).to(weight.device)
        return weight.to("cpu", dtype)

    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    digests = _write_shards(folder, shapes, tensor, float_type, stage)
    config = copy.deepcopy(base.model.config)
    config.dtype = dtype
    config.architectures = [type(base.model).__name__]
    config._name_or_path = base_id  # not the place of the base on this machine
    config.save_pretrained(folder)
    complete_config(folder / "config.json")
    generation: Any = base.model.generation_config
    if generation is not None:
        generation.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    if reads_images(base.model.config):
        for file in Path(base.ref.folder).glob("*processor_config.json"):  # its processor is as it was
            (folder / file.name).write_bytes(file.read_bytes())
    return digests


def use_up(base: LoadedBase) -> None:
    """Give the memory of the base's weights back. It is of no use afterwards."""
    for parameter in base.model.parameters():
        parameter.data = parameter.data.new_empty(0)
    gc.collect()


def _write_shards(
    folder: Path,
    shapes: Mapping[str, tuple[int, ...]],
    tensor: Callable[[str], torch.Tensor],
    float_type: str,
    stage: Stage | None = None,
) -> dict[str, str]:
    """The SHA-256 of each weight file, of the bytes that were handed out; `tensor` makes each when its turn comes."""
    if sys.byteorder != "little":
        raise EngineError("merged models are written on little-endian machines only")
    if stage is not None:
        stage.total = len(shapes)
    digests: dict[str, str] = {}
    shards = _shards(shapes, NUMBER_SIZES[float_type])
    for shard, names in shards.items():
        state = hashlib.sha256()
        with open(folder / shard, "wb") as file:

            def put(data: Any, state: Any = state, file: Any = file) -> None:
                state.update(data)
                file.write(data)

            put(_header({name: shapes[name] for name in names}, float_type))
            for name in names:
                # numpy has no bfloat16: as bytes, all types are alike.
                put(tensor(name).contiguous().reshape(-1).view(torch.uint8).numpy().data)
                if stage is not None:
                    stage.advance()
        digests[shard] = state.hexdigest()
    if len(shards) > 1:
        total = sum(map(prod, shapes.values())) * NUMBER_SIZES[float_type]
        places = {name: shard for shard, names in shards.items() for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return digests


def check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Read the files back. Raises EngineError for one that is not what was handed out."""
    for name, digest in digests.items():
        if digest_file(folder / name) != digest:
            raise EngineError("is not what was written", where=name, hint="Nothing was exported")


def _shards(shapes: Mapping[str, tuple[int, ...]], number_size: int) -> dict[str, list[str]]:
    """The names of the tensors in each file."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = prod(shape) * number_size
        if groups[-1] and filled + size > SHARD_BYTES:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": names for number, names in enumerate(groups, 1)}


def _header(shapes: Mapping[str, tuple[int, ...]], float_type: str) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, shape in shapes.items():
        end = begin + prod(shape) * NUMBER_SIZES[float_type]
        entries[name] = {"dtype": _TYPES[float_type], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_gguf_merged(
    file: Path,
    base_file: Path,
    adapter: LoraAdapter,
    config: PretrainedConfig,
    *,
    name: str,
    float_type: str = "float32",
    stage: Stage | None = None,
) -> None:
    """Write base and adapter to `file`.

    Args:
        base_file: the base as a GGUF file, of any quantisation that the `gguf` package reads.
        config: of the base.
        name: what the file calls itself.
        float_type: of the matrices.
        stage: hears every tensor.

    Raises:
        EngineError: the base's file is broken, in several parts, or its tensors have other shapes than the adapter's.
    """
    import gguf
    import numpy as np

    reader = open_gguf(base_file)
    modules = _modules_by_tensor(reader, adapter, base_file)
    writer = gguf.GGUFWriter(file, gguf_field(reader, "general.architecture"))
    _copy_fields(reader, writer, name=name, float_type=float_type)
    for tensor in reader.tensors:
        kind = _kind(tensor, float_type)
        size = int(tensor.n_elements) * gguf.GGML_QUANT_SIZES[kind][1]
        # The numpy type adds nothing beside the raw one, but for single bytes.
        writer.add_tensor_info(tensor.name, _shape(tensor), np.dtype(np.float32), size, raw_dtype=kind)
    if stage is not None:
        stage.total = len(reader.tensors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        values = _values(base_file, tensor)
        if tensor.name in modules:
            module = modules[tensor.name]
            values = values + gguf_rows(adapter.update(module.path), module.path, config).numpy()
        values = np.ascontiguousarray(values, np.float32)
        writer.write_tensor_data(gguf.quants.quantize(values, _kind(tensor, float_type)))
        if stage is not None:
            stage.advance()
    close_gguf(writer, file)


def largest_difference(
    file: Path, base_file: Path, adapter: LoraAdapter, config: PretrainedConfig, *, float_type: str = "float32"
) -> float:
    """Read a merged file back; the largest difference to base + adapter, both in transformers' order of rows.

    Raises:
        EngineError: a tensor or a field is missing, or differs by more than `float_type` rounds.
    """
    base, merged = open_gguf(base_file), open_gguf(file)
    modules = _modules_by_tensor(base, adapter, base_file)
    missing = [name for name in base.fields if name not in merged.fields and name not in _WRITTEN_ANEW]
    found = {tensor.name: tensor for tensor in merged.tensors}
    missing += [tensor.name for tensor in base.tensors if tensor.name not in found]
    if missing:
        raise EngineError(f"lacks {missing[0]}", where=str(file), hint="Nothing was exported")
    largest = 0.0
    for tensor in base.tensors:
        expected, read = _values(base_file, tensor), _values(file, found[tensor.name])
        if tensor.name in modules:
            module = modules[tensor.name]
            # The other way round than it was written: the base's rows undone, not the update's done.
            expected = (
                peft_rows(torch.from_numpy(expected), module.path, config) + adapter.update(module.path)
            ).numpy()
            read = peft_rows(torch.from_numpy(read), module.path, config).numpy()
        difference = float(abs(read - expected).max())
        limit = (_ROUNDING[float_type] + _SUM_ORDER) * max(float(abs(expected).max()), 1e-3)
        if not difference <= limit:
            problem = f"the written tensor differs by {difference:.3g} from base + adapter"
            raise EngineError(problem, where=tensor.name, hint="Nothing was exported")
        largest = max(largest, difference)
    return largest


def _kind(tensor: Any, float_type: str) -> Any:
    """`GGMLQuantizationType` of a written tensor."""
    import gguf

    return gguf.GGMLQuantizationType[_TYPES[float_type] if len(tensor.shape) > 1 else "F32"]


def _values(file: Path, tensor: Any) -> np.ndarray:
    """All values of a tensor, float32. Read, not mapped: mapped pages would stay in memory."""
    import gguf
    import numpy as np

    shape = _shape(tensor)
    data = np.fromfile(file, np.uint8, int(tensor.n_bytes), offset=int(tensor.data_offset))
    return gguf.quants.dequantize(data.reshape(*shape[:-1], -1), tensor.tensor_type).reshape(shape)


def _shape(tensor: Any) -> tuple[int, ...]:
    """As numpy has it; GGUF lists dimensions the other way round."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _modules_by_tensor(reader: Any, adapter: LoraAdapter, base_file: Path) -> dict[str, LayoutModule]:
    parts = gguf_field(reader, "split.count")
    if parts is not None and parts > 1:
        hint = "Join them with llama.cpp's llama-gguf-split --merge first"
        raise EngineError(f"is one of {parts} parts of a model", where=str(base_file), hint=hint)
    shapes = {tensor.name: _shape(tensor) for tensor in reader.tensors}
    modules = {tensor_name(module.path): module for module in adapter.layout.modules}
    for name, module in modules.items():
        expected = (module.out_features, module.in_features)
        if shapes.get(name) != expected:
            problem = f"the adapter needs the shape {expected}, the base has {shapes.get(name) or 'no such tensor'}"
            raise EngineError(problem, where=f"{base_file}, {name}", hint="The adapter was made for another base")
    return modules


def _copy_fields(reader: Any, writer: Any, *, name: str, float_type: str) -> None:
    import gguf

    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[f"{'ALL' if float_type == 'float32' else 'MOSTLY'}_{_TYPES[float_type]}"])
    for field in reader.fields.values():
        if field.name in _WRITTEN_ANEW or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
