"""What the jobs on chains are asked for: looked at before the heavy imports too, the prompts read once. Light."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from engine.adapter.formats import chosen_chain_format
from engine.depth.chain import MOVES, chain_place, check_chain_words
from engine.depth.rows import FEWEST_SEARCH_ROWS
from engine.errors import EngineError
from engine.files import refuse_file, refuse_occupied
from engine.jobs.sampling import TO_SCORE, labelled_prompts
from engine.prompts import PromptSet, read_prompts
from engine.requests import (
    ChainChoiceRequest,
    ChainExportRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
)
from engine.tasks.tasks import Task, named_tasks, read_tasks


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
    prompts = _labelled(request.source, request.column)
    return DepthPrompts(prompts, _labelled(request.held_out, request.column) if request.held_out else None)


def prepare_depth_oracle(request: DepthOracleRequest) -> PromptSet:
    """Raises EngineError when the settings are impossible or the prompts cannot be read or have no labels."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, 1)
    if request.length_weight < 0:
        raise EngineError("a negative weight of the length would look for ever longer chains", where="length_weight")
    return _labelled(request.source, request.column)


def prepare_depth_table(request: DepthTableRequest) -> list[tuple[Task, DepthPrompts]]:
    """The tasks of a table. Raises EngineError when the settings are impossible or a task cannot be read."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, FEWEST_SEARCH_ROWS)
    tasks = named_tasks(read_tasks(request.tasks, None), request.only, request.tasks)
    return [(task, DepthPrompts(_labelled(task.train_path), _labelled(task.test_path))) for task in tasks]


def prepare_chain_choice(request: ChainChoiceRequest) -> PromptSet:
    """Raises EngineError when the prompts cannot be read."""
    return read_prompts(request.source, column=request.column)


def check_chain_export(request: ChainExportRequest) -> None:
    """Raises EngineError when there is no such form, no such file, or the chain in words is none."""
    refuse_file(request.out)
    refuse_occupied(request.out, request.replace)
    chosen_chain_format(request.format, with_adapter=request.adapter is not None)
    check_chain_words(request.chain)
    place = chain_place(request.chain)
    if place is not None and place.is_dir() and place.resolve() == request.out.resolve():
        raise EngineError("holds the chain, and would be replaced", where=str(place), hint="Choose another --out")


def _labelled(source: Path, column: str | None = None) -> PromptSet:
    return labelled_prompts(source, column, TO_SCORE)


def _check_size(chains: int, rows: int, fewest_rows: int) -> None:
    if chains < 1:
        raise EngineError(f"a search of {chains} chains finds nothing", hint="Take at least 1 with --chains")
    if rows < fewest_rows:
        hint = f"Take at least {fewest_rows} with --rows"
        raise EngineError(f"{rows} rows are too few to search on", hint=hint)
