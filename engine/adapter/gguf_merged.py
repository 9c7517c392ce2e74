"""Base and adapter in one GGUF file: the base's own file, dequantised, with the update added.

    base.gguf --(a tensor at a time: dequantise, + alpha/rank · B·A, cast)--> model.gguf

The vocabulary, the chat template and all settings are copied from the base's file, so only a base that is here as a
GGUF file can be merged in this way. Matrices are written in the chosen float type; vectors (norms, biases) stay in
float32, as llama.cpp's own conversion does. A base without `output.weight` has tied embeddings: there is nothing to
touch. One tensor is in memory at a time, never the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.gguf_adapter import gguf_rows, peft_rows
from engine.adapter.gguf_names import tensor_name
from engine.adapter.merged import update
from engine.base.gguf import close_gguf, gguf_field, open_gguf
from engine.errors import EngineError
from engine.events import Stage
from engine.weights.layout import LayoutModule
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    import numpy as np
    from transformers import PretrainedConfig

_WRITTEN_ANEW = frozenset({"general.architecture", "general.file_type", "general.name", "general.quantization_version"})
_TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# Of what a number format rounds to, relative; and room for the order in which sums are taken.
_ROUNDING = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_SUM_ORDER = 1e-5


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
        # The numpy type says nothing beside the raw one, but for single bytes.
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
            values = values + gguf_rows(update(adapter, module.path), module.path, config).numpy()
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
            expected = (peft_rows(_tensor(expected), module.path, config) + update(adapter, module.path)).numpy()
            read = peft_rows(_tensor(read), module.path, config).numpy()
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


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(values)


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
    writer.add_file_type(
        {
            "float32": gguf.LlamaFileType.ALL_F32,
            "float16": gguf.LlamaFileType.MOSTLY_F16,
            "bfloat16": gguf.LlamaFileType.MOSTLY_BF16,
        }[float_type]
    )
    for field in _own_fields(reader):
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)


def _own_fields(reader: Any) -> Iterator[Any]:
    for name, field in reader.fields.items():
        if name not in _WRITTEN_ANEW and not name.startswith("GGUF."):
            yield field
