"""A teacher's answers to prompts of tasks, for the quality table: asked once, kept in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from engine.events import Reporter
from engine.jobs.teach import teacher_of
from engine.prompts.answer_sheet import SheetRow, read_sheet, write_sheet
from engine.requests import EvaluateRequest, TeachRequest
from engine.tasks.arms import TAUGHT
from engine.teacher.asking import Asking, TeacherAnswer


def kept_answers(request: EvaluateRequest, reporter: Reporter) -> KeptAnswers | None:
    """Of the teacher of a request, in a folder of its own in the table's; None without a teacher."""
    if request.teacher is None:
        return None
    asked = TeachRequest(
        source=request.tasks,
        out=request.out / TAUGHT,
        teacher=request.teacher,
        max_new_tokens=request.max_new_tokens,
        device=request.models.device,
        dtype=request.models.dtype,
    )
    return KeptAnswers(asked, reporter)


class KeptAnswers:
    """Called with a task, a seed and prompts it returns an answer to each, "" where the teacher gave no whole one.

    Args:
        request: whom to ask, and how; its `out` is the folder, a file of answers for each task and seed.
    """

    def __init__(self, request: TeachRequest, reporter: Reporter) -> None:
        self._request = request
        self._reporter = reporter

    def __call__(self, name: str, seed: int, prompts: Sequence[str]) -> list[str]:
        """Raises EngineError where the teacher cannot be asked."""
        file = self._request.out / f"{name}-{seed}.jsonl"
        known = {row.prompt: row.response for row in read_sheet(file) or []}
        if not set(prompts) <= set(known):
            rows = [SheetRow(prompt) for prompt in prompts]

            def answer(place: int, given: TeacherAnswer) -> None:
                if given.whole:
                    rows[place] = SheetRow(prompts[place], given.text, given.by)
                stage.advance(1)

            with self._reporter.stage("teach", len(prompts), "answers") as stage:
                longest = self._request.max_new_tokens
                self._ask(Asking(prompts, (), longest, None, on_answer=answer, on_wait=lambda: stage.advance(0)))
            write_sheet(file, rows)
            known = {row.prompt: row.response for row in rows}
        return [known[prompt] for prompt in prompts]

    @cached_property
    def _ask(self) -> Callable[[Asking], None]:
        return teacher_of(self._request, self._reporter)
