"""Which programs take an adapter folder as this program writes it, why one does not, and what to type.

Facts of the consumers, with the places where they can be looked up:

    vLLM        ranks of `--max-lora-rank` (vllm/config/lora.py), plain LoRA only (vllm/lora/peft_helper.py)
    SGLang      PEFT folders by `--lora-paths` (its documentation, "LoRA Serving")
    Ollama      `ADAPTER folder` for GGUF architectures llama and gemma2 (convert/convert.go)
    llama.cpp   GGUF adapters (convert_lora_to_gguf.py makes them of PEFT folders)
    MLX         adapters.safetensors with transposed matrices (mlx-lm)

All of them take matrices of float32 and of float16.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.base.source import BaseSource
from engine.weights.layout import ALL_LINEAR, Layout

_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# As transformers names architectures: where both servers are known to take LoRA on all of ALL_LINEAR.
_SERVED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"})
# Mistral's architecture in a GGUF file is llama.
_OLLAMA = frozenset({"llama", "mistral", "gemma2"})
_ANOTHER_FORM = "this version writes PEFT folders"


@dataclass(frozen=True)
class Verdict:
    """Whether one consumer takes the adapter.

    reason: why, or why not. fix: what to do about a refusal, or before the command works.
    command: to be copied into a shell; None for a refusal.
    """

    consumer: str
    accepts: bool
    reason: str
    fix: str | None = None
    command: str | None = None


def consumers(folder: Path, layout: Layout, base: BaseSource) -> tuple[Verdict, ...]:
    """A verdict of each consumer on the PEFT folder `folder`, those that need least first."""
    path = str(folder.absolute())
    return (
        Verdict("transformers + peft", True, "reads PEFT folders", command=_peft_command(path, base)),
        _server("vLLM", layout, base, vllm_command(base.name, path, layout.lora.rank)),
        _server("SGLang", layout, base, _sglang_command(base.name, path)),
        _ollama(path, layout, base),
        Verdict("llama.cpp", False, f"reads GGUF adapters; {_ANOTHER_FORM}", _gguf_fix(path, base)),
        Verdict(
            "MLX",
            False,
            f"reads adapters of its own form; {_ANOTHER_FORM}",
            "Merge it into the base with peft (merge_and_unload), save that, and convert it with mlx_lm.convert",
        ),
    )


def vllm_command(base: str, folder: str, rank: int) -> str | None:
    """The command by which vLLM serves an adapter of this rank; None when it takes no such rank."""
    largest = next((allowed for allowed in _VLLM_RANKS if allowed >= rank), None)
    if largest is None:
        return None
    modules = shlex.quote(f"adapted={folder}")
    return f"vllm serve {shlex.quote(base)} --enable-lora --max-lora-rank {largest} --lora-modules {modules}"


def _server(name: str, layout: Layout, base: BaseSource, command: str | None) -> Verdict:
    others = [kind for kind in layout.kinds if kind not in ALL_LINEAR]
    if command is None:
        reason = f"takes ranks up to {_VLLM_RANKS[-1]}, this one is {layout.lora.rank}"
        return Verdict(name, False, reason, "Merge it into the base, or use transformers + peft")
    if others:
        reason = f"is not known to take LoRA on {', '.join(others)}"
        return Verdict(name, False, reason, "Merge it into the base, or use transformers + peft")
    if base.is_gguf:
        fix = "Name the hub model or the folder that the file was made from"
        return Verdict(name, False, "serves LoRA on models of the hub's form, this base is a GGUF file", fix)
    if base.architecture is None:
        return Verdict(name, False, *_unknown(base))
    if base.architecture not in _SERVED:
        reason = f"is not known to take LoRA on models of type {base.architecture}"
        return Verdict(name, False, reason, f"Look it up in the list of models that {name} supports")
    return Verdict(name, True, f"reads PEFT folders of rank {layout.lora.rank}", command=command)


def _ollama(path: str, layout: Layout, base: BaseSource) -> Verdict:
    name = "Ollama"
    others = [kind for kind in layout.kinds if kind not in ALL_LINEAR]
    if base.architecture is None:
        return Verdict(name, False, *_unknown(base))
    if base.architecture not in _OLLAMA or others:
        what = f"modules {', '.join(others)}" if others else f"models of type {base.architecture}"
        reason = f"reads no PEFT folder for {what}"
        return Verdict(name, False, reason, f"It reads a GGUF adapter instead. {_gguf_fix(path, base)}")
    if base.local is None:
        fix = f"Have {base.name} on this machine, as a .gguf file or a folder, or in Ollama under a name of its own"
        return Verdict(name, True, "reads PEFT folders", fix)
    # The lines of a Modelfile go to their end: no quotes inside.
    lines = f"printf 'FROM %s\\nADAPTER %s\\n' {shlex.quote(str(base.local))} {shlex.quote(path)}"
    return Verdict(
        name, True, "reads PEFT folders", command=f"{lines} > Modelfile && ollama create adapted -f Modelfile"
    )


def _unknown(base: BaseSource) -> tuple[str, str]:
    reason = f"the architecture of {base.name} is not known here"
    return reason, "Name the base, or export the adapter: that loads it"


def _peft_command(path: str, base: BaseSource) -> str:
    # Strings of JSON are strings of Python, and their double quotes need no escaping in a shell's single ones.
    source = json.dumps(base.name)
    if base.is_gguf:
        file = PurePath(base.name)
        source = f"{json.dumps(str(file.parent))}, gguf_file={json.dumps(file.name)}"
    code = (
        "from peft import PeftModel; from transformers import AutoModelForCausalLM; "
        f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({source}), {json.dumps(path)})"
    )
    return f"python -i -c {shlex.quote(code)}"


def _sglang_command(base: str, folder: str) -> str:
    paths = shlex.quote(f"adapted={folder}")
    return f"python -m sglang.launch_server --model-path {shlex.quote(base)} --enable-lora --lora-paths {paths}"


def _gguf_fix(path: str, base: BaseSource) -> str:
    if base.is_gguf:
        return "Convert it with llama.cpp's convert_lora_to_gguf.py and the model that the base's file was made from"
    option = "--base" if base.local and base.name == str(base.local) else "--base-model-id"
    words = ["python", "convert_lora_to_gguf.py", path, option, base.name]
    return f"Convert it with llama.cpp: {shlex.join(words)}"
