"""What can be seen to be impossible before seconds of imports go by. Light."""

from __future__ import annotations

import shlex
from typing import Literal

from engine.adapter.combine import check_weights
from engine.adapter.foreign import Foreign
from engine.adapter.foreign_gguf import open_foreign_gguf
from engine.adapter.foreign_peft import open_foreign_peft
from engine.adapter.formats import chosen_format
from engine.adapter.kind import adapter_path, known_kind
from engine.base.catalog import DEFAULT_BASE, means_default_base
from engine.errors import EngineError
from engine.files import refuse_file, refuse_folder, refuse_nested, refuse_occupied
from engine.jobs.context import check_context
from engine.jobs.sampling import TO_TRAIN, labelled_prompts
from engine.prompts import PromptSet, read_prompts
from engine.prompts.answer_sheet import SheetRow, read_sheet
from engine.requests import (
    CombineRequest,
    EvaluateRequest,
    ExportRequest,
    GenerateRequest,
    ImportRequest,
    ModelChoice,
    SheetRequest,
    TeachRequest,
    TrainingTimeRequest,
    TrainRequest,
)
from engine.tasks.arms import chosen_arms


def prepare_generate(request: GenerateRequest) -> PromptSet:
    """The prompts."""
    refuse_occupied(request.out, request.replace)
    chosen = request.prompts
    prompts = read_prompts(chosen.source, column=chosen.column, label=chosen.label)
    check_context(prompts, request.solve, request.models)
    return prompts


def check_sheet(request: SheetRequest) -> None:
    """Whether the file can be written."""
    refuse_folder(request.out)
    refuse_occupied(request.out, request.replace)


def prepare_teach(request: TeachRequest) -> tuple[PromptSet, list[SheetRow]]:
    """The prompts, and the rows of a file that an earlier run began, with what was changed in it since."""
    refuse_folder(request.out)
    if request.out.exists() and request.out.resolve() == request.source.resolve():
        raise EngineError("is the file of the prompts", where=str(request.out), hint="Choose another --out")
    if request.tries < 0 or request.at_once < 1 or request.timeout <= 0:
        raise EngineError("no request can be made so", hint="Check --tries, --at-once and --timeout")
    there = None if request.replace else read_sheet(request.out)
    if there is None:
        refuse_occupied(request.out, request.replace)
    return read_prompts(request.source, column=request.column, label=request.label), there or []


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
        hint = "Give one --name for each adapter, in their order, or none at all"
        problem = f"{len(request.names)} names do not go with {len(request.adapters)} adapters"
        raise EngineError(problem, where="--name", hint=hint)
    refuse_file(request.out)
    for adapter in request.adapters:
        refuse_nested(adapter, request.out)
    refuse_occupied(request.out, request.replace)


def prepare_import(request: ImportRequest) -> tuple[Literal["peft", "gguf"], Foreign]:
    """What the adapter is, and its reader."""
    refuse_file(request.out)
    opened = _opened_adapter(request)
    if request.source.resolve() == request.out.resolve():
        raise EngineError("is what is imported", where=str(request.out), hint="Choose another --out")
    refuse_nested(request.source, request.out)
    refuse_occupied(request.out, request.replace)
    return opened


def _opened_adapter(request: ImportRequest) -> tuple[Literal["peft", "gguf"], Foreign]:
    """Its kind, and what its config and header say.

    Raises:
        EngineError: it is no adapter, more than LoRA, broken, or names another base than the one chosen by default.
    """
    kind = known_kind(request.source)
    open_foreign = open_foreign_peft if kind == "peft" else open_foreign_gguf
    foreign: Foreign = open_foreign(adapter_path(request.source))
    _check_named(foreign.named_base, request.models.base, str(request.source))
    return kind, foreign


def _check_named(named: str | None, chosen: str, where: str) -> None:
    """Nothing is fetched because a file names it: the base of an adapter is the default one, or said by the person.

    Raises:
        EngineError: no base was chosen and the adapter names another than the default.
    """
    if chosen != ModelChoice.base or named is None or means_default_base(named):
        return
    hint = (
        f"Say --base {shlex.quote(named[:200])}, or the folder or .gguf file of it; "
        f"--base {DEFAULT_BASE.name} takes the default one all the same"
    )
    raise EngineError(f"names {named[:200]} as its base, not {DEFAULT_BASE.hub_id}", where=where, hint=hint)


def check_train(request: TrainRequest) -> None:
    """Whether there is no generator yet."""
    if (request.out / "generator.json").exists():
        raise EngineError("already holds a generator", where=str(request.out), hint="Choose another --out")


def prepare_measure(request: TrainingTimeRequest) -> PromptSet:
    """The labelled prompts."""
    return labelled_prompts(request.source, request.column, TO_TRAIN)
