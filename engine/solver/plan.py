"""What an adapter can be solved from, found in the prompts before anything is loaded. Light: no tensors here.

    prompts, what the person chose --plan_context--> ContextPlan: the kind of context, its rows, why

Kinds of context:
    examples       answered rows: each row's context is other rows with their answers
    instruction    a text that stands before every prompt, or that the person names: prompts work without it afterwards
    both           the instruction and answered rows
    generator      neither: a generator's adapter, made from the prompts alone
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError, setting
from engine.prompts import PromptRow
from engine.tasks.labels import balanced, few_labels
from engine.tasks.metrics import normalised
from engine.text import shared_start

EXAMPLES, INSTRUCTION, BOTH, GENERATOR = "examples", "instruction", "both", "generator"
KINDS = (EXAMPLES, INSTRUCTION, BOTH, GENERATOR)
AUTO = "auto"
KIND_WORDS = {
    EXAMPLES: "answered examples",
    INSTRUCTION: "an instruction",
    BOTH: "an instruction and answered examples",
    GENERATOR: "the prompts alone, by a generator",
}
"""For people."""

FEWEST_ANSWERS = 2
"""Answered rows that a context of examples needs: one to show, one to learn from."""
MOST_EVEN_LABELS = 8
"""Labels that rows are drawn evenly over; of more labels rows keep their shares."""
FEWEST_TO_CHECK = 10
"""Rows below which none is kept back: two or three held-out rows would show nothing."""
LEAST_INSTRUCTION = 24
"""Characters; a shorter common beginning is no instruction."""
LONGEST_CONTEXT_FILE = 2**20


@dataclass(frozen=True)
class ContextPlan:
    """What an adapter is made from.

    kind: one of `KINDS`.
    reason: why, in a few words for people.
    rows: the rows it is solved from, in the order they are used; prompts as the teacher reads them.
    held_out: answered rows that it is checked on; none of `rows` has such a prompt.
    instruction: what the teacher reads before every prompt and the student does not; "" for examples alone.
    common: what all prompts begin with, where they keep it.
    """

    kind: str
    reason: str
    rows: tuple[PromptRow, ...] = ()
    held_out: tuple[PromptRow, ...] = ()
    instruction: str = ""
    common: str = ""

    @property
    def learned(self) -> tuple[PromptRow, ...]:
        """The rows whose answers are learned; none of an instruction, where the base's own answers are."""
        return () if self.kind == INSTRUCTION else self.rows

    def query(self, prompt: str) -> str:
        """What a person will ask afterwards: the prompt without its instruction, where it begins with that."""
        return without_beginning(prompt, self.instruction)

    def shortened(self, examples: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """(prompt, answer) examples in which what all prompts begin with stands in the first alone."""
        common = self.instruction or self.common
        return [*examples[:1], *((without_beginning(prompt, common), answer) for prompt, answer in examples[1:])]

    def shown(self, prompt: str) -> str:
        """The prompt with its instruction before it, as the teacher reads it."""
        return with_beginning(prompt, self.instruction)


def plan_context(
    rows: Iterable[PromptRow],
    *,
    made_from: str = AUTO,
    context: str | None = None,
    count: int = 32,
    held_out: int = 40,
    seed: int = 0,
    source: str = "",
) -> ContextPlan:
    """Find what an adapter can be solved from, or check that what was chosen is there.

    Args:
        rows: of the whole source, read once.
        made_from: one of `KINDS`, or "auto".
        context: an instruction, as text or as the name of a text file.
        count: how many rows it is solved from, at most.
        held_out: how many rows are kept back to check it, at most.
        seed: of the rows that are drawn.
        source: the name of the prompts, for errors.

    Raises:
        EngineError: what was chosen is not there, with what would help.
    """
    if made_from not in (AUTO, *KINDS):
        raise EngineError(f"an adapter cannot be made from {made_from!r}", hint=f"Choose {', '.join(KINDS)} or auto")
    every = distinct(rows)
    answered = [row for row in every if row.references]
    instruction = read_context(context) if context is not None else common_beginning([row.prompt for row in every])
    kind, reason = _kind(made_from, len(answered), instruction, context is not None)
    if kind in (EXAMPLES, BOTH) and len(answered) < FEWEST_ANSWERS:
        found = "no answered row" if not answered else "one answered row"
        hint = f"Answer a few prompts, for example in a column `response`, or choose {setting('made_from')} instruction"
        raise EngineError(f"there is {found}, examples need at least {FEWEST_ANSWERS}", where=source or None, hint=hint)
    if kind in (INSTRUCTION, BOTH) and not instruction:
        hint = f"Name one with {setting('context')}, as text or as a text file"
        raise EngineError("the prompts do not begin with a common instruction", where=source or None, hint=hint)
    if kind == GENERATOR:
        return ContextPlan(kind, reason)
    common = instruction
    if kind == EXAMPLES and context is None:
        # The queries will come as the rows are: with their instruction.
        instruction = ""
    # An instruction needs no answers: where there are some, they only show what it is worth.
    order = in_turn(every if kind == INSTRUCTION and len(answered) < len(every) else answered, seed)
    kept_back = held_out_count(len(order), count, held_out)
    first = order[: len(order) - kept_back][:count]
    return ContextPlan(kind, reason, tuple(first), tuple(order[len(order) - kept_back :]), instruction, common)


def _kind(made_from: str, answered: int, instruction: str, named: bool) -> tuple[str, str]:
    words = f"{answered:,} answers found"
    if made_from != AUTO:
        return made_from, f"{words}, as chosen" if made_from in (EXAMPLES, BOTH) else "as chosen"
    if answered >= FEWEST_ANSWERS:
        return (BOTH, f"{words}, and an instruction") if named else (EXAMPLES, words)
    if instruction:
        where = "an instruction is named" if named else "every prompt begins with the same instruction"
        return INSTRUCTION, f"no answers found, but {where}"
    return GENERATOR, "no answers and no common instruction found"


def distinct(rows: Iterable[PromptRow]) -> list[PromptRow]:
    """The rows with a prompt, of equal prompts the first that is answered, in file order."""
    kept: dict[str, PromptRow] = {}
    for row in rows:
        key = " ".join(row.prompt.split()).casefold()
        if key and (key not in kept or (row.references and not kept[key].references)):
            kept[key] = row
    return sorted(kept.values(), key=lambda row: row.number)


def held_out_count(there: int, wanted: int, most: int) -> int:
    """How many rows are kept back for the check: what is left over, or a fifth where rows are few."""
    if there < FEWEST_TO_CHECK:
        return 0
    return min(most, max(there - wanted, there // 5))


def in_turn(rows: Sequence[PromptRow], seed: int) -> list[PromptRow]:
    """The rows shuffled; where they have few labels, in turn one of each label, as long as there are any.

    Few are as many as a context can show. Of more, some are usually rare, and rows drawn evenly would show the base
    that they are not.
    """
    labels = few_labels(row.references for row in rows)
    even = 0 < len(labels) <= MOST_EVEN_LABELS
    named = [(normalised(row.references[0]) if even and row.references else "", row) for row in rows]
    return balanced(named, len(rows), seed)


def common_beginning(prompts: Sequence[str]) -> str:
    """The instruction that all prompts begin with, up to a paragraph's, a line's or a sentence's end; "" without one.

    Each prompt has to go on after it. A few prompts (a tenth) may lack it.
    """
    if len(prompts) < 2:
        return ""
    found = _cut(shared_start(prompts), prompts)
    if found:
        return found
    # Rows without the instruction: the beginning that most have.
    starts = Counter(prompt.partition("\n\n")[0] for prompt in prompts if "\n\n" in prompt)
    start, times = starts.most_common(1)[0] if starts else ("", 0)
    return start.strip() if times >= 0.9 * len(prompts) and len(start.strip()) >= LEAST_INSTRUCTION else ""


def _cut(common: str, prompts: Sequence[str]) -> str:
    for end in ("\n\n", "\n", ". ", "? ", ": "):
        beginning = common[: common.rfind(end) + len(end)] if end in common else ""
        goes_on = all(prompt[len(beginning) :].strip() for prompt in prompts)
        if goes_on and len(beginning.strip()) >= LEAST_INSTRUCTION:
            return beginning.strip()
    return ""


def without_beginning(prompt: str, instruction: str) -> str:
    """The prompt without the instruction, where it begins with that and goes on after it."""
    if not instruction or not prompt.startswith(instruction):
        return prompt
    rest = prompt[len(instruction) :].strip()
    return rest or prompt


def with_beginning(prompt: str, instruction: str) -> str:
    """The prompt with the instruction before it, a blank line between; unchanged where it begins with it."""
    return prompt if not instruction or prompt.startswith(instruction) else f"{instruction}\n\n{prompt}"


def read_context(context: str) -> str:
    """The instruction that was named: the text of a file of that name, else the words themselves.

    Raises:
        EngineError: the file is too large or no text, or there is nothing in it.
    """
    path = Path(context)
    try:
        path = path.expanduser()
        named = len(context) < 4096 and "\n" not in context and path.is_file()
    except (OSError, ValueError, RuntimeError):  # no such person's folder, for one
        named = False
    if named:
        if path.stat().st_size > LONGEST_CONTEXT_FILE:
            raise EngineError("is too large for an instruction", where=context, hint="Name a text of at most 1 MB")
        try:
            context = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(f"cannot be read as text: {error}", where=str(path)) from error
    elif path.suffix.lower() in (".txt", ".md") and " " not in context:
        raise EngineError("no such file", where=context, hint="Name a text file, or write the instruction itself")
    text = context.strip()
    if not text:
        raise EngineError("the instruction is empty", where=setting("context"), hint="Write it, or name a text file")
    return text
