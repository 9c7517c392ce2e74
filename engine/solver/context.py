"""Rows and their context as tokens: what the teacher reads and what the student reads of each.

    examples       teacher: K answered rows as turns, then the row     student: the row
    instruction    teacher: instruction and query                     student: the query
    both           teacher: K rows, instruction and query             student: the query

Rows are put into groups; the examples of a group are rows of other groups, so no row sees its own answer, and a group's
context is computed once for all its rows. Where a context does not fit into what the base reads, fewer examples are
taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.base.chat import answers_ids, context_window, fitting_examples, prompts_ids
from engine.errors import EngineError
from engine.events import Reporter
from engine.prompts import PromptRow
from engine.solver.matching import ContextRow
from engine.solver.plan import INSTRUCTION, ContextPlan, in_turn
from engine.tasks.labels import few_labels
from engine.tasks.metrics import normalised
from engine.training.packing import TokenRow, take_that_fit, token_rows

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

EXAMPLES_IN_CONTEXT = 8
_GROUPS = 2
# Teacher tokens of a group, its context counted once.
_GROUP_TOKENS = 4096
_FEWEST_ROWS = 4
_IN_SIGHT_EVERY = 2
# Examples of more tokens in all are shortened: a context is read once a group, but its length counts for every row.
_WHOLE_TOKENS = 1024

Answers = Callable[[Sequence[str]], Sequence[str]]
"""Prompts as the teacher reads them -> the teacher's own answers."""


@dataclass(frozen=True)
class ContextTokens:
    """What is solved from.

    groups: rows that share a context; of long rows fewer than there are, since more gain little and each costs time.
    examples: how many answered rows stood in each context, at least.
    rows: all rows as the student reads them, with their answers.
    in_sight: some rows once more, where there is an instruction: the student reads it too. Groups as above.
    """

    groups: Sequence[Sequence[ContextRow]]
    examples: int
    rows: Sequence[TokenRow]
    in_sight: Sequence[Sequence[ContextRow]] = ()

    @property
    def read(self) -> list[Sequence[ContextRow]]:
        """All groups, those with the instruction in sight last."""
        return [*self.groups, *self.in_sight]

    def right(self, hits: Sequence[bool]) -> str:
        """How many rows the teacher answers to the letter, of what it found in `read`, in words; none counts twice."""
        own = hits[: sum(map(len, self.groups))]
        return f"{sum(own)} of {len(own)} answers right"


def context_tokens(
    base: LoadedBase,
    plan: ContextPlan,
    answers: Answers,
    reporter: Reporter,
    *,
    examples: int = EXAMPLES_IN_CONTEXT,
    seed: int = 0,
) -> ContextTokens:
    """The rows of a plan with their context.

    Args:
        answers: asked for rows of an instruction, which need no labels.
        examples: how many answered rows stand in each context, at most.

    Raises:
        EngineError: no row is short enough for the base.
    """
    limit = window(base)
    rows = short_enough(base, plan, limit, reporter)
    if plan.kind == INSTRUCTION:
        shown = [plan.shown(row.prompt) for row in rows]
        texts = answers(shown)
        pairs = _pairs(base, plan, rows, texts, ())
        students = [pair.student for pair in pairs]
        return ContextTokens([pairs], 0, students, [_in_sight(base, plan, rows, texts, pairs)])
    fewest = examples
    groups: list[Sequence[ContextRow]] = []
    in_sight: list[Sequence[ContextRow]] = []
    for own, others in _groups(rows, seed):
        longest = max(map(len, answers_ids(base.tokenizer, [row.references[0] for row in own])))
        before = shown_examples(base, plan, in_turn(others, seed)[:examples])
        taken, _ = fitting_examples(base, [plan.shown(row.prompt) for row in own], before, longest)
        fewest = min(fewest, len(taken))
        texts = [row.references[0] for row in own]
        pairs = _pairs(base, plan, own, texts, taken)
        groups.append(_affordable(pairs))
        if plan.instruction:
            in_sight.append(_affordable(_in_sight(base, plan, own, texts, pairs)))
    if fewest == 0 and not plan.instruction:
        hint = "Use shorter examples, or another base"
        raise EngineError(f"no example fits before a prompt into the {limit:,} tokens that the base reads", hint=hint)
    if fewest < min(examples, len(rows) - 1):
        reporter.note(f"{fewest} examples a context instead of {examples}: more do not fit, or there are no more")
    return ContextTokens(groups, fewest, student_rows(base, plan, rows), in_sight)


