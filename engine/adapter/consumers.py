"""Which programs take an adapter, in which of the formats, why one does not, and what to type.

Facts of the consumers, with the places where they can be looked up:

    vLLM        ranks of `--max-lora-rank` (vllm/config/lora.py), plain LoRA only (vllm/lora/peft_helper.py)
    SGLang      PEFT folders by `--lora-paths` (its documentation, "LoRA Serving")
    Ollama      `ADAPTER folder` for GGUF architectures llama and gemma2 (convert/convert.go), GGUF adapters otherwise
    llama.cpp   GGUF adapters by `--lora` (convert_lora_to_gguf.py makes the same files)
    MLX         adapters.safetensors with transposed matrices (mlx_lm/tuner/utils.py, `load_adapters`)

Each takes all number formats that a form can be written in.

What to type is one shell line, whatever is in the names of the folders. Where a program has an OpenAI-compatible
server, the line starts it; Ollama's is running anyway. `adapted` is the name to ask them for.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from engine.adapter.formats import ADAPTER_GGUF, BASE_GGUF, FORMATS, MODEL_GGUF, MODELFILE, Refusal
from engine.base.source import BaseSource, loader_name
from engine.weights.layout import ALL_LINEAR, Layout

# As transformers names architectures: where both servers are known to take LoRA on all of ALL_LINEAR.
_SERVED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"})
# Mistral's architecture in a GGUF file is llama.
_OLLAMA_PEFT = frozenset({"llama", "mistral", "gemma2"})
# What `vllm serve --max-lora-rank` takes.
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_PROMPT = "Which of these is a colour: run, red or rice?"


@dataclass(frozen=True)
class Verdict:
    """Whether one consumer takes the adapter in the form that is asked about.

    reason: why, or why not. fix: what to do about a refusal, or before the command works; None for a refusal where
        another form is taken (`advice`).
    command: to be copied into a shell; None for a refusal.
    formats: every form in which it takes this adapter, by name; the one that needs least first.
    """

    consumer: str
    accepts: bool
    reason: str
    fix: str | None = None
    command: str | None = None
    formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """An adapter folder, its layout and its base."""

    folder: str
    layout: Layout
    base: BaseSource

    def file(self, name: str) -> str:
        """A file of the folder."""
        return str(PurePath(self.folder, name))


@dataclass(frozen=True)
class _Use:
    """A form is taken."""

    command: str | None
    fix: str | None = None


_Answer = _Use | Refusal
_Answers = Mapping[str, Callable[[_Case], _Answer]]


def consumers(
    folder: PurePath, layout: Layout, base: BaseSource, *, form: str = "peft", archive: Path | None = None
) -> tuple[Verdict, ...]:
    """A verdict of each consumer on the adapter in a form, those that need least first.

    Args:
        folder: where the export is, or will be; goes into the commands as it is.
        form: name of the form in it, of `FORMATS`.
        archive: the zip file that `folder` has to be taken out of first.
    """
    case = _Case(str(folder), layout, base)
    return tuple(_verdict(name, answers, case, form, archive) for name, answers in _CONSUMERS.items())


def _verdict(name: str, answers: _Answers, case: _Case, form: str, archive: Path | None) -> Verdict:
    given: dict[str, _Answer] = {
        each: FORMATS[each].refusal(case.layout, case.base) or answer(case) for each, answer in answers.items()
    }
    formats = tuple(each for each, answer in given.items() if isinstance(answer, _Use))
    title = FORMATS[form].title
    answer = given.get(form)
    if isinstance(answer, _Use):
        rank = f" of rank {case.layout.lora.rank}" if FORMATS[form].holds_adapter else ""
        command = answer.command
        if command and archive:
            command = f"unzip -q {shlex.quote(str(archive))} -d {shlex.quote(str(archive.parent))} && {command}"
        return Verdict(name, True, f"reads {title}s{rank}", answer.fix, command, formats)
    if answer is None:
        *others, last = (f"{FORMATS[each].title}s" for each in answers)
        answer = Refusal(f"reads {', '.join(others)} and {last}, no {title}s", "")
        first = next((each for each in given.values() if isinstance(each, Refusal)), None)
        if first is not None and not formats:
            answer = Refusal(answer.reason, f"{first.reason[0].upper()}{first.reason[1:]}. {first.fix}")
    return Verdict(name, False, answer.reason, None if formats else answer.fix, formats=formats)


def advice(verdict: Verdict, asking_for: Callable[[str], str]) -> str:
    """What to do, if anything: `fix`, or to export the form that the consumer does take.

    Args:
        asking_for: how a form is asked for here, by its name.
    """
    return asking_for(verdict.formats[0]) if verdict.formats and not verdict.accepts else verdict.fix or ""


# -- one function a consumer and form


def _peft(case: _Case) -> _Answer:
    """Python with base and PEFT folder loaded as `model`."""
    # Strings of JSON are strings of Python, and their double quotes need no escaping in a shell's single ones.
    quoted = partial(json.dumps, ensure_ascii=False)
    source = quoted(case.base.name)
    if case.base.is_gguf:
        file = PurePath(case.base.name)
        source = f"{quoted(str(file.parent))}, gguf_file={quoted(file.name)}"
    known = case.base.architecture in _SERVED  # without a look into transformers
    loader = "AutoModelForCausalLM" if known else loader_name(case.base.architecture)
    code = (
        f"from peft import PeftModel; from transformers import {loader}; "
        f"model = PeftModel.from_pretrained({loader}.from_pretrained({source}), {quoted(case.folder)})"
    )
    return _Use(f"python -i -c {shlex.quote(code)}")


def _served(name: str, command: Callable[[_Case], str | None]) -> Callable[[_Case], _Answer]:
    """A server of base and PEFT folder; without a command it does not take the rank."""

    def answer(case: _Case) -> _Answer:
        others = [kind for kind in case.layout.kinds if kind not in ALL_LINEAR]
        line = command(case)
        instead = "Export a merged model, or use transformers + peft"
        if line is None:
            return Refusal(f"takes ranks up to {_VLLM_RANKS[-1]}, this one is {case.layout.lora.rank}", instead)
        if others:
            return Refusal(f"is not known to take LoRA on {', '.join(others)}", instead)
        if case.base.is_gguf:
            fix = "Name the hub model or the folder that the file was made from"
            return Refusal("serves LoRA on models of the hub's form, this base is a GGUF file", fix)
        return _unknown_architecture(name, case.base, _SERVED) or _Use(line)

    return answer


def _vllm(case: _Case) -> str | None:
    rank = next((allowed for allowed in _VLLM_RANKS if allowed >= case.layout.lora.rank), None)
    if rank is None:
        return None
    modules = shlex.quote(f"adapted={case.folder}")
    return f"vllm serve {shlex.quote(case.base.name)} --enable-lora --max-lora-rank {rank} --lora-modules {modules}"


def _sglang(case: _Case) -> str:
    paths = shlex.quote(f"adapted={case.folder}")
    model = shlex.quote(case.base.name)
    return f"python -m sglang.launch_server --model-path {model} --enable-lora --lora-paths {paths}"


def _merged(name: str, before: str, after: str = "") -> Callable[[_Case], _Answer]:
    """A program that takes merged models of the architectures it knows: the folder between two parts of its line."""

    def answer(case: _Case) -> _Answer:
        line = f"{before} {shlex.quote(case.folder)}{after}"
        return _unknown_architecture(name, case.base, _SERVED) or _Use(line)

    return answer


def _unknown_architecture(name: str, base: BaseSource, known: frozenset[str]) -> Refusal | None:
    if base.architecture is None:
        reason = f"the architecture of {base.name} is not known here"
        return Refusal(reason, "Name the base, or export the adapter: that loads it")
    if base.architecture not in known:
        reason = f"is not known to take models of type {base.architecture}"
        return Refusal(reason, f"Look it up in the list of models that {name} supports")
    return None


def _ollama_peft(case: _Case) -> _Answer:
    base = case.base
    others = [kind for kind in case.layout.kinds if kind not in ALL_LINEAR]
    if base.architecture is None:
        return _unknown_architecture("Ollama", base, _OLLAMA_PEFT) or _Use(None)
    if base.architecture not in _OLLAMA_PEFT or others:
        what = f"modules {', '.join(others)}" if others else f"models of type {base.architecture}"
        return Refusal(f"reads no PEFT folder for {what}", "Export a merged model")
    return _ollama_with_base(case, case.folder)


def _ollama_with_base(case: _Case, adapter: str) -> _Answer:
    if case.base.local is None:
        fix = (
            f"Have {case.base.name} on this machine, as a .gguf file or a folder, or in Ollama under a name of its own"
        )
        return _Use(None, fix)
    return _ollama(str(case.base.local), adapter)


def _ollama(model: str, adapter: str | None = None) -> _Use:
    """Make the Ollama model `adapted` of a model, as Ollama reads it, and an adapter."""
    # The lines of a Modelfile go to their end: no quotes inside.
    lines = f"printf 'FROM %s\\n' {shlex.quote(model)}"
    if adapter is not None:
        lines = f"printf 'FROM %s\\nADAPTER %s\\n' {shlex.quote(model)} {shlex.quote(adapter)}"
    return _Use(f"{lines} > Modelfile && ollama create adapted -f Modelfile")


def _llama_cpp(case: _Case) -> _Answer:
    base = case.base.gguf
    fix = None if base else f"Make base.gguf of {case.base.name} with llama.cpp's convert_hf_to_gguf.py first"
    return _Use(_llama_server(str(base or BASE_GGUF), "--lora", case.file(ADAPTER_GGUF)), fix)


def _llama_server(model: str, *more: str) -> str:
    return shlex.join(["llama-server", "-m", model, *more, "--alias", "adapted"])


def _mlx(case: _Case) -> _Answer:
    if case.base.is_gguf:
        fix = "Name the hub model or the folder that the file was made from"
        return Refusal("takes bases of the hub's form, this one is a GGUF file", fix)
    line = f"mlx_lm.generate --model {shlex.quote(case.base.name)} --adapter-path {shlex.quote(case.folder)}"
    return _unknown_architecture("mlx-lm", case.base, _SERVED) or _Use(f"{line}{_ASKED}")


_ASKED = f" --prompt {shlex.quote(_PROMPT)}"
_NAMED = " --served-model-name adapted"
_CONSUMERS: Mapping[str, _Answers] = {
    "transformers + peft": {
        "peft": _peft,
        "merged": lambda case: _Use(f"transformers serve {shlex.quote(case.folder)}"),
    },
    "vLLM": {
        "peft": _served("vLLM", _vllm),
        "merged": _merged("vLLM", "vllm serve", _NAMED),
    },
    "SGLang": {
        "peft": _served("SGLang", _sglang),
        "merged": _merged("SGLang", "python -m sglang.launch_server --model-path", _NAMED),
    },
    "Ollama": {
        "ollama": lambda case: _Use(f"ollama create adapted -f {shlex.quote(case.file(MODELFILE))}"),
        "peft": _ollama_peft,
        "gguf": lambda case: _ollama_with_base(case, case.file(ADAPTER_GGUF)),
        "gguf-merged": lambda case: _ollama(case.file(MODEL_GGUF)),
    },
    "llama.cpp": {
        "gguf": _llama_cpp,
        "gguf-merged": lambda case: _Use(_llama_server(case.file(MODEL_GGUF))),
    },
    "MLX": {
        "mlx": _mlx,
        "merged": _merged("mlx-lm", "mlx_lm.generate --model", _ASKED),
    },
}
