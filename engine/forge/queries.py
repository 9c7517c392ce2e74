"""What generated adapters are asked in a step of training.

By the language loss: rows with or without their instruction, answered by the task's adapter or by another's. By context
distillation: rows, of which the frame reads more than the adapter:

    instruction   frame: instruction and query               adapter: the query      condition: prompts
    answered      frame: instruction, K answered rows, query  adapter: the query      condition: prompts, the K rows
    in sight      frame: instruction and query               adapter: the same       condition: prompts

The frame is the teacher (arXiv 2209.15189). With the instruction in sight it is what the adapter has to leave alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.base.chat import prompts_ids
from engine.forge.recipe import DataRecipe, DistillationRecipe, LanguageLossRecipe
from engine.forge.rows import ANSWERED_ROWS, TaskTokens
from engine.tasks.tasks import without_instruction
from engine.training.packing import TokenRow, take_that_fit, token_rows

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

INSTRUCTION, ANSWERED, IN_SIGHT = "instruction", "answered", "in sight"


def drawn_queries(count: int, settings: LanguageLossRecipe, place: str) -> tuple[list[bool], list[int]]:
    """What `count` tasks are asked at a step, drawn by `place`.

    Returns:
        Which tasks' packs lose their instruction, and which task's adapter answers each task's packs: its own, or, for
        `settings.other_adapter` of those whose instruction is in sight, its neighbour's.
    """
    chance = random.Random(place)
    hidden = [chance.random() < settings.hide_instruction for _ in range(count)]
    other = [chance.random() < settings.other_adapter for _ in range(count)]
    return hidden, [
        neighbour if swap and not without else own
        for own, (neighbour, swap, without) in enumerate(zip(others(count), other, hidden, strict=True))
    ]


def others(count: int) -> list[int]:
    """For each of `count` tasks of a step, which one counts as another."""
    return [(place - 1) % count for place in range(count)]


@dataclass(frozen=True)
class Queries:
    """Rows of one task as the frame (`teacher`) and the adapter (`student`) read them; their answers are the same.

    examples: places of the answered rows in the frame's context and in the condition.
    """

    kind: str
    teacher: tuple[TokenRow, ...]
    student: tuple[TokenRow, ...]
    examples: tuple[int, ...] = ()


def draw_queries(
    base: LoadedBase, tokens: TaskTokens, settings: DistillationRecipe, data: DataRecipe, place: str, kind: str = ""
) -> Queries:
    """Queries of a task that fit one packed sequence, drawn by `place` (seed, stage, step, …).

    Their kind is drawn, too, where `kind` is "".
    """
    chance = random.Random(f"{place}/{tokens.name}/queries")
    drawn = chance.random()
    if not kind:
        rest = drawn - settings.in_sight
        kind = IN_SIGHT if rest < 0 else ANSWERED if rest < settings.answered else INSTRUCTION
    places = list(range(len(tokens.rows)))
    examples: tuple[int, ...] = ()
    if kind == ANSWERED:
        known = places[:ANSWERED_ROWS]
        examples = tuple(chance.sample(known, min(settings.examples, len(known) // 2)))
        places = [each for each in places if each not in examples]
    rows = chance.sample(places, min(data.pack_rows, len(places)))
    fitting = len(take_that_fit([tokens.rows[each] for each in rows], data.pack_tokens))
    rows = rows[:fitting]
    student = tuple((tokens.rows if kind == IN_SIGHT else tokens.hidden)[each] for each in rows)
    if kind != ANSWERED:
        return Queries(kind, tuple(tokens.rows[each] for each in rows), student)
    # The instruction stands before the first of the rows, once.
    shown = [(without_instruction(tokens.prompts[each]), tokens.answers[each]) for each in examples]
    shown[0] = (tokens.prompts[examples[0]], shown[0][1])
    asked = prompts_ids(base.tokenizer, [without_instruction(tokens.prompts[each]) for each in rows], shown)
    return Queries(kind, tuple(token_rows(asked, [tokens.rows[each].answer for each in rows])), student, examples)
