"""A base model: from the name a person gives to a reference, from the reference to a model in memory.

"default" | name | folder | file.gguf | hub id  --resolve_base-->  BaseRef (no weights read)  --load_base-->  LoadedBase
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base.catalog import BASES, bundled_base
from engine.base.convert import base_folder
from engine.base.gguf import forget_quantisation, reading_gguf
from engine.base.gguf_header import read_field
from engine.base.hub import cached_model, hub_snapshot, looks_like_hub_id, quiet_libraries
from engine.base.weight_files import refuse_pointers, weight_files
from engine.errors import Cancelled, EngineError, setting
from engine.events import Reporter
from engine.files import digest_bytes, digest_json, read_json

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from engine.base.streamed import StreamedLayers

_MIB = 1 << 20
# Of a GGUF file, to see what it is; models of a folder that are named.
_FIRST_BYTES, _MOST_NAMED = 2**16, 5
_ITS_BASE = "Name the base that it was made for, and import the adapter"
# What llama.cpp's gguf-split adds to a name.
_PART = re.compile(r"-\d{5}-of-(?P<parts>\d{5})$")
# A subfolder that is not there: transformers puts an adapter that lies beside the weights on the model, unasked.
_NO_ADAPTER = {"subfolder": "no-adapter"}
# Fields that decide what the weights mean and that every transformers version writes in the same way.
_ESSENTIAL = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "tie_word_embeddings",
)


@dataclass(frozen=True)
class BaseRef:
    """A base that was found, its weights not read yet.

    name: as the person named it.
    id: what goes into an adapter's config: the hub id, or the name of the folder or file.
    folder, gguf_file: what `from_pretrained` takes; both are local.
    config: the model's config.
    fingerprint: see the function of that name.
    hub_id: the hub model whose weights are still to be fetched into the hub cache, if it is one.
    """

    name: str
    id: str
    folder: str
    gguf_file: str | None
    config: PretrainedConfig
    fingerprint: str
    hub_id: str | None = None


@dataclass(frozen=True)
class LoadedBase:
    """A frozen model in eval mode on `device`, and its tokenizer.

    streamed: its layers, where they are not in memory; the model can then be called by `engine.base.streamed.in_step`
    alone, and nothing can be attached to it.
    """

    ref: BaseRef
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    streamed: StreamedLayers | None = None


def resolve_base(
    name: str = "default", *, trust_remote_code: bool = False, reporter: Reporter | None = None
) -> BaseRef:
    """Find the base called `name`: "default", one of the catalogue, a folder, a .gguf file or a hub id.

    One of the catalogue is fetched and converted at first need; of a hub model only config and tokenizer are fetched.

    Raises:
        EngineError: it is not there, cannot be fetched, or is not a causal language model.
    """
    bundled = bundled_base(name)
    if bundled:
        return _folder_ref(name, base_folder(bundled, reporter), bundled.id, trust_remote_code)
    path = Path(name).expanduser()
    if path.is_dir():
        return _named_folder(name, path, trust_remote_code)
    if path.suffix.lower() == ".gguf":
        return _gguf_ref(name, path)
    if path.exists() or not looks_like_hub_id(name):
        problem = "is neither a model folder nor a .gguf file" if path.exists() else "no such base model"
        names = ", ".join(base.name for base in BASES)
        hint = f'Name a folder with config.json, a .gguf file, a hub id, "default", or one of {names}'
        raise EngineError(problem, where=name, hint=hint)
    folder = hub_snapshot(name, trust_remote_code=trust_remote_code)
    config = _read_config(folder, name, trust_remote_code=trust_remote_code)
    return BaseRef(name, name, str(folder), None, config, fingerprint(config, [], commit=folder.name), hub_id=name)


def load_base(
    ref: BaseRef,
    *,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    stream_layers: bool | None = False,
    reporter: Reporter | None = None,
) -> LoadedBase:
    """Load model and tokenizer of `ref`; the stage is called "load".

    Args:
        device: see `engine.base.device`. dtype: the same; "auto" on a CPU is bfloat16 where float32 does not fit.
        stream_layers: leave the layers in their files; None does so where they do not fit into memory.

    Raises:
        EngineError: broken or missing weights, no tokenizer, no linear layer for LoRA, no such device, no memory.
    """
    from engine.base.device import device_memory, explain_out_of_memory, pick_device
    from engine.base.memory import fit_memory
    from engine.base.streamed import streamed_model

    reporter = reporter or Reporter()
    place = pick_device(device)
    folder = ref.folder
    if ref.hub_id:
        revision = Path(ref.folder).name
        fetched = hub_snapshot(ref.hub_id, revision=revision, weights=True, trust_remote_code=trust_remote_code)
        folder = str(fetched)
    vision = reads_images(ref.config)
    if stream_layers and (ref.gguf_file or trust_remote_code):
        raise EngineError("only layers of safetensors files can be streamed", where=ref.name)
    if stream_layers and vision:
        raise EngineError("layers of a model that reads images cannot be streamed", where=ref.name)
    smaller = f"the size of the base, or choose {setting('dtype')} float16 or {setting('device')} cpu"
    may_stream = stream_layers is None and not trust_remote_code and not vision
    with explain_out_of_memory(smaller):
        fit = fit_memory(ref, folder, dtype, place, may_stream=may_stream)
    if fit.remark:
        reporter.note(fit.remark, warning=True)
    if (Path(folder) / "adapter_config.json").is_file():
        reporter.note("an adapter that lies beside the base's weights is left out", warning=True)
    streamed = None
    with reporter.stage("load") as stage:
        with explain_out_of_memory(smaller):
            source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
            if ref.gguf_file:
                source["gguf_file"] = ref.gguf_file
            with reading_gguf(stage) if ref.gguf_file else nullcontext():
                tokenizer = _load_tokenizer(ref, folder, source)
                if stream_layers or fit.streamed:
                    model, streamed = streamed_model(ref, folder, place, fit.dtype)
                else:
                    model = _load_model(ref, folder, fit.dtype, source, place)
        stage.memory = device_memory(place)
    return LoadedBase(ref, model, tokenizer, place, fit.dtype, streamed)


def _named_folder(name: str, path: Path, trust_remote_code: bool) -> BaseRef:
    """A model folder; one of the hub cache is the hub model that it holds."""
    cached = cached_model(path)
    if cached is None:
        return _folder_ref(name, path, path.resolve().name, trust_remote_code)
    hub_id, snapshot = cached
    ref = _folder_ref(name, snapshot, hub_id, trust_remote_code)
    return replace(ref, fingerprint=fingerprint(ref.config, [], commit=snapshot.name))


def _folder_ref(name: str, folder: Path, model_id: str, trust_remote_code: bool) -> BaseRef:
    files, where = weight_files(folder), str(folder)
    whole = (folder / "config.json").is_file()
    if not (whole and files) and (folder / "adapter_config.json").is_file():
        raise EngineError("is an adapter, not a base model", where=where, hint=_ITS_BASE)
    if not whole:
        raise EngineError("this folder has no config.json", where=where, hint=_models_inside(folder))
    if not files:
        hint = "Save the model as safetensors; pickled weights are not read"
        raise EngineError("this folder has no .safetensors weights", where=where, hint=hint)
    refuse_pointers(files)
    config = _read_config(folder, name, trust_remote_code=trust_remote_code)
    return BaseRef(name, model_id, str(folder.absolute()), None, config, fingerprint(config, files))


def _models_inside(folder: Path) -> str:
    """What to name instead of a folder without a model: the models in it, if there are any."""
    inside = [file.parent for file in sorted(folder.glob("*/config.json"))] + sorted(folder.glob("*.gguf"))
    named = ", ".join(map(str, inside[:_MOST_NAMED]))
    return f"Name the model in it: {named}" if named else "Name the folder of a model"


def _gguf_ref(name: str, path: Path) -> BaseRef:
    if not path.is_file():
        raise EngineError("no such file", where=name)
    if (part := _PART.search(path.stem)) and int(part["parts"]) > 1:
        hint = f"Join the parts first: llama-gguf-split --merge FIRST_PART {path.stem[: part.start()]}.gguf"
        raise EngineError(f"is one of {int(part['parts'])} parts of a model", where=name, hint=hint)
    with open(path, "rb") as file:
        head = file.read(_FIRST_BYTES)
    if not head.startswith(b"GGUF"):
        raise EngineError("this is not a GGUF file", where=name)
    # Of these transformers would make a model of 7 B numbers, from what the file leaves open.
    if read_field(head, "general.type") == "adapter":
        raise EngineError("is an adapter, not a base model", where=name, hint=_ITS_BASE)
    if read_field(head, "general.architecture") == "clip":
        hint = "Name the file of its language model"
        raise EngineError("is the part of a model that reads images, not a base model", where=name, hint=hint)
    config = _read_config(path.parent, name, gguf_file=path.name)
    # True of the file; in memory the weights are dequantised, and a model built from this config is a plain one.
    vars(config).pop("quantization_config", None)
    folder = str(path.parent.absolute())
    return BaseRef(name, path.stem, folder, path.name, config, fingerprint(config, [path]))


def _read_config(
    folder: Path, name: str, *, gguf_file: str | None = None, trust_remote_code: bool = False
) -> PretrainedConfig:
    from transformers import AutoConfig

    source: dict[str, Any] = {"gguf_file": gguf_file} if gguf_file else {}
    with quiet_libraries(), _as_engine_errors(name, "the config"):
        config = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code, **source
        )
    _check_causal(config, name)
    return config


def _check_causal(config: PretrainedConfig, name: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    kinds = ", ".join(map(str, config.architectures or ())) or config.model_type
    hint = "Choose a model that writes text from left to right"
    if getattr(config, "is_encoder_decoder", False):
        raise EngineError(f"{kinds} is an encoder-decoder model, not a causal language model", where=name, hint=hint)
    method = _quantised_by(config)
    if method:
        hint = "Name the model that it was made from: an adapter for that one fits this one too"
        raise EngineError(
            f"its weights are quantised ({method}), so nothing can be added to them", where=name, hint=hint
        )
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    masked = all(str(kind).endswith("ForMaskedLM") for kind in config.architectures or ("",))
    if masked or not (own_code or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or reads_images(config)):
        raise EngineError(f"{kinds} is not a causal language model", where=name, hint=hint)


def reads_images(config: PretrainedConfig) -> bool:
    """Whether it is the config of a model that reads images and text, and writes text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    return getattr(config, "vision_config", None) is not None and type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def model_class(config: PretrainedConfig) -> Any:
    """The class of transformers that makes the base of this config."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if reads_images(config) else AutoModelForCausalLM


def _quantised_by(config: PretrainedConfig) -> str:
    """How a checkpoint's weights are quantised, as its config states it: "awq", "gptq", "bitsandbytes", ...; or ""."""
    found = getattr(config, "quantization_config", None)
    if found is None and isinstance(getattr(config, "quantization", None), dict):
        return "mlx"
    if found is None:
        return ""
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "in a way that its config does not name")


