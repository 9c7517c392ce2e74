"""A folder for `ollama create adapted -f FOLDER/Modelfile`.

    Modelfile       FROM ./base.gguf, ADAPTER ./adapter.gguf, the prompt template where it is ChatML
    adapter.gguf    as `gguf_adapter` writes it
    base.gguf       a copy of the base's own GGUF file, where there is one; else FROM names the base's folder

Ollama reads relative paths from where the Modelfile is, so the folder can be moved.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapter.commands import ADAPTER_GGUF, BASE_GGUF, MODELFILE
from engine.adapter.gguf_adapter import write_gguf_adapter
from engine.base.chat import prompt_text
from engine.base.source import BaseSource
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

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


def write_ollama_files(
    folder: Path, adapter: LoraAdapter, base: LoadedBase, source: BaseSource, *, name: str, float_type: str = "float32"
) -> None:
    """Write all files into an existing folder.

    Args:
        source: where the base is.
        name: what the adapter's file calls itself.
        float_type: of the adapter's matrices, "float32" or "float16".

    Raises:
        EngineError: as `write_gguf_adapter`.
    """
    write_gguf_adapter(folder / ADAPTER_GGUF, adapter, base.model.config, name=name, float_type=float_type)
    origin = base.ref.folder
    if source.gguf is not None:
        shutil.copyfile(source.gguf, folder / BASE_GGUF)
        origin = f"./{BASE_GGUF}"
    lines = f"FROM {origin}\nADAPTER ./{ADAPTER_GGUF}\n"
    (folder / MODELFILE).write_text(lines + chatml_lines(prompt_text(base.tokenizer, "PROMPT")), encoding="utf-8")


def chatml_lines(rendered: str) -> str:
    """TEMPLATE, stop and SYSTEM lines of a Modelfile; empty where Ollama has to find the template by itself.

    Args:
        rendered: the user turn `PROMPT` as the base's chat template writes it, up to the answer.
    """
    found = _CHATML.fullmatch(rendered)
    if found is None:
        return ""
    system = f'SYSTEM """{found["system"]}"""\n' if found["system"] else ""
    return _TEMPLATE + system
