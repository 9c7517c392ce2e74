"""The engine from Python: the jobs that people ask for most, as functions.

    load --> models;  read_prompts --> prompts;  solve or generate --> adapter;  compare, export

Each function makes the request that the command line makes and runs it in this process. What is loaded stays in memory
for the next call. All raise `engine.errors.EngineError` with what is wrong and what to do. `on_event` sees the stages
and their progress as they come (`engine.events`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_in
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.events import Event, Reporter
from engine.jobs import run
from engine.jobs.prompts import chosen_prompts, found_context
from engine.prompts import PromptRow, PromptSet
from engine.requests import (
    CompareRequest,
    ContextChoice,
    ExportRequest,
    GenerateRequest,
    LoadRequest,
    ModelChoice,
    PromptChoice,
)
from engine.solver.plan import AUTO, GENERATOR

__all__ = ["Adapter", "Answers", "Prompts", "compare", "export", "generate", "load", "read_prompts", "solve"]

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Prompts:
    """A prompt file or folder, and what was found in it.

    choice: as it was named. found: its rows and columns.
    """

    choice: PromptChoice
    found: PromptSet

    @property
    def column(self) -> str:
        """The prompts' column, in words."""
        return self.found.column

    @property
    def label_column(self) -> str | None:
        """The answers' column, in words; None where there are none."""
        return self.found.label_column

    def head(self, count: int) -> list[PromptRow]:
        """The first `count` prompts, with their answers as `references`."""
        return self.found.head(count)


@dataclass(frozen=True)
class Adapter:
    """An adapter that was made, in a PEFT folder.

    base: the base's id. made_from: "examples", "instruction", "both" or "generator". seconds: by stage.
    verdict: what held-out rows show of it, in one sentence; "" where no rows were kept back.
    scores: mean score of each arm on these rows.
    """

    folder: Path
    base: str
    made_from: str
    seconds: Mapping[str, float]
    verdict: str = ""
    scores: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Answers:
    """Answers of one prompt, by arm: "base", then one for each adapter.

    references: right answers, where they are known. scores: by arm, where there are references.
    """

    prompt: str
    answers: Mapping[str, str]
    references: Sequence[str] = ()
    scores: Mapping[str, float] | None = None


