"""What training an adapter begins with, looked at before the heavy imports."""

from __future__ import annotations

from pathlib import Path

from engine.adapter.peft_folder import read_peft_layout
from engine.errors import EngineError
from engine.files import refuse_file, refuse_nested, refuse_occupied
from engine.jobs.sampling import labelled_prompts
from engine.prompts import PromptSet
from engine.requests import NO_ADAPTER, RefineRequest

STATE_FILE = "refine.state.safetensors"
"""In the folder of the adapter that is to be: a run that has not ended. Gone when it has."""
TO_REFINE = "no adapter can be trained"


def prepare_refine(request: RefineRequest) -> PromptSet:
    """The prompts of a request that can be tried.

    Raises:
        EngineError: prompts or adapter cannot be read, there are no answers, `out` is taken, a setting is out of range.
    """
    prompts = labelled_prompts(request.source, request.column, TO_REFINE, label=request.label)
    if request.adapter != NO_ADAPTER:
        read_peft_layout(request.adapter)
        refuse_nested(request.adapter, request.out)
        if request.adapter.resolve() == request.out.resolve():
            hint = "Choose another --out: the adapter that training begins with stays as it is"
            raise EngineError("is the adapter that training begins with", where=str(request.out), hint=hint)
    if not 1 <= request.rank <= 64:
        raise EngineError(f"rank {request.rank} is out of range", where="--rank", hint="Choose 1 to 64")
    if not 0 < request.rate < 1:
        raise EngineError(f"a learning rate of {request.rate:g} cannot be", where="--rate", hint="Choose about 0.002")
    refuse_file(request.out)
    if not is_unfinished(request.out):
        refuse_occupied(request.out, request.replace)
    return prompts


def is_unfinished(out: Path) -> bool:
    """Whether a folder holds nothing but a run that has not ended."""
    return out.is_dir() and [file.name for file in out.iterdir()] == [STATE_FILE]
