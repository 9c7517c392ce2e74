"""How each format of an adapter is written and read back.

PEFT folders, merged models and GGUF files stand in files of their own; here are the classes that `FORMATS` names.

MLX: what mlx-lm reads, `mlx_lm.generate --adapter-path FOLDER`.

    adapter_config.json     fine_tune_type, num_layers (from the last), lora_parameters {rank, scale, dropout, keys}
    adapters.safetensors    <path>.lora_a (in, rank) and <path>.lora_b (rank, out): peft's matrices transposed

MLX computes  x @ W.T + scale · (x @ lora_a) @ lora_b,  so scale = alpha / rank.
Source: mlx_lm/tuner/utils.py (`load_adapters`) and mlx_lm/tuner/lora.py (`LoRALinear`).

Ollama: a folder for `ollama create adapted -f FOLDER/Modelfile`.

    Modelfile       FROM ./base.gguf, ADAPTER ./adapter.gguf, the prompt template where it is ChatML
    adapter.gguf    as in the format "gguf"
    base.gguf       a copy of the base's own GGUF file, where there is one; else FROM names the base's folder

Ollama reads relative paths from where the Modelfile is, so the folder can be moved.
"""

from __future__ import annotations

import json
import re
import shutil
from abc import abstractmethod
from pathlib import Path

from engine.adapter.check import (
    TOLERANCE,
    Differences,
    as_stored,
    check_merged,
    check_peft_folder,
    logit_difference,
    other_answers,
)
from engine.adapter.export import AdapterWork, Writer
from engine.adapter.formats import ADAPTER_GGUF, BASE_GGUF, MODEL_GGUF, MODELFILE
from engine.adapter.gguf import read_gguf_adapter, write_gguf_adapter
from engine.adapter.merged import largest_difference, write_gguf_merged, write_merged
from engine.adapter.peft_folder import CONFIG_FILE, peft_files, stored, write_files
from engine.base.chat import prompt_text
from engine.errors import EngineError
from engine.events import Stage
from engine.files import read_json
from engine.weights.lora import LoraAdapter

MLX_WEIGHTS_FILE = "adapters.safetensors"

# One user turn as a ChatML template renders it, with or without a system turn of its own.
_CHATML = re.compile(
    r"(?:<\|im_start\|>system\n(?P<system>[^\"]*?)<\|im_end\|>\n)?"
    r"<\|im_start\|>user\nPROMPT<\|im_end\|>\n<\|im_start\|>assistant\n"
)
_TEMPLATE = '''TEMPLATE """{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
PARAMETER stop "<|im_end|>"
'''


class _AdapterFiles(Writer[AdapterWork]):
    """Files that hold the matrices: what is read back is compared with them, as they were stored, on the base."""

    @abstractmethod
    def difference(self, folder: Path, meant: LoraAdapter) -> float:
        """Largest absolute logit difference between what was written and `meant`."""

    def check(self, folder: Path) -> Differences:
        """Also what the float type costs."""
        work, rounding = self.work, 0.0
        meant = as_stored(work.adapter, work.float_type)
        found = self.difference(folder, meant)
        if not found <= TOLERANCE:
            raise other_answers(found)
        if work.float_type != "float32":
            rounding = logit_difference(work.base, meant, work.adapter, work.prompt_ids)
        return Differences(found, rounding)


class PeftFolder(_AdapterFiles):
    """Read back by peft itself."""

    def write(self, folder: Path, stage: Stage) -> None:
        """Config, matrices and their checksums."""
        write_files(folder, peft_files(self.work.adapter, self.work.base_id, float_type=self.work.float_type), {})

    def difference(self, folder: Path, meant: LoraAdapter) -> float:
        """With peft's own way to load a folder."""
        return check_peft_folder(folder, self.work.base, meant, self.work.prompt_ids)


class GgufAdapter(_AdapterFiles):
    """One file for llama.cpp."""

    def write(self, folder: Path, stage: Stage) -> None:
        """The file."""
        work = self.work
        file = folder / ADAPTER_GGUF
        write_gguf_adapter(file, work.adapter, work.config, name=work.name, float_type=work.float_type)

    def difference(self, folder: Path, meant: LoraAdapter) -> float:
        """Of what the `gguf` package reads."""
        work = self.work
        read = read_gguf_adapter(folder / ADAPTER_GGUF, work.config, work.adapter.layout)
        return logit_difference(work.base, read, meant, work.prompt_ids)