def load(
    base: str = ModelChoice.base,
    *,
    generator: Path | str | None = None,
    device: str = ModelChoice.device,
    dtype: str = ModelChoice.dtype,
    trust_remote_code: bool = False,
    on_event: OnEvent | None = None,
) -> ModelChoice:
    """Load a base model, and a generator where one is named; the result names them for the other functions.

    Args:
        base: "default", a name of the catalogue, a hub id, a folder, or a .gguf file.
        generator: folder of a generator that was made for this base.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto", "float32", "bfloat16", "float16".
        trust_remote_code: run code that comes with a model of the hub.
    """
    folder = None if generator is None else Path(generator)
    models = ModelChoice(base=base, generator=folder, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    _run(LoadRequest(models=models, with_generator=folder is not None), on_event)
    return models


def read_prompts(
    source: Path | str,
    *,
    column: str | None = None,
    label: str | None = None,
    template: str | None = None,
    text_files: str = "auto",
) -> Prompts:
    """Open a prompt file, or a folder of them (`engine.prompts.read_prompts`).

    Args:
        column: the prompt column. label: the column of the answers. None finds them.
        template: what prompts are made of, such as "Classify: {ticket}", instead of a column.
        text_files: what is a prompt in text files: "lines", "files", or "auto" for what they look like.
    """
    choice = PromptChoice(source=Path(source), column=column, label=label, template=template, text_files=text_files)
    return Prompts(choice, chosen_prompts(choice))


def solve(
    models: ModelChoice,
    prompts: Prompts | Path | str,
    out: Path | str,
    *,
    made_from: str = AUTO,
    context: str | None = None,
    settings: ContextChoice | None = None,
    seed: int = 0,
    replace: bool = False,
    on_event: OnEvent | None = None,
) -> Adapter:
    """Solve an adapter from what stands in the prompts: answered examples, an instruction, or both.

    Args:
        out: the adapter's folder.
        made_from: "examples", "instruction", "both"; "auto" takes what is there.
        context: an instruction, as text or as the name of a text file.
        settings: all of how it is solved, in the place of `made_from` and `context`.
        seed: of everything drawn at random.
        replace: replace what is already at `out`.

    Raises:
        EngineError: there are neither answers nor an instruction; the base's layers cannot be matched; `out` is there.
    """
    chosen = settings or ContextChoice(made_from=made_from, context=context)
    read = _read(prompts)
    choice = replace_in(read.choice, seed=seed)
    # A generator that was loaded along is for `generate`; here its adapter may only be what solving starts from.
    if chosen.made_from == AUTO:
        plan = found_context(read.found, choice, chosen, replace_in(models, generator=None), Reporter())
        if plan.kind == GENERATOR:
            hint = "Name an instruction as `context`, or take `generate`"
            raise EngineError("there are neither answers nor an instruction in it", where=str(choice.source), hint=hint)
        chosen = replace_in(chosen, made_from=plan.kind)
    return _made(models, choice, chosen, out, replace, on_event)


def generate(
    models: ModelChoice,
    prompts: Prompts | Path | str,
    out: Path | str,
    *,
    count: int | None = None,
    seed: int = 0,
    replace: bool = False,
    on_event: OnEvent | None = None,
) -> Adapter:
    """Generate an adapter from the prompts alone, in one pass of the base's generator.

    Args:
        count: how many prompts are sampled; None is as many as the generator was trained with.
        out, seed, replace: as in `solve`.

    Raises:
        EngineError: there is no generator for the base.
    """
    choice = replace_in(_read(prompts).choice, seed=seed, count=count)
    return _made(models, choice, ContextChoice(made_from=GENERATOR), out, replace, on_event)


def compare(
    models: ModelChoice,
    prompts: Prompts | Path | str | Sequence[str],
    adapters: Sequence[Adapter | Path | str],
    *,
    rows: int = CompareRequest.rows,
    max_new_tokens: int = CompareRequest.max_new_tokens,
    decoder: str = CompareRequest.decoder,
    on_event: OnEvent | None = None,
) -> list[Answers]:
    """Answers of the base and of each adapter side by side, greedily.

    Args:
        prompts: a prompt set, a file or folder, or a list of texts.
        rows: how many prompts of a set are answered, from the first on.
        max_new_tokens: longest answer.
        decoder: "transformers", "llama.cpp", or "auto": llama.cpp where it is installed and answers sooner.
    """
    texts = tuple(prompts) if isinstance(prompts, list | tuple) else ()
    chosen = None if texts else _read(prompts).choice  # type: ignore[arg-type]
    request = CompareRequest(
        models=models,
        prompts=chosen,
        adapters=tuple(_folder(adapter) for adapter in adapters),
        rows=rows,
        texts=texts,
        max_new_tokens=max_new_tokens,
        decoder=decoder,
    )
    return [
        Answers(row["prompt"], row["answers"], row.get("references") or (), row.get("scores"))
        for row in _run(request, on_event)["rows"]
    ]


def export(
    adapter: Adapter | Path | str,
    out: Path | str,
    *,
    models: ModelChoice | None = None,
    format: str = ExportRequest.format,
    float_type: str = ExportRequest.float_type,
    replace: bool = False,
    on_event: OnEvent | None = None,
) -> Path:
    """Write an adapter in the form that another program reads, read it back and compare; where it lies.

    Args:
        models: the adapter's base, where it is not the default one.
        format: "peft", "merged", "gguf", "gguf-merged", "ollama", "mlx". float_type: "float32", "float16", "bfloat16".
    """
    request = ExportRequest(
        models=models or ModelChoice(),
        adapter=_folder(adapter),
        out=Path(out),
        format=format,
        float_type=float_type,
        replace=replace,
    )
    return Path(_run(request, on_event)["adapter"])


def _made(
    models: ModelChoice,
    prompts: PromptChoice,
    solve: ContextChoice,
    out: Path | str,
    replace: bool,
    on_event: OnEvent | None,
) -> Adapter:
    request = GenerateRequest(models=models, prompts=prompts, solve=solve, out=Path(out), replace=replace)
    data = _run(request, on_event)
    held_out: Mapping[str, Any] = data.get("held_out") or {}
    return Adapter(
        folder=Path(data["adapter"]),
        base=data["base"],
        made_from=data["made_from"],
        seconds=data["seconds"],
        verdict=held_out.get("sentence", ""),
        scores=held_out.get("scores"),
    )


def _run(request: Any, on_event: OnEvent | None) -> Mapping[str, Any]:
    reporter = Reporter(on_event) if on_event else Reporter()
    return run(request, reporter).data


def _read(prompts: Prompts | Path | str) -> Prompts:
    return prompts if isinstance(prompts, Prompts) else read_prompts(prompts)


def _folder(adapter: Adapter | Path | str) -> Path:
    return adapter.folder if isinstance(adapter, Adapter) else Path(adapter)
