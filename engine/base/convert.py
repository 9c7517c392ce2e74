"""The GGUF file of a base of the catalogue, dequantised once into a folder that transformers loads in a moment.

NAME.gguf --(float32 or bfloat16)--> CACHE/models/NAME-TYPE/{model.safetensors, config, tokenizer}
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base.catalog import BundledBase
from engine.base.config_file import complete_config, has_rotary_fields
from engine.base.fetch import find_model_files, model_cache, model_files, one_process
from engine.base.gguf import forget_quantisation, reading_gguf
from engine.base.hub import quiet_libraries
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import replacing_folder
from engine.text import readable_size

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COMPLETE = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_NUMBER_SIZES = {"float32": 4, "bfloat16": 2}
_BESIDE_WEIGHTS = 20_000_000  # bytes of tokenizer and config, at most


def conversion_folder(base: BundledBase) -> Path:
    """Where the converted folder of `base` is, or will be."""
    return model_cache(base, f"-{base.float_type}")


def converted_base(base: BundledBase) -> Path | None:
    """The converted folder of `base`, if it is there; it was put there whole or not at all."""
    folder = conversion_folder(base)
    whole = all((folder / name).is_file() for name in _COMPLETE)
    # What an earlier version converted lacks what other programs look for, and is done again.
    return folder if whole and has_rotary_fields(folder / "config.json") else None


def base_folder(base: BundledBase, reporter: Reporter | None = None) -> Path:
    """The folder of `base` for `from_pretrained`; fetched and converted at first need.

    Raises:
        EngineError: it cannot be fetched, or the disk is too full for the converted copy.
    """
    reporter = reporter or Reporter()
    target = conversion_folder(base)
    if converted_base(base):
        return target
    with one_process(target, reporter):
        # Another process may have done it while this one waited.
        if not converted_base(base):
            _refuse_full_disk(base, target.parent)
            _convert(base, model_files(base, reporter) / base.weights.path, target, reporter)
    return target


def memory_needed(base: BundledBase) -> dict[str, int]:
    """Bytes of all its weights in memory, by number format."""
    return {name: base.parameters * size for name, size in _NUMBER_SIZES.items()}


def _refuse_full_disk(base: BundledBase, disk: Path) -> None:
    """Before anything is fetched: both the file and the converted folder must find room."""
    fetched = 0 if find_model_files(base) else base.weights.size
    needed = fetched + memory_needed(base)[base.float_type] + _BESIDE_WEIGHTS
    if shutil.disk_usage(disk).free < needed:
        hint = f"Free {readable_size(needed)} there; nothing was changed"
        raise EngineError(f"the disk is too full to convert {base.name}", where=str(disk), hint=hint)


def _convert(base: BundledBase, gguf: Path, target: Path, reporter: Reporter) -> None:
    with reporter.stage("convert", unit="tensors") as stage, replacing_folder(target, replace=True) as folder:
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = {"gguf_file": gguf.name, "local_files_only": True}
        kind = torch.float32 if base.float_type == "float32" else torch.bfloat16
        with quiet_libraries(), reading_gguf(stage):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=kind, **place)
        forget_quantisation(model)
        state = model.state_dict()
        if base.tied:
            state["model.embed_tokens.weight"] = state["lm_head.weight"]
            model.config.tie_word_embeddings = True
        if model.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        if base.splits_digits:
            _split_digits(tokenizer)
        tokenizer.save_pretrained(folder)
        # Named as the field names it, not by the training run that the GGUF file remembers.
        own = {"_name_or_path": base.id, "architectures": [type(model).__name__], "_model_name_or_path": None}
        complete_config(folder / "config.json", own)
        stage.advance(0)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _split_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Each digit a piece of its own before the merges, as GGUF's "smollm" rule asks and transformers leaves out."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