class OllamaFolder(GgufAdapter):
    """The GGUF adapter with what Ollama needs beside it."""

    def write(self, folder: Path, stage: Stage) -> None:
        """The adapter, a copy of the base's file, the Modelfile."""
        super().write(folder, stage)
        base, source = self.work.base, self.work.source
        origin = base.ref.folder
        if source.gguf is not None:
            shutil.copyfile(source.gguf, folder / BASE_GGUF)
            origin = f"./{BASE_GGUF}"
        lines = f"FROM {origin}\nADAPTER ./{ADAPTER_GGUF}\n"
        # Of any other template, Ollama has to find it by itself.
        if found := _CHATML.fullmatch(prompt_text(base.tokenizer, "PROMPT")):
            lines += _TEMPLATE + (f'SYSTEM """{found["system"]}"""\n' if found["system"] else "")
        (folder / MODELFILE).write_text(lines, encoding="utf-8")


class MlxFolder(_AdapterFiles):
    """A folder for mlx-lm."""

    def write(self, folder: Path, stage: Stage) -> None:
        """Config and matrices."""
        from safetensors.torch import save

        layout, layers = self.work.adapter.layout, self.work.config.num_hidden_layers
        # Of a kind that is not adapted in every layer, mlx-lm starts the rest with zeros, which change nothing.
        keys = list(dict.fromkeys(_in_its_layer(module.path) for module in layout.modules))
        parameters = {"rank": layout.lora.rank, "scale": layout.lora.scaling, "dropout": 0.0, "keys": keys}
        config = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}
        (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        made = stored(self.work.adapter, self.work.float_type)
        halves = {"lora_a": made.a, "lora_b": made.b}
        tensors = {f"{path}.{half}": m.T.contiguous() for half, of in halves.items() for path, m in of.items()}
        # Its own way to a file hides what the disk reports.
        (folder / MLX_WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "mlx"}))

    def difference(self, folder: Path, meant: LoraAdapter) -> float:
        """Of what `read` reads."""
        return logit_difference(self.work.base, self.read(folder), meant, self.work.prompt_ids)

    def read(self, folder: Path) -> LoraAdapter:
        """The folder's adapter, in float32.

        Raises:
            EngineError: a file is broken, has another rank or scale, or lacks a matrix.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        layout, found = self.work.adapter.layout, read_json(folder / CONFIG_FILE)["lora_parameters"]
        if (found["rank"], found["scale"]) != (layout.lora.rank, layout.lora.scaling):
            raise EngineError(f"is not the adapter that was written: it has {found}", where=str(folder))
        try:
            tensors = load_file(folder / MLX_WEIGHTS_FILE)
            a, b = (
                {module.path: tensors[f"{module.path}.{half}"].float().T.contiguous() for module in layout.modules}
                for half in ("lora_a", "lora_b")
            )
        except (SafetensorError, KeyError) as error:
            raise EngineError(f"is not what was written: {error}", where=str(folder / MLX_WEIGHTS_FILE)) from error
        return LoraAdapter(layout, a, b)


class MergedModel(Writer[AdapterWork]):
    """Loaded anew, and compared with base + adapter; uses the base up."""

    def write(self, folder: Path, stage: Stage) -> None:
        """Weights, config and tokenizer."""
        work = self.work
        self._digests = write_merged(
            folder, work.base, work.adapter, base_id=work.base_id, float_type=work.float_type, stage=stage
        )

    def check(self, folder: Path) -> Differences:
        """Of the files' bytes too."""
        work = self.work
        return check_merged(folder, work.base, work.adapter, work.prompt_ids, self._digests, work.float_type)


class MergedGguf(Writer[AdapterWork]):
    """Read back tensor by tensor: no program here runs it."""

    def write(self, folder: Path, stage: Stage) -> None:
        """The file."""
        work, file = self.work, folder / MODEL_GGUF
        assert work.source.gguf is not None  # refused without
        write_gguf_merged(
            file, work.source.gguf, work.adapter, work.config, name=work.name, float_type=work.float_type, stage=stage
        )

    def check(self, folder: Path) -> Differences:
        """Every tensor."""
        work, file = self.work, folder / MODEL_GGUF
        assert work.source.gguf is not None
        found = largest_difference(file, work.source.gguf, work.adapter, work.config, float_type=work.float_type)
        return Differences(tensors=found)


def _in_its_layer(path: str) -> str:
    """`self_attn.q_proj` of `model.layers.3.self_attn.q_proj`."""
    _, found, rest = path.partition(".layers.")
    number, _, key = rest.partition(".")
    if not found or not number.isdecimal() or not key:
        raise EngineError("mlx-lm adapts modules of the layers only", where=path, hint="Export it as merged")
    return key
