"""What a person chooses for almost every job: the models, and the prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TRANSFORMERS, LLAMA_CPP = "transformers", "llama.cpp"
DECODERS = ("auto", TRANSFORMERS, LLAMA_CPP)
"""What writes answers; "auto" is llama.cpp where it answers as transformers does, see `engine.llama_cpp.choice`."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Base model, generator and where they run.

    base: "default", a name of the catalogue (`engine.base.catalog`), a hub id, a folder, or a .gguf file.
    generator: folder of a generator artifact; None is the released one.
    device: "auto", "cpu", "cuda", "cuda:1", "mps".
    dtype: "auto", "float32", "bfloat16", "float16"; of the base model.
    trust_remote_code: run code that comes with a hub model; off unless the person asks for it.
    """

    base: str = "default"
    generator: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class PromptChoice:
    """Which prompts condition the adapter.

    source: a prompt file or a dataset folder.
    column: name of the prompt column; None finds it.
    label: name of the column with the answers; None finds it.
    template: what prompts are made of, such as "Classify: {ticket}", instead of a column.
    text_files: what is a prompt in text files: "lines", "files", or "auto" for what they look like.
    count: how many prompts are sampled; None is what the generator was trained with. Of more, several adapters are
        made and averaged.
    seed: seed of the sampling.
    """

    source: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    count: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ContextChoice:
    """What an adapter is made from, and how.

    made_from: "examples", "instruction", "both", "generator" (the prompts alone), or "auto": examples where there are
        answers, else the instruction that all prompts begin with, else the generator; the generator also where one is
        named.
    context: an instruction, as text or as the name of a text file; None finds one.
    answered: how many rows an adapter is solved from, at most.
    examples: how many answered rows stand in each context, at most.
    held_out: how many answered rows are kept back to check the adapter, at most; 0 checks nothing.
    rank: of the solved matrices, 1 to 64.
    modules: kinds of module that get an update; empty is all that write into the residual stream.
    fit_steps: gradient steps on the answers after solving; None is as many as the measurements found best.
    start: what the solved adapter is added to: "base", "generator" (the generator's adapter of an empty condition), or
        "auto": whichever gives more of the rows' answers, where there are answers and a generator for the base.
    stream_layers: read the base's layers from its files one at a time, also where they would fit into memory.
    """

    made_from: str = "auto"
    context: str | None = None
    answered: int = 32
    examples: int = 8
    held_out: int = 40
    rank: int = 8
    modules: tuple[str, ...] = ()
    fit_steps: int | None = None
    start: str = "auto"
    stream_layers: bool = False