def _load_tokenizer(ref: BaseRef, folder: str, source: dict[str, Any]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    with quiet_libraries(), _as_engine_errors(ref.name, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    # Where what reads images has the template, older models keep it in a file that the tokenizer does not look at.
    kept = Path(folder) / "chat_template.json"
    if tokenizer.chat_template is None and kept.is_file():
        found = read_json(kept)
        template = found.get("chat_template") if isinstance(found, dict) else None
        tokenizer.chat_template = template if isinstance(template, str) else None
    return tokenizer


def _load_model(
    ref: BaseRef, folder: str, dtype: torch.dtype, source: dict[str, Any], place: torch.device
) -> PreTrainedModel:
    from torch import nn

    formats: dict[str, Any] = {} if ref.gguf_file else {"use_safetensors": True}
    model: PreTrainedModel
    with quiet_libraries(), _as_engine_errors(ref.name, "the weights"):
        loaded: Any = model_class(ref.config).from_pretrained(
            folder, dtype=dtype, output_loading_info=True, adapter_kwargs=_NO_ADAPTER, **formats, **source
        )
    model, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        # transformers would go on with random numbers in these places.
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise EngineError(f"the weights lack {shown}", where=ref.name, hint="Fetch or save the model again")
    head = model.get_output_embeddings()
    if not any(isinstance(module, nn.Linear) and module is not head for module in model.modules()):
        hint = "Choose a base whose layers are nn.Linear, such as Llama, Qwen or Gemma"
        raise EngineError(f"{type(model).__name__} has no linear layer that LoRA can adapt", where=ref.name, hint=hint)
    if ref.gguf_file:
        forget_quantisation(model)
    nn.Module.to(model, place)
    if head is not None:
        # Of several rows the last positions are a strided view: torch would copy the head's weights once a row.
        head.register_forward_pre_hook(lambda head, inputs: (inputs[0].contiguous(), *inputs[1:]))
    return model.eval().requires_grad_(False)


@contextmanager
def _as_engine_errors(name: str, what: str) -> Iterator[None]:
    """Whatever transformers raises over files that it cannot use, as one line for the person.

    What it raises depends on format, version and the model's own code, so every Exception counts, except for
    those that have a meaning of their own.
    """
    from engine.base.device import is_out_of_memory

    try:
        yield
    except (EngineError, Cancelled):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if "trust_remote_code" in str(error):
            hint = "It needs code that comes with the model: allow it only if you trust its authors"
            raise EngineError(f"{what} cannot be loaded without running code", where=name, hint=hint) from error
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = "Files of it are missing or broken: fetch or save the model again"
        raise EngineError(f"{what} cannot be loaded: {reason}", where=name, hint=hint) from error


def fingerprint(config: PretrainedConfig, files: list[Path], *, commit: str | None = None) -> str:
    """A cheap content hash of a base: enough to see that an adapter or a generator was made for another one.

    SHA-256 over the essentials of `config` and over `files` (their names do not count, their order does): of each its
    size and its first and last MiB. In a safetensors file the first MiB holds the names and shapes of all tensors and
    mostly also the start of the embedding. A change that keeps the size and touches only the middle of a large file is
    not seen: this is a guard against mistakes, not tampering.

    Args:
        files: the weight files, in a fixed order; none for a hub model whose weights are not fetched yet.
        commit: the commit of a hub model; it stands for the files.

    Raises:
        EngineError: a file cannot be read.
    """
    text = config.get_text_config()
    essentials = {name: getattr(text, name, None) for name in _ESSENTIAL}
    return digest_json({"config": essentials, "commit": commit, "files": [_file_digest(file) for file in files]})


def _file_digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(_MIB)
            file.seek(max(len(first), size - _MIB))
            return digest_bytes(str(size).encode(), b"\0", first, file.read(_MIB))
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=str(path)) from error
