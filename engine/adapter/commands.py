"""What to type to use an export in a program: one shell line each, whatever is in the names of the folders.

Where a program has an OpenAI-compatible server, the line starts it: `vllm serve`, `sglang.launch_server`,
`transformers serve`, `llama-server`; Ollama's is running anyway. `adapted` is the name to ask them for.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path, PurePath

from engine.base.source import BaseSource

ADAPTER_GGUF = "adapter.gguf"
"""File name of a GGUF adapter in its folder."""
MODEL_GGUF = "model.gguf"
"""File name of a merged GGUF model in its folder."""
BASE_GGUF = "base.gguf"
"""File name of the base's copy in an Ollama folder."""
MODELFILE = "Modelfile"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `vllm serve --max-lora-rank` takes."""

_PROMPT = "Which of these is a colour: run, red or rice?"


def peft_command(folder: str, base: BaseSource) -> str:
    """Python with base and PEFT folder loaded as `model`."""
    # Strings of JSON are strings of Python, and their double quotes need no escaping in a shell's single ones.
    source = _quoted(base.name)
    if base.is_gguf:
        file = PurePath(base.name)
        source = f"{_quoted(str(file.parent))}, gguf_file={_quoted(file.name)}"
    code = (
        "from peft import PeftModel; from transformers import AutoModelForCausalLM; "
        f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({source}), {_quoted(folder)})"
    )
    return f"python -i -c {shlex.quote(code)}"


def transformers_command(folder: str) -> str:
    """A server for a merged model; its name there is the folder."""
    return shlex.join(["transformers", "serve", folder])


def vllm_command(base: str, folder: str, rank: int) -> str | None:
    """A server for base and PEFT folder; None when vLLM takes no adapter of this rank."""
    largest = next((allowed for allowed in VLLM_RANKS if allowed >= rank), None)
    if largest is None:
        return None
    modules = shlex.quote(f"adapted={folder}")
    return f"vllm serve {shlex.quote(base)} --enable-lora --max-lora-rank {largest} --lora-modules {modules}"


def vllm_model_command(folder: str) -> str:
    """A server for a merged model."""
    return f"vllm serve {shlex.quote(folder)} --served-model-name adapted"


def sglang_command(base: str, folder: str) -> str:
    """A server for base and PEFT folder."""
    paths = shlex.quote(f"adapted={folder}")
    return f"python -m sglang.launch_server --model-path {shlex.quote(base)} --enable-lora --lora-paths {paths}"


def sglang_model_command(folder: str) -> str:
    """A server for a merged model."""
    return f"python -m sglang.launch_server --model-path {shlex.quote(folder)} --served-model-name adapted"


def ollama_command(model: str, adapter: str | None = None) -> str:
    """Make the Ollama model `adapted` of a model, as Ollama reads it, and an adapter."""
    # The lines of a Modelfile go to their end: no quotes inside.
    lines = f"printf 'FROM %s\\n' {shlex.quote(model)}"
    if adapter is not None:
        lines = f"printf 'FROM %s\\nADAPTER %s\\n' {shlex.quote(model)} {shlex.quote(adapter)}"
    return f"{lines} > Modelfile && ollama create adapted -f Modelfile"


def ollama_folder_command(folder: str) -> str:
    """Make the Ollama model `adapted` of an Ollama folder."""
    return f"ollama create adapted -f {shlex.quote(str(PurePath(folder, MODELFILE)))}"


def llama_cpp_command(base: Path | None, folder: str) -> str:
    """A server for the base's GGUF file and a GGUF adapter; without the file, for one of the name `base.gguf`."""
    model = str(base) if base else BASE_GGUF
    return shlex.join(
        ["llama-server", "-m", model, "--lora", str(PurePath(folder, ADAPTER_GGUF)), "--alias", "adapted"]
    )


def llama_cpp_model_command(folder: str) -> str:
    """A server for a merged GGUF model."""
    return shlex.join(["llama-server", "-m", str(PurePath(folder, MODEL_GGUF)), "--alias", "adapted"])


def mlx_command(base: str, folder: str) -> str:
    """An answer of base and MLX adapter folder."""
    return shlex.join(["mlx_lm.generate", "--model", base, "--adapter-path", folder, "--prompt", _PROMPT])


def mlx_model_command(folder: str) -> str:
    """An answer of a merged model."""
    return shlex.join(["mlx_lm.generate", "--model", folder, "--prompt", _PROMPT])


def unzipped(command: str, archive: Path) -> str:
    """`command` after the archive's folder was taken out beside it."""
    return f"unzip -q {shlex.quote(str(archive))} -d {shlex.quote(str(archive.parent))} && {command}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
