"""What can be seen to be impossible before seconds of imports go by. Light."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from engine.adapter.combine import check_weights
from engine.adapter.foreign import Foreign
from engine.adapter.foreign_gguf import open_foreign_gguf
from engine.adapter.foreign_peft import open_foreign_peft
from engine.adapter.formats import chosen_chain_format, chosen_format
from engine.adapter.kind import adapter_path, known_kind
from engine.adapter.peft_folder import read_peft_layout
from engine.base.catalog import DEFAULT_BASE, means_default_base
from engine.depth.chain import MOVES, chain_place, check_chain_words
from engine.depth.rows import FEWEST_SEARCH_ROWS
from engine.errors import ANOTHER_OUT, EngineError, setting
from engine.files import refuse_file, refuse_folder, refuse_nested, refuse_occupied
from engine.jobs.compared import check_one_chain
from engine.jobs.prompts import TO_SCORE, TO_TRAIN, check_choice, check_context, chosen_prompts, with_labels
from engine.llama_cpp.choice import INSTALL, installed
from engine.prompts import PromptSet
from engine.prompts.answer_sheet import SheetRow, read_sheet
from engine.prompts.places import find_datasets
from engine.requests import (
    NO_ADAPTER,
    ChainChoiceRequest,
    ChainExportRequest,
    ChatRequest,
    CombineRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
    EvaluateRequest,
    ExportRequest,
    GenerateEachRequest,
    GenerateRequest,
    ImportRequest,
    ModelChoice,
    PromptChoice,
    RefineRequest,
    ServeModelRequest,
    SheetRequest,
    TeachRequest,
    TrainingTimeRequest,
    TrainRequest,
)
from engine.tasks.arms import chosen_arms
from engine.tasks.tasks import Task, named_tasks, read_tasks


def prepare_generate(request: GenerateRequest) -> PromptSet:
    """The prompts."""
    refuse_occupied(request.out, request.replace)
    prompts = chosen_prompts(request.prompts)
    check_context(prompts, request.solve, request.models)
    return prompts


def prepare_generate_each(request: GenerateEachRequest) -> dict[str, Path]:
    """The datasets by the names of their adapters."""
    refuse_file(request.out)
    check_choice(request.solve, request.models)
    if len(request.sources) == 1:
        refuse_nested(request.sources[0], request.out)
    return find_datasets(request.sources)


def check_sheet(request: SheetRequest) -> None:
    """Whether the file can be written."""
    refuse_folder(request.out)
    refuse_occupied(request.out, request.replace)


def check_serve_model(request: ServeModelRequest) -> None:
    """Whether there is a llama.cpp, and the adapters are adapters."""
    if not installed():
        raise EngineError("llama.cpp is not installed", hint=INSTALL)
    if not 1 <= request.port <= 65535:
        raise EngineError(f"{request.port} is no port", where=setting("port"), hint="Choose 1024 to 65535")
    for folder in request.adapters:
        read_peft_layout(folder)


def check_chat(request: ChatRequest) -> None:
    """Whether the adapters are adapters, and the chain goes with them."""
    for folder in request.adapters:
        read_peft_layout(folder)
    check_one_chain(request.chain, request.adapters)


def prepare_teach(request: TeachRequest) -> tuple[PromptSet, list[SheetRow]]:
    """The prompts, and the rows of a file that an earlier run began, with what was changed in it since."""
    refuse_folder(request.out)
    if request.out.exists() and request.out.resolve() == request.source.resolve():
        raise EngineError("is the file of the prompts", where=str(request.out), hint=ANOTHER_OUT)
    if request.tries < 0 or request.at_once < 1 or request.timeout <= 0:
        hint = f"Check {setting('tries')}, {setting('at_once')} and {setting('timeout')}"
        raise EngineError("no request can be made so", hint=hint)
    there = None if request.replace else read_sheet(request.out)
    if there is None:
        refuse_occupied(request.out, request.replace)
    return chosen_prompts(request), there or []


def check_evaluate(request: EvaluateRequest) -> None:
    """Whether there are such arms."""
    refuse_file(request.out)
    chosen_arms(request.arms)


def check_export(request: ExportRequest) -> None:
    """Whether there is such a form, and room for it."""
    chosen_format(request.format, request.float_type)
    (refuse_folder if request.zip else refuse_file)(request.target)
    refuse_nested(request.adapter, request.target)
    refuse_occupied(request.target, request.replace)


def check_combine(request: CombineRequest) -> None:
    """Whether weights and names are as many as adapters."""
    check_weights(len(request.adapters), request.factors, request.rank)
    if request.names and len(request.names) != len(request.adapters):
        hint = f"Give one {setting('names')} for each adapter, in their order, or none at all"
        problem = f"{len(request.names)} names do not go with {len(request.adapters)} adapters"
        raise EngineError(problem, where=setting("names"), hint=hint)
    refuse_file(request.out)
    for adapter in request.adapters:
        refuse_nested(adapter, request.out)
    refuse_occupied(request.out, request.replace)


def prepare_import(request: ImportRequest) -> tuple[Literal["peft", "gguf"], Foreign]:
    """What the adapter is, and its reader."""
    refuse_file(request.out)
    opened = _opened_adapter(request)
    if request.source.resolve() == request.out.resolve():
        raise EngineError("is what is imported", where=str(request.out), hint=ANOTHER_OUT)
    refuse_nested(request.source, request.out)
    refuse_occupied(request.out, request.replace)
    return opened


def _opened_adapter(request: ImportRequest) -> tuple[Literal["peft", "gguf"], Foreign]:
    """Its kind, and what its config and header state.

    Raises:
        EngineError: it is no adapter, more than LoRA, broken, or names another base than the one chosen by default.
    """
    kind = known_kind(request.source)
    open_foreign = open_foreign_peft if kind == "peft" else open_foreign_gguf
    foreign: Foreign = open_foreign(adapter_path(request.source))
    _check_named(foreign.named_base, request.models.base, str(request.source))
    return kind, foreign


def _check_named(named: str | None, chosen: str, where: str) -> None:
    """Nothing is fetched because a file names it: the base of an adapter is the default one, or named by the person.

    Raises:
        EngineError: no base was chosen and the adapter names another than the default.
    """
    if chosen != ModelChoice.base or named is None or means_default_base(named):
        return
    hint = (
        f"Choose {setting('base')} {shlex.quote(named[:200])}, or the folder or .gguf file of it; "
        f"{setting('base')} {DEFAULT_BASE.name} takes the default one all the same"
    )
    raise EngineError(f"names {named[:200]} as its base, not {DEFAULT_BASE.hub_id}", where=where, hint=hint)


def check_train(request: TrainRequest) -> None:
    """Whether there is no generator yet."""
    if (request.out / "generator.json").exists():
        raise EngineError("already holds a generator", where=str(request.out), hint=ANOTHER_OUT)


def prepare_measure(request: TrainingTimeRequest) -> PromptSet:
    """The labelled prompts."""
    return with_labels(chosen_prompts(request), TO_TRAIN)


STATE_FILE = "refine.state.safetensors"
"""In the folder of the adapter that is to be: a run that has not ended. Gone when it has."""
TO_REFINE = "no adapter can be trained"


def prepare_refine(request: RefineRequest) -> PromptSet:
    """The prompts of a request that can be tried.

    Raises:
        EngineError: prompts or adapter cannot be read, there are no answers, `out` is taken, a setting is out of range.
    """
    prompts = with_labels(chosen_prompts(request), TO_REFINE)
    if request.adapter != NO_ADAPTER:
        read_peft_layout(request.adapter)
        refuse_nested(request.adapter, request.out)
        if request.adapter.resolve() == request.out.resolve():
            hint = f"{ANOTHER_OUT}: the adapter that training begins with stays as it is"
            raise EngineError("is the adapter that training begins with", where=str(request.out), hint=hint)
    if not 1 <= request.rank <= 64:
        raise EngineError(f"rank {request.rank} is out of range", where=setting("rank"), hint="Choose 1 to 64")
    if not 0 < request.rate < 1:
        problem = f"a learning rate of {request.rate:g} cannot be"
        raise EngineError(problem, where=setting("rate"), hint="Choose about 0.002")
    refuse_file(request.out)
    if not is_unfinished(request.out):
        refuse_occupied(request.out, request.replace)
    return prompts


def is_unfinished(out: Path) -> bool:
    """Whether a folder holds nothing but a run that has not ended."""
    return out.is_dir() and [file.name for file in out.iterdir()] == [STATE_FILE]


class DepthPrompts(NamedTuple):
    """Labelled prompts to search on, and those to judge on; None holds out some of the first."""

    search: PromptSet
    held_out: PromptSet | None


def prepare_depth(request: DepthRequest) -> DepthPrompts:
    """Raises EngineError when the settings are impossible or the prompts cannot be read or have no labels."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, FEWEST_SEARCH_ROWS)
    if request.moves not in MOVES:
        raise EngineError(f"there is no move {request.moves!r}", hint=f"There are: {', '.join(MOVES)}")
    others = replace(request, source=request.held_out) if request.held_out else None
    return DepthPrompts(_labelled(request), _labelled(others) if others else None)


