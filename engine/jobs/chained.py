"""What the jobs on chains are asked for: looked at before the heavy imports too. Light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapter.formats import chosen_chain_format
from engine.depth.chain import LOOP, SKIP, parse_chain
from engine.depth.rows import FEWEST_SEARCH_ROWS
from engine.errors import EngineError
from engine.files import refuse_file, refuse_occupied
from engine.jobs.sampling import TO_SCORE, labelled_prompts
from engine.prompts import read_prompts
from engine.requests import (
    ChainChoiceRequest,
    ChainExportRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
)
from engine.tasks.tasks import Task, named_tasks, read_tasks

if TYPE_CHECKING:
    from engine.base.load import LoadedBase
    from engine.depth.record import ChainRecord

MOVES = {"both": (SKIP, LOOP), "skip": (SKIP,), "loop": (LOOP,)}
"""What the search may do to a chain, by the request's word for it."""

_MOST_LAYERS = 10_000  # more than any base; the base itself is asked once it is there


def check_depth(request: DepthRequest) -> None:
    """Raises EngineError when the settings are impossible or the prompts cannot be read or have no labels."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, FEWEST_SEARCH_ROWS)
    if request.moves not in MOVES:
        raise EngineError(f"there is no move {request.moves!r}", hint=f"There are: {', '.join(MOVES)}")
    labelled_prompts(request.source, request.column, TO_SCORE)
    if request.held_out:
        labelled_prompts(request.held_out, request.column, TO_SCORE)


def check_depth_oracle(request: DepthOracleRequest) -> None:
    """Raises EngineError when the settings are impossible or the prompts cannot be read or have no labels."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, 1)
    if request.length_weight < 0:
        raise EngineError("a negative weight of the length would look for ever longer chains", where="length_weight")
    labelled_prompts(request.source, request.column, TO_SCORE)


def prepare_depth_table(request: DepthTableRequest) -> list[Task]:
    """The tasks of a table. Raises EngineError when the settings are impossible or a task cannot be read."""
    refuse_file(request.out)
    _check_size(request.chains, request.rows, FEWEST_SEARCH_ROWS)
    tasks = named_tasks(read_tasks(request.tasks, None), request.only, request.tasks)
    for task in tasks:
        labelled_prompts(task.train_path, None, TO_SCORE)
        labelled_prompts(task.test_path, None, TO_SCORE)
    return tasks


def check_chain_choice(request: ChainChoiceRequest) -> None:
    """Raises EngineError when the prompts cannot be read."""
    read_prompts(request.source, column=request.column)


def _check_size(chains: int, rows: int, fewest_rows: int) -> None:
    if chains < 1:
        raise EngineError(f"a search of {chains} chains finds nothing", hint="Take at least 1 with --chains")
    if rows < fewest_rows:
        hint = f"Take at least {fewest_rows} with --rows"
        raise EngineError(f"{rows} rows are too few to search on", hint=hint)


def check_chain_export(request: ChainExportRequest) -> None:
    """Raises EngineError when there is no such form, no such file, or the chain in words is none."""
    refuse_file(request.out)
    refuse_occupied(request.out, request.replace)
    chosen_chain_format(request.format, with_adapter=request.adapter is not None)
    check_chain_words(request.chain)
    place = chain_place(request.chain)
    if place is not None and place.is_dir() and place.resolve() == request.out.resolve():
        raise EngineError("holds the chain, and would be replaced", where=str(place), hint="Choose another --out")


def check_chain_words(chain: str) -> None:
    """Raises EngineError when the chain is given in words that are none, whatever base it is for."""
    if chain_place(chain) is None:
        parse_chain(chain, _MOST_LAYERS)


def chain_place(chain: str) -> Path | None:
    """The file or folder that a chain is named by; None when the chain itself is given in words."""
    place = Path(chain)
    words = not set(chain) - set("0123456789-, ")
    # An empty text would be the folder we are in.
    return None if words and (not chain.strip() or not place.exists()) else place


def read_chosen_chain(chain: str, base: LoadedBase, adapter: Path | None) -> ChainRecord:
    """The chain that is named or given in words, as one of `base` with this adapter.

    Raises:
        EngineError: there is none; it belongs to another base or another adapter.
    """
    from engine.depth.record import chain_of, read_chain

    place = chain_place(chain)
    if place is None:
        return chain_of(base.ref, parse_chain(chain, int(base.ref.config.num_hidden_layers)), adapter)
    return read_chain(place, base.ref, adapter)
