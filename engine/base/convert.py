"""The default base's GGUF file, dequantised once into a folder that transformers loads in a moment.

SmolLM2-135M-Instruct.Q4_1.gguf --(float32)--> CACHE/models/NAME-float32/{model.safetensors, config, tokenizer}
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base.catalog import DEFAULT_BASE
from engine.base.config_file import complete_config, has_rotary_fields
from engine.base.fetch import model_cache, model_files, one_process
from engine.base.gguf import forget_quantisation, reading_gguf
from engine.base.quiet import quiet_libraries
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import replacing_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COMPLETE = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_NEEDED_BYTES = 1_200_000_000  # the safetensors file twice, for a folder that is being replaced


def converted_base() -> Path | None:
    """The converted default base, if it is there; it was put there whole or not at all."""
    folder = model_cache(DEFAULT_BASE, "-float32")
    whole = all((folder / name).is_file() for name in _COMPLETE)
    # What an earlier version converted lacks what other programs look for, and is done again.
    return folder if whole and has_rotary_fields(folder / "config.json") else None


def default_base(reporter: Reporter | None = None) -> Path:
    """The folder of the default base for `from_pretrained`; fetched and converted at first need.

    Raises:
        EngineError: it cannot be fetched, or the disk is too full for the converted copy (about 540 MB).
    """
    reporter = reporter or Reporter()
    ready = converted_base()
    if ready:
        return ready
    gguf = model_files(DEFAULT_BASE, reporter) / DEFAULT_BASE.weights.path
    target = model_cache(DEFAULT_BASE, "-float32")
    with one_process(target, reporter):
        # Another process may have done it while this one waited.
        if not converted_base():
            _convert(gguf, target, reporter)
    return target


def _convert(gguf: Path, target: Path, reporter: Reporter) -> None:
    if shutil.disk_usage(target.parent).free < _NEEDED_BYTES:
        hint = f"Free {_NEEDED_BYTES / 1e9:.1f} GB there; nothing was changed"
        raise EngineError("the disk is too full to convert the default base", where=str(target.parent), hint=hint)
    with reporter.stage("convert", unit="tensors") as stage, replacing_folder(target, replace=True) as folder:
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = {"gguf_file": gguf.name, "local_files_only": True}
        with quiet_libraries(), reading_gguf(stage):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **place)
        forget_quantisation(model)
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        _split_digits(tokenizer)
        tokenizer.save_pretrained(folder)
        _complete(folder / "config.json", type(model).__name__)
        state = model.state_dict()
        if model.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        stage.advance(0)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _complete(config: Path, architecture: str) -> None:
    """Name the model as the field does, not by the training run that the GGUF file remembers; and its architecture."""
    own = {"_name_or_path": DEFAULT_BASE.hub_id, "architectures": [architecture], "_model_name_or_path": None}
    complete_config(config, own)


def _split_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Each digit a piece of its own before the merges, as GGUF's "smollm" rule says and transformers leaves out."""
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