def prepare_depth_oracle(request: DepthOracleRequest) -> PromptSet:
    """Raises EngineError when the settings are impossible or the prompts cannot be read or have no labels."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, 1)
    if request.length_weight < 0:
        raise EngineError("a negative weight of the length would look for ever longer chains", where="length_weight")
    return _labelled(request)


def prepare_depth_table(request: DepthTableRequest) -> list[tuple[Task, DepthPrompts]]:
    """The tasks of a table. Raises EngineError when the settings are impossible or a task cannot be read."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, FEWEST_SEARCH_ROWS)
    tasks = named_tasks(read_tasks(request.tasks, None), request.only, request.tasks)
    parts = ((task, PromptChoice(source=task.train_path), PromptChoice(source=task.test_path)) for task in tasks)
    return [(task, DepthPrompts(_labelled(search), _labelled(held_out))) for task, search, held_out in parts]


def prepare_chain_choice(request: ChainChoiceRequest) -> PromptSet:
    """Raises EngineError when the prompts cannot be read."""
    return chosen_prompts(request)


def check_chain_export(request: ChainExportRequest) -> None:
    """Raises EngineError when there is no such form, no such file, or the chain in words is none."""
    refuse_file(request.out)
    refuse_occupied(request.out, request.replace)
    chosen_chain_format(request.format, with_adapter=request.adapter is not None)
    check_chain_words(request.chain)
    place = chain_place(request.chain)
    if place is not None and place.is_dir() and place.resolve() == request.out.resolve():
        raise EngineError("holds the chain, and would be replaced", where=str(place), hint=ANOTHER_OUT)


def _labelled(chosen: PromptChoice | DepthRequest | DepthOracleRequest) -> PromptSet:
    return with_labels(chosen_prompts(chosen), TO_SCORE)


def _check_size(chains: int, rows: int, fewest_rows: int) -> None:
    if chains < 1:
        hint = f"Take at least 1 with {setting('chains')}"
        raise EngineError(f"a search of {chains} chains finds nothing", hint=hint)
    if rows < fewest_rows:
        hint = f"Take at least {fewest_rows} with {setting('rows')}"
        raise EngineError(f"{rows} rows are too few to search on", hint=hint)
