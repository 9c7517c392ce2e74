"""Which prompts a comparison answers. Light: asked before the heavy imports too."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs.chained import check_chain_words
from engine.prompts import PromptRow, PromptSet, read_prompts
from engine.prompts.numbered import numbered_prompts
from engine.requests import CompareRequest

# So many rows are read ahead, to know how many there are; beyond, they are read as they are answered.
_READ_AHEAD = 64


def compared_set(request: CompareRequest) -> PromptSet | None:
    """The prompts of `request`, None when it names none and needs none.

    Raises:
        EngineError: none are named and they are needed; they cannot be read.
    """
    if request.prompts is not None:
        return read_prompts(request.prompts.source, column=request.prompts.column)
    if request.texts and (request.adapters or request.chain) and not request.numbers:
        return None
    raise EngineError("no prompts are named", hint="Name a prompt file, or both texts to answer and an adapter")


def check_compared_chain(request: CompareRequest) -> None:
    """Raises EngineError when the chain of `request` cannot be one, or several adapters go with it."""
    if request.chain is None:
        return
    check_chain_words(request.chain)
    if len(request.adapters) > 1:
        problem = f"a chain of layers goes with one adapter at most, not with {len(request.adapters)}"
        raise EngineError(problem, hint="Name the adapter that it was searched with")


def compared_rows(
    request: CompareRequest, prompts: PromptSet | None, reporter: Reporter
) -> tuple[Iterable[PromptRow], int | None]:
    """The rows to answer, and how many they are when that is known without reading a large file to its end.

    Args:
        prompts: what `compared_set` gave.

    Raises:
        EngineError: a row that is asked for by its number is not there.
    """
    texts = [PromptRow(-place, text) for place, text in enumerate(request.texts, 1)]
    if prompts is None or texts or request.numbers:
        numbered = numbered_prompts(prompts, request.numbers, reporter) if prompts and request.numbers else []
        return texts + numbered, len(texts) + len(numbered)
    first = prompts.head(min(request.rows, _READ_AHEAD))
    if len(first) == request.rows or len(first) < _READ_AHEAD:
        return first, len(first)
    return islice(prompts, request.rows), None
