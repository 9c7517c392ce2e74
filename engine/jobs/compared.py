"""Which prompts a comparison answers, and what is known of right answers. Light: asked before the heavy imports too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine.depth.chain import check_chain_words
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.jobs.prompts import chosen_prompts
from engine.prompts import PromptRow, PromptSet
from engine.prompts.prompt_set import counted_rows
from engine.prompts.sample import numbered_prompts
from engine.requests import CompareRequest
from engine.tasks.labels import balanced, chosen_metric, few_labels
from engine.tasks.metrics import normalised

# So many rows are read ahead, to know how many there are; beyond, they are read as they are answered.
_READ_AHEAD = 64
# So many rows with answers show enough of the answers of a set.
_KNOWN = 1000


@dataclass(frozen=True)
class KnownAnswers:
    """What the known answers of a set show before anything is answered.

    metric: the one that was asked for, else the one that fits.
    labels: all answers that there are, as `engine.tasks.labels.few_labels` finds them.
    examples: (prompt, answer) pairs of rows that are not answered; None where no examples are asked for.
    """

    metric: str
    labels: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] | None = None


def prepare_compare(request: CompareRequest) -> PromptSet | None:
    """The prompts of `request`, None when it names none and needs none.

    Raises:
        EngineError: none are named and they are needed; they cannot be read; examples are asked for and they have no
            answers; the chain cannot be one, or several adapters go with it.
    """
    prompts = _compared_set(request)
    check_one_chain(request.chain, request.adapters)
    return prompts


def _compared_set(request: CompareRequest) -> PromptSet | None:
    if request.prompts is not None:
        prompts = chosen_prompts(request.prompts)
        if request.examples and prompts.label_column is None:
            problem = "there are no answers in it, so there are no examples for the prompt"
            hint = "Add answers, for example as a column `response`, or leave the examples out"
            raise EngineError(problem, where=str(prompts.source), hint=hint)
        return prompts
    if request.examples:
        raise EngineError("no prompts are named to take examples from", hint="Name a prompt file with answers")
    if request.texts and (request.adapters or request.chain) and not request.numbers:
        return None
    raise EngineError("no prompts are named", hint="Name a prompt file, or both texts to answer and an adapter")


def check_one_chain(chain: str | None, adapters: Sequence[Path]) -> None:
    """Raises EngineError for words that cannot be a chain, and for more adapters than go with one."""
    if chain is None:
        return
    check_chain_words(chain)
    if len(adapters) > 1:
        problem = f"a chain of layers goes with one adapter at most, not with {len(adapters)}"
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


def known_answers(
    request: CompareRequest, prompts: PromptSet | None, rows: Iterable[PromptRow], reporter: Reporter
) -> KnownAnswers:
    """How answers are scored, and the examples for the prompt: from the first rows with answers, one pass.

    Args:
        prompts: what `compared_set` gave.
        rows: what `compared_rows` gave; none of them is among the examples, nor is another row with the same prompt.

    Raises:
        EngineError: examples are asked for, and every row with an answer is answered itself.
    """
    if prompts is None or prompts.label_column is None:
        return KnownAnswers(request.metric or chosen_metric(()))
    # Rows that are read as they are answered are the first of the set: here they are met before all others.
    first = 0 if isinstance(rows, list) else request.rows
    answered = {row.prompt for row in rows} if isinstance(rows, list) else set()
    known: list[tuple[str, ...]] = []
    free: list[PromptRow] = []
    prompted = 0
    # A row that cannot be read is reported when its turn to be answered comes.
    with (
        reporter.stage("read", unit="rows") as stage,
        closing(prompts.every_row()) as all_rows,
        suppress(EngineError),
    ):
        for row in counted_rows(all_rows, stage):
            prompted += bool(row.prompt)
            if request.examples and row.prompt and prompted <= first:
                answered.add(row.prompt)
            if row.prompt and row.references:
                known += [row.references] if len(known) < _KNOWN else []
                free += [row] if request.examples and row.prompt not in answered else []
            if len(known) == _KNOWN and (not request.examples or len(free) >= _KNOWN):
                break
    labels = few_labels(known)
    metric = request.metric or chosen_metric(known)
    if not request.examples:
        return KnownAnswers(metric, labels)
    return KnownAnswers(metric, labels, _examples(request, prompts, free, labels, reporter))


def _examples(
    request: CompareRequest, prompts: PromptSet, free: list[PromptRow], labels: tuple[str, ...], reporter: Reporter
) -> tuple[tuple[str, str], ...]:
    assert request.prompts  # compared_set has seen to it
    if not free:
        problem = "every row with an answer is to be answered itself: none is left as an example for the prompt"
        hint = f"Answer fewer prompts ({setting('rows')}, {setting('numbers')}), or leave the examples out"
        raise EngineError(problem, where=str(prompts.source), hint=hint)
    labelled = [(normalised(row.references[0]) if labels else "", row) for row in free]
    drawn = balanced(labelled, request.examples, request.prompts.seed)
    if len(drawn) < request.examples:
        reporter.note(f"{len(drawn)} of {request.examples} examples: no more rows with answers are left")
    return tuple((row.prompt, row.references[0]) for row in drawn)
