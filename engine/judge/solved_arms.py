"""Arms of the quality table that are solved from a task's own training rows, and what they are measured against.

Each arm makes its adapter as `generate` does: rows drawn by the seed, planned, solved, a few gradient steps.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapter.peft_folder import peft_files, read_peft_folder, write_files
from engine.errors import EngineError
from engine.files import read_json, replacing_folder, write_json
from engine.prompts import PromptRow
from engine.solver.context import student_rows
from engine.solver.fit import fit, fresh_adapter
from engine.solver.plan import BOTH, EXAMPLES, FEWEST_ANSWERS, INSTRUCTION, ContextPlan, in_turn
from engine.solver.refine import Check, RefineSettings, refine, watched_count
from engine.solver.residual import writer_kinds
from engine.tasks.arms import REFINE_STEPS
from engine.tasks.tasks import Task, TaskRow, read_rows, without_instruction
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

ROWS = 32
"""Training rows of the arms whose name has no number."""
_MOST_STEPS = 10_000
_SECONDS_FILE = "seconds.json"
CURVES = "curves"
"""Folder beside the kept adapters: what the watched rows showed in the training of the refined arms."""


Make = Callable[[ContextPlan, int | None, int], LoraAdapter]
"""What `generate` does with a plan, gradient steps (None is as many as it takes by itself) and a seed."""
Teach = Callable[[str, int, Sequence[str]], Sequence[str]]
"""A teacher's answers to prompts of a task, for a seed; "" where there is none."""


@dataclass
class SolvedArms:
    """Makes the solved arms over `tasks`.

    hidden: the judged rows lost their instruction; then the student's rows lose it too.
    kept: folder of the adapters of the arm `SOLVED`, from which other arms go on, with the seconds they took; other
        processes read them too.
    teach: for the taught arm.
    """

    base: LoadedBase
    tasks: Sequence[Task]
    make: Make
    kept: Path
    hidden: bool = False
    teach: Teach | None = None

    def solved(self, name: str, seed: int, *, count: int = ROWS, steps: int | None = None) -> LoraAdapter:
        """From `count` answered rows of a task. The usual ones are kept: another task is asked with them too."""
        if count != ROWS or steps is not None:
            return self.make(self.answered(name, count, seed), steps, seed)
        folder = self._folder(name, seed)
        if not folder.is_dir():
            began = time.perf_counter()
            adapter = self.make(self.answered(name, count, seed), steps, seed)
            seconds = json.dumps(time.perf_counter() - began)
            with replacing_folder(folder, replace=True) as part:
                write_files(part, peft_files(adapter, self.base.ref.id), {_SECONDS_FILE: seconds})
        return read_peft_folder(folder)[0]

    def _folder(self, name: str, seed: int) -> Path:
        return self.kept / f"{name}-{seed}"

    def plain(self, name: str, seed: int) -> LoraAdapter:
        """A LoRA on the same modules, trained on the same rows for as many seconds as the solved one takes."""
        self.solved(name, seed)
        seconds = float(read_json(self._folder(name, seed) / _SECONDS_FILE))
        plan = self.answered(name, ROWS, seed)
        rows = student_rows(self.base, plan, plan.rows)
        return fit(self.base, self._fresh(seed), rows, _MOST_STEPS, seconds=seconds, seed=seed)

    def refined(self, name: str, seed: int, *, count: int, fresh: bool = False) -> LoraAdapter:
        """Trained on `count` answered rows as `refine` does it: from one solved from 32 of them, or a fresh one."""
        plan = self.answered(name, count, seed)
        if fresh:
            start = self._fresh(seed)
        elif count == ROWS:
            start = self.solved(name, seed)
        else:  # from rows that are trained on, so that none is among the watched ones
            start = self.make(replace(plan, rows=plan.rows[:ROWS]), None, seed)
        rows = student_rows(self.base, plan, plan.rows)
        learned = len(rows) - watched_count(len(rows))
        settings = RefineSettings(
            steps=REFINE_STEPS, seconds=math.inf, seed=seed, start_knows=count == ROWS and not fresh
        )
        looks: list[Check] = []
        adapter = refine(self.base, start, rows[:learned], rows[learned:], settings, on_check=looks.append).adapter
        curve = self.kept.parent / CURVES / f"{name}-{count}-{'nothing' if fresh else 'solved'}-{seed}.json"
        write_json(curve, {"watched": len(rows) - learned, "looks": [vars(look) for look in looks]})
        return adapter

    def _fresh(self, seed: int) -> LoraAdapter:
        """Not of a solved adapter's layout: a generator's start may be in that."""
        layout = derive_layout(self.base.model.config, LoraSpec(8, 8, writer_kinds(self.base.model)))
        return fresh_adapter(layout, seed)

    def answered(self, name: str, count: int, seed: int) -> ContextPlan:
        """Answered training rows of a task. Where instructions are hidden, the teacher reads them all the same."""
        rows = self.rows(name, count, seed)
        common = _instruction(rows)
        if not (self.hidden and common):
            return ContextPlan(EXAMPLES, "a task's training rows", rows, common=common)
        return ContextPlan(BOTH, "a task's training rows", rows, instruction=common)

    def instructed(self, name: str, seed: int) -> LoraAdapter:
        """From prompts of a task and their instruction; no label is read."""
        rows = self.rows(name, ROWS, seed, labelled=False)
        plan = ContextPlan(INSTRUCTION, "a task's training prompts", rows, instruction=_instruction(rows))
        return self.make(plan, None, seed)

    def taught(self, name: str, seed: int) -> LoraAdapter:
        """From a teacher's answers to prompts of a task.

        Raises:
            EngineError: the teacher gave fewer than two answers.
        """
        assert self.teach is not None
        rows = self.rows(name, ROWS, seed, labelled=False)
        texts = self.teach(name, seed, [row.prompt for row in rows])
        answered = [row._replace(references=(text,)) for row, text in zip(rows, texts, strict=True) if text]
        if len(answered) < FEWEST_ANSWERS:
            raise EngineError(f"the teacher gave {len(answered)} whole answers", where=name, hint="Choose another")
        plan = ContextPlan(EXAMPLES, "a teacher's answers", tuple(in_turn(answered, seed)), common=_instruction(rows))
        return self.make(plan, None, seed)

    def rows(self, name: str, count: int, seed: int, *, labelled: bool = True) -> tuple[PromptRow, ...]:
        """`count` training rows of a task, drawn by the seed; of few labels in turn one of each.

        Without labels these are not looked at.
        """
        found = _training_rows(next(task for task in self.tasks if task.name == name))
        drawn = random.Random(f"{seed}/solved/{name}").sample(found, len(found))
        numbered = [
            PromptRow(number, row.prompt, (row.response,) if labelled else ()) for number, row in enumerate(drawn, 1)
        ]
        return tuple(in_turn(numbered[: 4 * count], seed)[:count])

    def examples(self, name: str, seed: int, count: int) -> list[tuple[str, str]]:
        """(prompt, answer) pairs of the rows that the solved arms learn from."""
        shown = without_instruction if self.hidden else str
        return [(shown(row.prompt), row.references[0]) for row in self.rows(name, count, seed)]


def _instruction(rows: Sequence[PromptRow]) -> str:
    """The first paragraph of the prompts, where all begin with the same and go on after it."""
    first = {row.prompt[: len(row.prompt) - len(without_instruction(row.prompt))].strip() for row in rows}
    return first.pop() if len(first) == 1 else ""


@lru_cache(maxsize=64)
def _training_rows(task: Task) -> list[TaskRow]:
    return read_rows(task.train_path)
