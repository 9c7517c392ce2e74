"""A loaded base as a GGUF file in the cache, for llama.cpp in this program and for nothing else.

    model's parameters --(a tensor at a time, rows of q and k in GGUF's order)--> CACHE/gguf/NAME-KEY-TYPE.gguf

Notable
- In float32 it has the very numbers of the loaded base, and greedy answers are those of transformers. A package's
  quantised file has them too after dequantisation, but llama.cpp rounds what they are multiplied with to 8 bits: of 16
  answers of 48 tokens by the default base 8 stay the same, of those in float16 14.
- Its vocabulary is made up: the text of token 17 is "17 ". llama.cpp streams text and no ids; so it streams ids. Text
  is made of them by the base's own tokenizer, as everywhere.

Source of names and fields: llama.cpp's convert_hf_to_gguf.py, by `gguf`; `engine.adapter.gguf` has the order of rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.formats import NUMBER_SIZES
from engine.adapter.gguf import gguf_architecture, gguf_rows
from engine.base.fetch import cache_folder, one_process
from engine.base.gguf import close_gguf
from engine.errors import EngineError, setting
from engine.events import Reporter, Stage
from engine.files import digest_json, replacing_file
from engine.text import readable_size

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

_FORMAT = 1  # of what is written; another number writes all files anew
_TYPES = {"float32": "F32", "float16": "F16"}
_BESIDE_WEIGHTS = 20_000_000  # bytes of vocabulary and header, at most


def base_file(base: LoadedBase, stops: Sequence[int], float_type: str, reporter: Reporter) -> Path:
    """The GGUF file of `base`, written at first need, in a stage "write" with its size as a note.

    Args:
        base: nothing attached to it.
        stops: tokens that end an answer; llama.cpp stops by itself at the first of them.
        float_type: of the matrices, "float32" or "float16".

    Raises:
        EngineError: the disk is full; a parameter has no name in a GGUF file.
    """
    key = digest_json({"base": base.ref.fingerprint, "stop": list(stops[:1]), "format": _FORMAT})
    name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in base.ref.id)
    target = cache_folder() / "gguf" / f"{name}-{key[:12]}-{float_type}.gguf"
    if target.is_file():
        return target
    with one_process(target, reporter):
        # Another process may have done it while this one waited.
        if not target.is_file():
            size = base.model.num_parameters() * NUMBER_SIZES[float_type] + _BESIDE_WEIGHTS
            if shutil.disk_usage(target.parent).free < size:
                hint = f"Free {readable_size(size)} there, or set {setting('decoder')} to transformers"
                raise EngineError("the disk is too full for the base as a GGUF file", where=str(target), hint=hint)
            with reporter.stage("write", unit="tensors") as stage, replacing_file(target) as part:
                write_base_file(part, base, stops, float_type, stage)
                stage.note = f"{target.name}, {readable_size(part.stat().st_size)}, once for this base"
    return target


def write_base_file(file: Path, base: LoadedBase, stops: Sequence[int], float_type: str, stage: Stage) -> None:
    """Write the file; vectors stay in float32, as llama.cpp's own conversion has them.

    Raises:
        EngineError: a parameter has no name in a GGUF file, or a weight is too large for float16.
    """
    import gguf
    import numpy as np

    config = base.model.config
    architecture = gguf_architecture(config)
    writer = gguf.GGUFWriter(file, architecture)
    _add_settings(writer, config)
    _add_vocabulary(writer, base.model.get_input_embeddings().num_embeddings, stops)
    tensors: list[tuple[str, Any, Any]] = []
    for name, tensor, parameter in _parameters(base):
        if tensor is None:
            hint = f"Set {setting('decoder')} to transformers"
            raise EngineError("this parameter has no name in a GGUF file", where=name, hint=hint)
        kind = gguf.GGMLQuantizationType[_TYPES[float_type] if parameter.ndim > 1 else "F32"]
        size = parameter.numel() * gguf.GGML_QUANT_SIZES[kind][1]
        writer.add_tensor_info(tensor, tuple(parameter.shape), np.dtype(np.float32), size, raw_dtype=kind)
        tensors.append((name, parameter, kind))
    stage.total = len(tensors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, parameter, kind in tensors:
        values = parameter.detach().float()
        if values.ndim > 1:
            values = gguf_rows(values, name.removesuffix(".weight"), config)
            if float_type == "float16" and float(values.abs().max()) > np.finfo(np.float16).max:
                hint = f"Set {setting('dtype')} to float32, or {setting('decoder')} to transformers"
                raise EngineError("a weight is too large for float16", where=name, hint=hint)
        writer.write_tensor_data(gguf.quants.quantize(np.ascontiguousarray(values.numpy()), kind))
        stage.advance()
    close_gguf(writer, file)


def unnamed_parameter(base: LoadedBase) -> str | None:
    """The first parameter of a base of a known architecture that has no name in a GGUF file, if there is one."""
    return next((name for name, tensor, _ in _parameters(base) if tensor is None), None)


def _parameters(base: LoadedBase) -> Iterator[tuple[str, str | None, Any]]:
    """Every parameter by its name in transformers and in GGUF."""
    import gguf

    config = base.model.config
    kinds = {gguf.MODEL_ARCH_NAMES[kind]: kind for kind in gguf.MODEL_ARCH}
    names = gguf.get_tensor_name_map(kinds[gguf_architecture(config)], config.num_hidden_layers)
    # Without the names that share a parameter with an earlier one: tied embeddings stay tied.
    for name, parameter in base.model.named_parameters(remove_duplicate=True):
        yield name, names.get_name(name, try_suffixes=(".weight", ".bias")), parameter


def _add_settings(writer: Any, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads or config.num_attention_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_vocabulary(writer: Any, size: int, stops: Sequence[int]) -> None:
    """Ids as words, see above; of type "llama", the one that needs no merges."""
    import gguf

    writer.add_tokenizer_model("llama")
    writer.add_vocab_size(size)
    writer.add_token_list([f"{number} " for number in range(size)])
    writer.add_token_scores([0.0] * size)
    writer.add_token_types([gguf.TokenType.NORMAL] * size)
    writer.add_bos_token_id(stops[0])
    writer.add_eos_token_id(stops[0])
    writer.add_unk_token_id(stops[0])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
