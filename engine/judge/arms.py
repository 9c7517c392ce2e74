"""The arms of the quality table, made: by name, what answers a task; or why there is nothing to make it from.

rule and needs (`engine.tasks.arms`) --(what a request gives)--> `Arm`, or the first need that is not met
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

from engine.base.chat import fitting_examples
from engine.base.load import LoadedBase
from engine.condition import TextEncoder
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.forge.library import Library
from engine.forge.oracle import Budget, Oracle
from engine.forge.recipe import data_of_history
from engine.generator.generator import Generator
from engine.judge.evaluate import Arm, JudgedTask
from engine.judge.library_arms import LibraryArms, prompt_embedding
from engine.judge.prompt_arms import PromptArms, other_task
from engine.judge.solved_arms import Make, SolvedArms, Teach
from engine.prompts import read_prompts, sample_prompts
from engine.requests import EvaluateRequest
from engine.tasks.arms import (
    EXAMPLES,
    EXAMPLES_8,
    GENERATED,
    LIBRARY_GROUP,
    LORA,
    MULTI_TASK,
    NO_PROMPTS,
    ORACLE,
    OTHER_PROMPTS,
    PLAIN,
    PROMPT_COUNTS,
    REFINED_COUNTS,
    SOLVED,
    SOLVED_COUNTS,
    SOLVED_INSTRUCTION,
    SOLVED_ONLY,
    SOLVED_OTHER,
    TAUGHT,
    Need,
    chosen_arms,
    is_drawn,
    needs_of,
)
from engine.tasks.tasks import SEEN, Task, read_rows, read_tasks, without_instruction
from engine.weights.frame import Frame
from engine.weights.lora import LoraAdapter
from engine.weights.storage import frame_digest


@dataclass
class Bench:
    """What the arms of a request are made from; nothing is computed before it is asked for.

    tasks: the judged ones.
    make, teach: see `SolvedArms`; without a teacher `teach` is None.
    generator, encoder: where there are none, `no_generator` explains why; then there is no library either.
    """

    request: EvaluateRequest
    tasks: Sequence[Task]
    base: LoadedBase
    make: Make
    teach: Teach | None
    generator: Generator | None
    encoder: TextEncoder | None
    no_generator: str
    library: Library | None
    reporter: Reporter

    def arms(self) -> tuple[dict[str, Arm], dict[str, str]]:
        """The arms that are asked for and can be made, the dearest last; and why the others cannot."""
        names = chosen_arms(self.request.arms)
        if names[-1] == LIBRARY_GROUP and not self._missing(Need.LIBRARY):
            names[-1:] = [f"{LORA}{name}" for name in self.of_library.names]
        names.sort(key=lambda name: name == ORACLE)
        reasons = {name: next(filter(None, map(self._missing, needs_of(name))), "") for name in names}
        made = {name: self._made(name) for name in names if not reasons[name]}
        return made, {name: reason for name, reason in reasons.items() if reason}

    def _made(self, name: str) -> Arm:
        """With its seeds, and the settings that what it needs brings along."""
        arm = MAKERS[name](self) if name in MAKERS else _of_library(self, name.removeprefix(LORA))
        first = self.request.seed
        seeds = range(first, first + self.request.seeds) if is_drawn(name) else (first,)
        brought = {key: value for need in needs_of(name) for key, value in self._settings(need).items()}
        return replace(arm, seeds=seeds, settings={**arm.settings, **brought})

    def _missing(self, need: Need) -> str:
        """Why there is not what some arm needs; empty where it is there."""
        match need:
            case Need.GENERATOR | Need.FRAME:
                return self.no_generator
            case Need.LIBRARY if self.library is None:
                return "needs a LoRA library"
            case Need.LIBRARY if not self.of_library.names:
                return "it holds judged tasks only"
            case Need.LIBRARY_ROWS:
                lost = sorted(set(self.of_library.names) - {task.name for task in self.of_library.seen})
                return f"the rows of {lost[0]} are not in the task folder as the library knew them" if lost else ""
            case Need.SEEN_TASK:
                others = {task.name for task in self.of_library.seen} - self.of_library.judged
                enough = others and len(others | set(self.of_library.names)) > 1
                return "" if enough else "there is no other seen task to choose it on"
            case Need.TEACHER if self.teach is None:
                return "needs a teacher"
            case Need.OTHER_TASK if len(self.tasks) < 2:
                return "there is only one task"
        return ""

    def _settings(self, need: Need) -> Mapping[str, Any]:
        """What the answers of an arm with this need depend on."""
        match need:
            case Need.FRAME:
                return {"frame": frame_digest(self.frame)[:12]}
            case Need.LIBRARY:
                assert self.library is not None
                return {"library": digest_json([self.library.about, self.of_library.names])[:12]}
            case Need.TEACHER:
                return {"teacher": self.request.teacher}
            case Need.OTHER_TASK:  # which of them stands in for another depends on all of them
                return {"tasks": digest_json([task.name for task in self.tasks])[:12]}
        return {}

    def task(self, name: str) -> Task:
        """The judged task of that name."""
        return next(task for task in self.tasks if task.name == name)

    def fitting(self, task: JudgedTask, examples: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of some (prompt, answer) examples that leave room for the task's rows."""
        asked = [prompt for prompt, _ in task.rows]
        return fitting_examples(self.base, asked, examples, self.request.max_new_tokens)[0]

    @cached_property
    def prompts(self) -> PromptArms:
        """What makes arms from prompts."""
        assert self.generator is not None and self.encoder is not None
        count = self.request.count or self.generator.spec.condition.prompts
        return PromptArms(self.generator, self.encoder, self.tasks, count)

    @cached_property
    def solved(self) -> SolvedArms:
        """What makes arms from a task's own rows."""
        kept, hidden = self.request.out / SOLVED, self.request.hide_instruction
        return SolvedArms(self.base, self.tasks, self.make, kept, hidden, self.teach)

    @cached_property
    def of_library(self) -> LibraryArms:
        """What makes arms from the library; its seen tasks are those whose rows it was collected from."""
        assert self.library is not None
        known: Mapping[str, str] = self.library.about["tasks"]
        try:
            tasks = read_tasks(self.request.tasks, SEEN)
        except EngineError:  # no task of that split
            tasks = []
        seen = [task for task in tasks if task.name in known and task.digest == known[task.name]]
        return LibraryArms(self.library, seen, frozenset(task.name for task in self.tasks))

    @cached_property
    def frame(self) -> Frame:
        """Around the multi-task adapter. A generator that was trained along with its frame has moved its own."""
        assert self.generator is not None
        return self.library.frame if self.library else self.generator.frame