def window(base: LoadedBase) -> int:
    """Tokens that the base reads at once."""
    return context_window(base) or 2048


def short_enough(base: LoadedBase, plan: ContextPlan, limit: int, reporter: Reporter) -> list[PromptRow]:
    """The rows of a plan that fit into `limit` tokens with their instruction and answer; others are left out, with a
    warning.

    Raises:
        EngineError: none does.
    """
    lengths = [len(ids) for ids in prompts_ids(base.tokenizer, [plan.shown(row.prompt) for row in plan.rows])]
    answers = [len(ids) for ids in answers_ids(base.tokenizer, [(row.references or ("",))[0] for row in plan.rows])]
    kept = [row for row, *parts in zip(plan.rows, lengths, answers, strict=True) if sum(parts) <= limit]
    if not kept:
        hint = "Use shorter prompts and answers, or another base"
        raise EngineError(f"every row is longer than the {limit:,} tokens that the base reads", hint=hint)
    if len(kept) < len(plan.rows):
        left_out = len(plan.rows) - len(kept)
        reporter.note(f"{left_out} rows are longer than the base reads and are left out", warning=True)
    return kept


def _groups(rows: Sequence[PromptRow], seed: int) -> list[tuple[list[PromptRow], list[PromptRow]]]:
    """Each group with the rows of the others; of few labels every group has rows of each, in turn."""
    if len(rows) < 2:
        raise EngineError("examples need at least two answered rows that the base can read")
    labelled = bool(few_labels(row.references for row in rows))
    # Label by label: rows that take turns would be dealt out a label a group.
    order = sorted(rows, key=lambda row: normalised(row.references[0])) if labelled else rows
    groups = [list(order[start::_GROUPS]) for start in range(_GROUPS)]
    if labelled:
        groups = [in_turn(group, seed) for group in groups]
    return [(group, [row for other in groups if other is not group for row in other]) for group in groups]


def shown_examples(base: LoadedBase, plan: ContextPlan, rows: Sequence[PromptRow]) -> list[tuple[str, str]]:
    """Answered rows as (prompt, answer) pairs: whole, or where that takes too long with what they begin with once."""
    whole = [(plan.shown(row.prompt), row.references[0]) for row in rows]
    size = sum(map(len, prompts_ids(base.tokenizer, [prompt for prompt, _ in whole])))
    return whole if size <= min(_WHOLE_TOKENS, window(base) // 4) else plan.shortened(whole)


def student_rows(base: LoadedBase, plan: ContextPlan, rows: Sequence[PromptRow]) -> list[TokenRow]:
    """Answered rows as they will be asked, without any context."""
    return _tokens(base, [plan.query(row.prompt) for row in rows], [row.references[0] for row in rows])


def _pairs(
    base: LoadedBase,
    plan: ContextPlan,
    rows: Sequence[PromptRow],
    answers: Sequence[str],
    examples: Sequence[tuple[str, str]],
) -> list[ContextRow]:
    teachers = _tokens(base, [plan.shown(row.prompt) for row in rows], answers, examples)
    students = _tokens(base, [plan.query(row.prompt) for row in rows], answers)
    return [ContextRow(*pair) for pair in zip(teachers, students, strict=True)]


def _in_sight(
    base: LoadedBase,
    plan: ContextPlan,
    rows: Sequence[PromptRow],
    answers: Sequence[str],
    pairs: Sequence[ContextRow],
) -> list[ContextRow]:
    """Some of `pairs` once more, with the instruction before the student's query: there the adapter must do no harm."""
    some = slice(None, None, _IN_SIGHT_EVERY)
    students = _tokens(base, [plan.shown(row.prompt) for row in rows[some]], answers[some])
    return [ContextRow(pair.teacher, student) for pair, student in zip(pairs[some], students, strict=True)]


def _affordable(pairs: Sequence[ContextRow]) -> Sequence[ContextRow]:
    """The first pairs, as many as the budget of a group allows; four at least."""
    fitting = take_that_fit([pair.teacher for pair in pairs], _GROUP_TOKENS)
    return pairs[: max(_FEWEST_ROWS, len(fitting))]


def _tokens(
    base: LoadedBase, prompts: Sequence[str], answers: Sequence[str], examples: Sequence[tuple[str, str]] = ()
) -> list[TokenRow]:
    return token_rows(prompts_ids(base.tokenizer, prompts, examples), answers_ids(base.tokenizer, answers))
