"""The arms of the quality table: ways to answer a task, each with the rule that makes it and what that needs.

What a person may ask for is an arm or a group of arms. Light: read before anything heavy is imported; `judge/arms.py`
makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from engine.errors import EngineError

GENERATED, MULTI_TASK, OTHER_PROMPTS, ORACLE = "generated", "multi_task", "other_prompts", "oracle"
NO_PROMPTS = "no_prompts"
HIDDEN = "hidden_"
"""Before the name of an arm: on queries without the instruction."""
SOLVED, SOLVED_ONLY, SOLVED_OTHER, SOLVED_INSTRUCTION = "solved_32", "solved_only", "solved_other", "solved_instruction"
PLAIN, EXAMPLES_8, TAUGHT = "plain_32", "examples_8", "taught_32"
SOLVED_COUNTS = (8, 32, 128)
REFINED_COUNTS = (32, 128)
REFINE_STEPS = 40
"""Steps of the refined arms, at most: the same on every machine, about a minute on two cores."""

EXAMPLES = 4
"""Worked examples in the prompt of the arm "examples"."""

NEIGHBOURS = 8
"""Library adapters that are mixed in the arm "nearest_mix"."""

NOISE = 0.2
"""Part of the prompts that come from another task in the arm "noisy_prompts"."""

PROMPT_COUNTS = (1, 4, 16, 64, 128)
LORA = "lora:"
"""Before the name of a task: the arm of that task's own adapter in the library."""


class Need(Enum):
    """What an arm is made from besides the base and the task's own rows."""

    GENERATOR = auto()
    """A generator that was made for the base."""
    FRAME = auto()
    """A multi-task adapter: the library's, without a library the generator's."""
    LIBRARY = auto()
    """The folder of `collect`, with adapters of tasks that are not judged."""
    LIBRARY_ROWS = auto()
    """The rows that those adapters were trained on."""
    SEEN_TASK = auto()
    """A task of the library that is neither judged nor the one whose adapter is looked at."""
    TEACHER = auto()
    """Whom to ask for answers."""
    OTHER_TASK = auto()
    """A second judged task."""


@dataclass(frozen=True)
class ArmRule:
    """How an arm is named and made.

    rule: one sentence for the table.
    needs: what has to be there, what is looked for first at the front.
    drawn: something in it is drawn at random, so it is measured once a seed.
    """

    title: str
    rule: str
    needs: tuple[Need, ...] = ()
    drawn: bool = False


_GENERATED = (Need.GENERATOR,)
_BORROWED = (Need.GENERATOR, Need.OTHER_TASK)
_NEAREST = (Need.LIBRARY, Need.LIBRARY_ROWS, Need.GENERATOR)

_TABLE = {
    "base": ArmRule("Base", "the base model alone"),
    "examples": ArmRule(
        f"Base, {EXAMPLES} examples", f"the base model with {EXAMPLES} of the task's labelled training rows as turns"
    ),
    "mean": ArmRule("Mean adapter", "the mean of all library adapters", (Need.LIBRARY,)),
    MULTI_TASK: ArmRule(
        "Multi-task LoRA",
        "one adapter trained on all seen tasks: the library's frame, without a library the generator's",
        (Need.FRAME,),
    ),
    "best_single": ArmRule(
        "Best library LoRA",
        "the library adapter that lowers the loss on training rows of other seen tasks the most, against the "
        "multi-task LoRA; the judged tasks are not looked at",
        (Need.LIBRARY, Need.SEEN_TASK),
    ),
    "nearest": ArmRule(
        "Nearest library LoRA", "the adapter of the seen task whose prompts are most alike (encoder, cosine)", _NEAREST
    ),
    "nearest_mix": ArmRule(
        "Mix of nearest LoRAs", f"the {NEIGHBOURS} nearest adapters, weighted by a softmax of the similarity", _NEAREST
    ),
    "random": ArmRule(
        "Random difference",
        "the generator's frame moved in a random direction, as far as the generated one",
        _GENERATED,
        drawn=True,
    ),
    OTHER_PROMPTS: ArmRule(
        "Generated, other tasks' prompts", "generated from the prompts of another task", _BORROWED, drawn=True
    ),
    GENERATED: ArmRule("Generated", "generated from unlabelled training prompts of the task", _GENERATED, drawn=True),
    ORACLE: ArmRule(
        "Oracle LoRA", "the multi-task LoRA trained further on the task's own labelled training rows", (Need.FRAME,)
    ),
}
_PROMPTS = {
    NO_PROMPTS: ArmRule("Generated, no prompts", "what an empty condition gives: the generator's frame", _GENERATED),
    **{
        f"prompts_{count}": ArmRule(
            f"Generated, {count} prompt{'s' if count > 1 else ''}",
            "from so many prompts of the task, or all there are",
            _GENERATED,
            drawn=True,
        )
        for count in PROMPT_COUNTS
    },
    "no_instruction": ArmRule(
        "Generated, no instruction",
        "generated from the same prompts without their first paragraph",
        _GENERATED,
        drawn=True,
    ),
    "noisy_prompts": ArmRule(
        f"Generated, {NOISE:.0%} noise",
        f"generated from prompts of which {NOISE:.0%} are another task's",
        _BORROWED,
        drawn=True,
    ),
}