def draw_examples(task: Task, seed: int, shown: Callable[[str], str] = str) -> list[tuple[str, str]]:
    """`EXAMPLES` labelled training rows of a task, drawn by the seed, as (prompt, answer).

    Args:
        shown: of a training row's prompt, what of it is shown.
    """
    rows = read_rows(task.train_path)
    drawn = random.Random(f"{seed}/examples/{task.name}").sample(rows, min(EXAMPLES, len(rows)))
    return [(shown(row.prompt), row.response) for row in drawn]


def _base(bench: Bench) -> Arm:
    return Arm(lambda task, seed: None)


def _examples(bench: Bench) -> Arm:
    request = bench.request
    shown = without_instruction if request.hide_instruction else str

    def examples(task: JudgedTask, seed: int) -> list[tuple[str, str]]:
        return bench.fitting(task, draw_examples(bench.task(task.name), request.seed, shown))

    return Arm(lambda task, seed: None, examples=examples)


def _examples_8(bench: Bench) -> Arm:
    def examples(task: JudgedTask, seed: int) -> list[tuple[str, str]]:
        return bench.fitting(task, bench.solved.examples(task.name, seed, 8))

    return Arm(lambda task, seed: None, examples=examples)


def _same(make: Callable[[], LoraAdapter]) -> Arm:
    """One adapter for every task: the same object, so that it stays attached."""
    made = cache(make)
    return Arm(lambda task, seed: made())


def _of_library(bench: Bench, name: str) -> Arm:
    return _same(partial(bench.of_library.adapter, name))


def _generated(make: Callable[[PromptArms, str, int], LoraAdapter]) -> Callable[[Bench], Arm]:
    return lambda bench: Arm(lambda task, seed: make(bench.prompts, task.name, seed))


def _prompts(count: int | None = None) -> Callable[[Bench], Arm]:
    return _generated(lambda arms, name, seed: arms.generate(arms.texts(name, seed, count)))


def _solved(make: Callable[[SolvedArms, str, int], LoraAdapter]) -> Callable[[Bench], Arm]:
    return lambda bench: Arm(lambda task, seed: make(bench.solved, task.name, seed), uses_base=True)


def _refined(count: int, fresh: bool = False) -> Callable[[Bench], Arm]:
    return _solved(partial(SolvedArms.refined, count=count, fresh=fresh))


