"""Which programs take an adapter, in which of the formats, why one does not, and what to type.

Facts of the consumers, with the places where they can be looked up:

    vLLM        ranks of `--max-lora-rank` (vllm/config/lora.py), plain LoRA only (vllm/lora/peft_helper.py)
    SGLang      PEFT folders by `--lora-paths` (its documentation, "LoRA Serving")
    Ollama      `ADAPTER folder` for GGUF architectures llama and gemma2 (convert/convert.go), GGUF adapters otherwise
    llama.cpp   GGUF adapters by `--lora` (convert_lora_to_gguf.py makes the same files)
    MLX         adapters.safetensors with transposed matrices (mlx_lm/tuner/utils.py, `load_adapters`)

Each takes all number formats that a form can be written in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.adapter.commands import (
    ADAPTER_GGUF,
    MODEL_GGUF,
    VLLM_RANKS,
    llama_cpp_command,
    llama_cpp_model_command,
    mlx_command,
    mlx_model_command,
    ollama_command,
    ollama_folder_command,
    peft_command,
    sglang_command,
    sglang_model_command,
    transformers_command,
    unzipped,
    vllm_command,
    vllm_model_command,
)
from engine.adapter.formats import FORMATS, Refusal, refusal
from engine.base.source import BaseSource
from engine.weights.layout import ALL_LINEAR, Layout

# As transformers names architectures: where both servers are known to take LoRA on all of ALL_LINEAR.
_SERVED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"})
# Mistral's architecture in a GGUF file is llama.
_OLLAMA_PEFT = frozenset({"llama", "mistral", "gemma2"})


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
        each: refusal(each, case.layout, case.base) or answer(case) for each, answer in answers.items()
    }
    formats = tuple(each for each, answer in given.items() if isinstance(answer, _Use))
    title = FORMATS[form].title
    answer = given.get(form)
    if isinstance(answer, _Use):
        command = unzipped(answer.command, archive) if answer.command and archive else answer.command
        return Verdict(name, True, _reads(form, case.layout), answer.fix, command, formats)
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


def _reads(form: str, layout: Layout) -> str:
    rank = f" of rank {layout.lora.rank}" if FORMATS[form].holds_adapter else ""
    return f"reads {FORMATS[form].title}s{rank}"


# -- one function a consumer and form


def _served(name: str, command: Callable[[_Case], str | None]) -> Callable[[_Case], _Answer]:
    """A server of base and PEFT folder."""

    def answer(case: _Case) -> _Answer:
        layout, base = case.layout, case.base
        others = [kind for kind in layout.kinds if kind not in ALL_LINEAR]
        line = command(case)
        instead = "Export a merged model, or use transformers + peft"
        if line is None:
            return Refusal(f"takes ranks up to {VLLM_RANKS[-1]}, this one is {layout.lora.rank}", instead)
        if others:
            return Refusal(f"is not known to take LoRA on {', '.join(others)}", instead)
        if base.is_gguf:
            fix = "Name the hub model or the folder that the file was made from"
            return Refusal("serves LoRA on models of the hub's form, this base is a GGUF file", fix)
        unknown = _unknown_architecture(name, base, _SERVED)
        return unknown or _Use(line)

    return answer


def _served_model(name: str, command: Callable[[str], str]) -> Callable[[_Case], _Answer]:
    """A program that takes merged models of the architectures it knows."""

    def answer(case: _Case) -> _Answer:
        return _unknown_architecture(name, case.base, _SERVED) or _Use(command(case.folder))

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


def _ollama_gguf(case: _Case) -> _Answer:
    return _ollama_with_base(case, str(PurePath(case.folder, ADAPTER_GGUF)))


def _ollama_with_base(case: _Case, adapter: str) -> _Answer:
    if case.base.local is None:
        fix = (
            f"Have {case.base.name} on this machine, as a .gguf file or a folder, or in Ollama under a name of its own"
        )
        return _Use(None, fix)
    return _Use(ollama_command(str(case.base.local), adapter))


def _llama_cpp(case: _Case) -> _Answer:
    base = case.base.gguf
    fix = None if base else f"Make base.gguf of {case.base.name} with llama.cpp's convert_hf_to_gguf.py first"
    return _Use(llama_cpp_command(base, case.folder), fix)


def _mlx(case: _Case) -> _Answer:
    if case.base.is_gguf:
        fix = "Name the hub model or the folder that the file was made from"
        return Refusal("takes bases of the hub's form, this one is a GGUF file", fix)
    return _unknown_architecture("mlx-lm", case.base, _SERVED) or _Use(mlx_command(case.base.name, case.folder))


_CONSUMERS: Mapping[str, _Answers] = {
    "transformers + peft": {
        "peft": lambda case: _Use(peft_command(case.folder, case.base)),
        "merged": lambda case: _Use(transformers_command(case.folder)),
    },
    "vLLM": {
        "peft": _served("vLLM", lambda case: vllm_command(case.base.name, case.folder, case.layout.lora.rank)),
        "merged": _served_model("vLLM", vllm_model_command),
    },
    "SGLang": {
        "peft": _served("SGLang", lambda case: sglang_command(case.base.name, case.folder)),
        "merged": _served_model("SGLang", sglang_model_command),
    },
    "Ollama": {
        "ollama": lambda case: _Use(ollama_folder_command(case.folder)),
        "peft": _ollama_peft,
        "gguf": _ollama_gguf,
        "gguf-merged": lambda case: _Use(ollama_command(str(PurePath(case.folder, MODEL_GGUF)))),
    },
    "llama.cpp": {
        "gguf": _llama_cpp,
        "gguf-merged": lambda case: _Use(llama_cpp_model_command(case.folder)),
    },
    "MLX": {
        "mlx": _mlx,
        "merged": _served_model("mlx-lm", mlx_model_command),
    },
}