_SOLVED = {
    EXAMPLES_8: ArmRule("Base, 8 examples", "the base with 8 of the rows of the solved arms as turns", drawn=True),
    **{
        f"solved_{count}": ArmRule(
            f"Solved, {count} rows",
            f"solved from {count} labelled training rows, then a few gradient steps",
            drawn=True,
        )
        for count in SOLVED_COUNTS
    },
    SOLVED_ONLY: ArmRule(
        "Solved, no gradient steps", "solved from 32 labelled training rows, nothing more", drawn=True
    ),
    PLAIN: ArmRule(
        "Plain LoRA, same seconds", "a LoRA on the same modules, trained on the same 32 rows for as long", drawn=True
    ),
    SOLVED_INSTRUCTION: ArmRule(
        "Solved, instruction", "solved from the instruction and 32 prompts without labels", drawn=True
    ),
    SOLVED_OTHER: ArmRule("Solved, other task's rows", "solved from 32 rows of another task", (Need.OTHER_TASK,), True),
}
_TAUGHT = {
    TAUGHT: ArmRule(
        "Taught, 32 prompts", "solved from a teacher's answers to 32 prompts; no label is read", (Need.TEACHER,), True
    )
}

_REFINED = {
    f"{name}_{count}": ArmRule(
        f"{title}, {count} rows",
        f"{rule}, trained on {count} labelled training rows, a fifth of them watched; {REFINE_STEPS} steps at most",
        drawn=True,
    )
    for name, title, rule in (
        ("refined", "Solved and trained", "solved from 32 rows"),
        ("trained", "Trained from nothing", "a fresh LoRA on the same modules"),
    )
    for count in REFINED_COUNTS
}

ARMS: Mapping[str, ArmRule] = MappingProxyType(_TABLE | _SOLVED | _TAUGHT | _REFINED | _PROMPTS)
"""In the order of the table."""

TABLE_ARMS = tuple(_TABLE)
"""The arms every table names, measured or not."""

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "table": TABLE_ARMS,
        "untrained": tuple(arm for arm in _TABLE if arm != ORACLE),
        "prompts": tuple(_PROMPTS),
        "solved": ("base", *_SOLVED),
        "refined": ("base", SOLVED, *_REFINED),
    }
)
LIBRARY_GROUP = "library"
"""Each adapter of the library as an arm of its own."""

CHOICES = (*GROUPS, LIBRARY_GROUP, *ARMS)
"""What can be asked for."""


def chosen_arms(asked: Sequence[str]) -> list[str]:
    """The arms meant by names of arms and groups, each once, in the order of the table; without any, the table's.

    `LIBRARY_GROUP` stays, as the last.

    Raises:
        EngineError: a name is neither.
    """
    for name in asked:
        if name not in CHOICES:
            raise EngineError(f"there is no arm {name!r}", hint=f"Arms and groups: {', '.join(CHOICES)}")
    wanted = {arm for name in asked or ("table",) for arm in GROUPS.get(name, (name,))}
    return [arm for arm in (*ARMS, LIBRARY_GROUP) if arm in wanted]


def needs_of(arm: str) -> tuple[Need, ...]:
    """What the arm is made from; one of the library's own needs the library."""
    return ARMS[arm].needs if arm in ARMS else (Need.LIBRARY,)


def is_drawn(arm: str) -> bool:
    """Whether the arm is measured once a seed."""
    return arm in ARMS and ARMS[arm].drawn


def arm_title(arm: str) -> str:
    """The arm's name for people."""
    if arm in ARMS:
        return ARMS[arm].title
    if arm.startswith(HIDDEN):
        return f"{arm_title(arm.removeprefix(HIDDEN))}, without the instruction"
    return f"LoRA of {arm.removeprefix(LORA)}" if arm.startswith(LORA) else arm
