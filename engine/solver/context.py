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

from engine.base.chat import answers_ids, prompts_ids
from engine.errors import EngineError
from engine.events import Reporter
from engine.forge.packing import TokenRow, packed_length
from engine.prompts import PromptRow
from engine.solver.plan import INSTRUCTION, ContextPlan, balanced
from engine.solver.solve import ContextRow

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

EXAMPLES_IN_CONTEXT = 8
_GROUPS = 2
# Tokens of a line in which rows share an instruction; longer lines waste attention.
_LINE_TOKENS = 1024

Answers = Callable[[Sequence[str]], Sequence[str]]
"""Prompts as the teacher reads them -> the teacher's own answers."""


@dataclass(frozen=True)
class ContextTokens:
    """What is solved from.

    groups: rows that share a context. examples: how many answered rows stood in each context, at least.
    rows: all student rows, with their answers.
    """

    groups: Sequence[Sequence[ContextRow]]
    examples: int

    @property
    def rows(self) -> list[TokenRow]:
        """The student's rows, in order."""
        return [row.student for group in self.groups for row in group]


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
    rows = _short_enough(base, plan, limit, reporter)
    if plan.kind == INSTRUCTION:
        shown = [plan.shown(row.prompt) for row in rows]
        texts = answers(shown)
        teachers = _tokens(base, shown, texts)
        students = _tokens(base, [plan.query(row.prompt) for row in rows], texts)
        pairs = [ContextRow(*pair) for pair in zip(teachers, students, strict=True)]
        return ContextTokens(_lines(pairs), 0)
    groups, fewest = [], examples
    for own, others in _groups(rows):
        shown_examples = [(plan.shown(row.prompt), row.references[0]) for row in balanced(others, seed)[:examples]]
        texts = [row.references[0] for row in own]
        prompts = [plan.shown(row.prompt) for row in own]
        longest = _longest(base, prompts, texts)
        taken = fitting_examples(base, shown_examples, prompts[longest], len(_answer(base, texts[longest])), limit)
        fewest = min(fewest, len(taken))
        students = _tokens(base, [plan.query(row.prompt) for row in own], texts)
        teachers = _tokens(base, prompts, texts, taken)
        groups.append([ContextRow(*pair) for pair in zip(teachers, students, strict=True)])
    if fewest == 0 and not plan.instruction:
        hint = "Use shorter examples, or another base"
        raise EngineError(f"no example fits before a prompt into the {limit:,} tokens that the base reads", hint=hint)
    if fewest < min(examples, len(rows) - 1):
        reporter.note(f"{fewest} examples a context instead of {examples}: more do not fit, or there are no more")
    return ContextTokens(groups, fewest)


def window(base: LoadedBase) -> int:
    """Tokens that the base reads at once."""
    found = getattr(base.model.config, "max_position_embeddings", None)
    return int(found) if found else 2048


def fitting_examples(
    base: LoadedBase, examples: Sequence[tuple[str, str]], prompt: str, more: int, limit: int
) -> list[tuple[str, str]]:
    """The (prompt, answer) examples, without the longest as long as they, `prompt` and `more` tokens exceed `limit`."""
    taken = list(examples)
    while taken and len(prompts_ids(base.tokenizer, [prompt], taken)[0]) + more > limit:
        taken.remove(max(taken, key=lambda pair: len(pair[0]) + len(pair[1])))
    return taken


def _short_enough(base: LoadedBase, plan: ContextPlan, limit: int, reporter: Reporter) -> list[PromptRow]:
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


def _groups(rows: Sequence[PromptRow]) -> list[tuple[list[PromptRow], list[PromptRow]]]:
    """Each group with the rows of the others, dealt out in turn so that every group has rows of each answer."""
    if len(rows) < 2:
        raise EngineError("examples need at least two answered rows that the base can read")
    groups = [list(rows[start::_GROUPS]) for start in range(_GROUPS)]
    return [(group, [row for other in groups if other is not group for row in other]) for group in groups]


def _lines(pairs: Sequence[ContextRow]) -> list[list[ContextRow]]:
    lines: list[list[ContextRow]] = []
    for pair in pairs:
        if lines and packed_length([*(each.teacher for each in lines[-1]), pair.teacher]) <= _LINE_TOKENS:
            lines[-1].append(pair)
        else:
            lines.append([pair])
    return lines


def _tokens(
    base: LoadedBase, prompts: Sequence[str], answers: Sequence[str], examples: Sequence[tuple[str, str]] = ()
) -> list[TokenRow]:
    asked, told = prompts_ids(base.tokenizer, prompts, examples), answers_ids(base.tokenizer, answers)
    return [TokenRow(tuple(prompt), tuple(answer)) for prompt, answer in zip(asked, told, strict=True)]


def _answer(base: LoadedBase, text: str) -> list[int]:
    return answers_ids(base.tokenizer, [text])[0]


def _longest(base: LoadedBase, prompts: Sequence[str], texts: Sequence[str]) -> int:
    lengths = [len(row) for row in _tokens(base, prompts, texts)]
    return lengths.index(max(lengths))