def _best_single(bench: Bench) -> Arm:
    arms, request = bench.of_library, bench.request
    chosen: list[LoraAdapter] = []

    def prepare(left: Sequence[JudgedTask]) -> dict[str, float]:
        choice = arms.best_single(bench.base, request.seed, request.out / "best_single.json", bench.reporter)
        bench.reporter.note(f"the best library LoRA on other seen tasks is that of {choice.name}")
        chosen[:] = [arms.adapter(choice.name)]
        return {task.name: choice.seconds / len(bench.tasks) for task in left}

    return Arm(lambda task, seed: chosen[0], prepare=prepare)


def _nearest(make: Callable[[LibraryArms, Any], LoraAdapter]) -> Callable[[Bench], Arm]:
    def arm(bench: Bench) -> Arm:
        arms, prompts = bench.of_library, bench.prompts
        tokens, seed = prompts.generator.spec.condition.tokens, bench.request.seed

        def prepare(left: Sequence[JudgedTask]) -> dict[str, float]:
            texts = {
                task.name: sample_prompts(read_prompts(task.train_path, column="prompt"), prompts.count, seed).texts
                for task in arms.seen
                if task.name in arms.names
            }
            before = bench.reporter.timings.get("embed prompts", 0.0)
            arms.embed(texts, prompts.encoder, tokens, bench.reporter)
            spent = bench.reporter.timings["embed prompts"] - before
            return {task.name: spent / len(left) for task in left}

        def adapter(task: JudgedTask, seed: int) -> LoraAdapter:
            encoded = prompts.encoder.encode(prompts.texts(task.name, seed), tokens)
            return make(arms, prompt_embedding(encoded))

        return Arm(adapter, prepare=prepare)

    return arm


def _oracle(bench: Bench) -> Arm:
    assert bench.generator is not None
    request, hidden = bench.request, bench.request.hide_instruction
    oracle = Oracle(
        bench.base,
        bench.frame,
        data_of_history(bench.generator.spec.history.get("recipe", {})),
        Budget(request.oracle_steps),
        request.out / ORACLE,
        digest_json([bench.base.ref.fingerprint, frame_digest(bench.frame), *(["hidden"] if hidden else [])]),
        request.seed,
        hidden,
    )
    return Arm(
        lambda task, seed: oracle.adapter(bench.task(task.name)),
        prepare=lambda left: oracle.train([bench.task(task.name) for task in left], bench.reporter),
        settings=oracle.budget.to_json(),
    )


MAKERS: Mapping[str, Callable[[Bench], Arm]] = {
    "base": _base,
    "examples": _examples,
    "mean": lambda bench: _same(bench.of_library.mean),
    MULTI_TASK: lambda bench: _same(lambda: bench.frame.base_adapter),
    "best_single": _best_single,
    "nearest": _nearest(LibraryArms.nearest),
    "nearest_mix": _nearest(LibraryArms.mix),
    "random": _generated(PromptArms.random),
    OTHER_PROMPTS: _generated(lambda arms, name, seed: arms.generate(arms.others(name, seed))),
    GENERATED: _prompts(),
    ORACLE: _oracle,
    EXAMPLES_8: _examples_8,
    **{f"solved_{count}": _solved(partial(SolvedArms.solved, count=count)) for count in SOLVED_COUNTS},
    SOLVED_ONLY: _solved(partial(SolvedArms.solved, steps=0)),
    PLAIN: _solved(SolvedArms.plain),
    SOLVED_INSTRUCTION: _solved(SolvedArms.instructed),
    SOLVED_OTHER: _solved(lambda arms, name, seed: arms.solved(other_task(arms.tasks, name, seed), seed)),
    TAUGHT: _solved(SolvedArms.taught),
    **{f"refined_{count}": _refined(count) for count in REFINED_COUNTS},
    **{f"trained_{count}": _refined(count, fresh=True) for count in REFINED_COUNTS},
    NO_PROMPTS: _generated(lambda arms, name, seed: arms.generator.generate(None)),
    **{f"prompts_{count}": _prompts(count) for count in PROMPT_COUNTS},
    "no_instruction": _generated(
        lambda arms, name, seed: arms.generate([without_instruction(text) for text in arms.texts(name, seed)])
    ),
    "noisy_prompts": _generated(PromptArms.noisy),
}
"""By name, as in `engine.tasks.arms.ARMS`; the adapters of the library have no names of their own."""
