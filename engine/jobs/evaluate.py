"""The quality table: the arms of a request measured, written, recorded; answers of its teacher are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from engine.base.load import LoadedBase
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.files import write_json, write_text
from engine.forge.card import generator_card
from engine.forge.library import Library, open_library
from engine.generator.artifact import record_history
from engine.jobs.results import Result
from engine.jobs.solve import make_adapter, start_of
from engine.jobs.teach import teacher_of
from engine.judge.arms import Bench
from engine.judge.evaluate import JudgedTask, evaluate_arms
from engine.judge.report import as_markdown, as_svg
from engine.judge.table import BITS, QualityTable
from engine.pipeline import Pipeline, load_chosen_base, load_pipeline
from engine.prompts.answer_sheet import SheetRow, read_sheet, write_sheet
from engine.requests import ContextChoice, EvaluateRequest, TeachRequest
from engine.solver.plan import ContextPlan
from engine.tasks.arms import TAUGHT, arm_title
from engine.tasks.tasks import (
    SharedPassages,
    Task,
    named_tasks,
    read_rows,
    read_tasks,
    shared_passages,
    without_instruction,
)
from engine.teacher.asking import Asking, TeacherAnswer
from engine.weights.lora import LoraAdapter
from engine.workers import join_workers


def evaluate_job(request: EvaluateRequest, reporter: Reporter) -> Result:
    """The quality table of a generator on tasks of one split."""
    tasks, judged = _judged(request, reporter)
    base, pipeline, lacking = _models(request, reporter)
    library = _library(request, pipeline)
    arms, unmeasured = _bench(request, tasks, base, pipeline, lacking, library, reporter).arms()
    known, main = _trained_on(pipeline, library), join_workers().is_main
    shared = _warn_of_what_is_known(request, tasks, known, reporter) if main else []
    table = evaluate_arms(
        base,
        arms,
        judged,
        out=request.out,
        rows=request.rows,
        max_new_tokens=request.max_new_tokens,
        batch=request.batch,
        settings={
            "generator": pipeline.about["sha256"] if pipeline else None,
            "count": request.count or (pipeline.generator.spec.condition.prompts if pipeline else None),
            "seed": request.seed,
            # Only where it is so: folders written before there was the choice go on.
            **({"hide_instruction": True} if request.hide_instruction else {}),
        },
        reporter=reporter,
        unmeasured=unmeasured,
    )
    if not main:
        return Result({}, ())
    table = replace(table, hide_instruction=request.hide_instruction, shared=shared)
    _write(request.out, table)
    if request.record and pipeline:
        _record(pipeline, table, request)
    lines = ((arm_title(arm), _summary(table, arm)) for arm in table.arms)
    return Result(table.to_json(), (*lines, ("table", str(request.out / "table.md"))))


def _models(request: EvaluateRequest, reporter: Reporter) -> tuple[LoadedBase, Pipeline | None, str]:
    """The base, and what makes generated adapters for it; or None and why there is nothing."""
    try:
        pipeline = load_pipeline(request.models, reporter)
    except EngineError as error:
        if request.models.generator is not None or request.library is not None or request.record:
            raise
        # Solved arms need none. What is wrong with the base itself is raised again.
        return load_chosen_base(request.models, reporter), None, error.problem
    return pipeline.base, pipeline, ""


def _library(request: EvaluateRequest, pipeline: Pipeline | None) -> Library | None:
    if request.library is None or pipeline is None:
        return None
    library = open_library(request.library)
    if library.frame.layout.digest != pipeline.generator.frame.layout.digest:
        raise EngineError("was collected for another layout than the generator's", where=str(library.folder))
    return library


def _bench(
    request: EvaluateRequest,
    tasks: Sequence[Task],
    base: LoadedBase,
    pipeline: Pipeline | None,
    no_generator: str,
    library: Library | None,
    reporter: Reporter,
) -> Bench:
    quiet, start = reporter.quiet(), start_of(base, request.models)

    def make(plan: ContextPlan, steps: int | None, seed: int) -> LoraAdapter:
        return make_adapter(base, plan, ContextChoice(fit_steps=steps), seed, quiet, start).adapter

    generator, encoder = (pipeline.generator, pipeline.encoder) if pipeline else (None, None)
    teach = kept_answers(request, quiet)
    return Bench(request, tasks, base, make, teach, generator, encoder, no_generator, library, reporter)


def _trained_on(pipeline: Pipeline | None, library: Library | None) -> dict[str, Mapping[str, str]]:
    """What generator and library have met in training: hashes of the rows by task name."""
    if pipeline is None:
        return {}
    known: dict[str, Mapping[str, str]] = {"generator": pipeline.about["history"].get("tasks", {})}
    return known | ({"library": library.trained_on} if library else {})


def _warn_of_what_is_known(
    request: EvaluateRequest, tasks: Sequence[Task], known: Mapping[str, Mapping[str, str]], reporter: Reporter
) -> list[SharedPassages]:
    """Judged tasks, and texts of theirs, that generator or library have met in training, as `known` has it."""
    judged = {task.name for task in tasks}
    for what, met in known.items():
        if trained := sorted(judged & set(met)):
            reporter.note(f"the {what} was trained on {len(trained)} of these tasks, as {trained[0]}", warning=True)
    digests = {name: digest for met in known.values() for name, digest in met.items()}
    shared = _shared_passages(request, tasks, digests)
    if shared:
        most = shared[0]
        reporter.note(
            f"training rows of {len({pair.trained for pair in shared})} tasks share passages with judged rows, as "
            f"{most.rows} of {most.of} rows of {most.trained} with {most.judged}: see the table",
            warning=True,
        )
    return shared


def _summary(table: QualityTable, arm: str) -> str:
    mean, bits = table.mean(arm), table.mean(arm, BITS)
    if mean is None:
        return f"not measured: {table.missing(arm)}"
    return f"{mean:.3f}" + ("" if bits is None else f", {bits:.3f} bits per byte")


def _write(out: Path, table: QualityTable) -> None:
    write_json(out / "table.json", table.to_json())
    write_text(out / "table.md", as_markdown(table))
    write_text(out / "table.svg", as_svg(table))


def _record(pipeline: Pipeline, table: QualityTable, request: EvaluateRequest) -> None:
    means = {arm: mean for arm in table.arms if (mean := table.mean(arm)) is not None}
    bits = {arm: mean for arm in table.arms if (mean := table.mean(arm, BITS)) is not None}
    how = {"split": request.split, "tasks": len(table.tasks), "rows": request.rows, "seed": request.seed}
    scores = {**how, "seeds": request.seeds, "means": means, "bits_per_byte": bits}
    generator = pipeline.generator.with_history(scores=scores)
    record_history(pipeline.folder, generator.spec.history, generator_card(generator))


def _judged(request: EvaluateRequest, reporter: Reporter) -> tuple[list[Task], list[JudgedTask]]:
    """The tasks judged, and the same with their rows as they are asked."""
    if request.hide_instruction and request.record:
        problem = "a generator's card has the table of whole prompts"
        raise EngineError(problem, hint=f"Leave out {setting('record')} or {setting('hide_instruction')}")
    found = named_tasks(read_tasks(request.tasks, request.split), request.only, request.tasks)
    rows = {task.name: [(row.prompt, row.references) for row in read_rows(task.test_path)] for task in found}
    if request.hide_instruction:
        asked = {name: [(without_instruction(prompt), answers) for prompt, answers in rows[name]] for name in rows}
        found = [task for task in found if asked[task.name] != rows[task.name]]
        if not found:
            raise EngineError("no task's prompts have a first paragraph to leave out", where=str(request.tasks))
        if left := len(rows) - len(found):
            reporter.note(f"{left} tasks whose prompts are one paragraph are left out")
        rows = asked
    return found, [JudgedTask(t.name, t.metric, rows[t.name], t.source, t.digest) for t in found]


def _shared_passages(request: EvaluateRequest, tasks: Sequence[Task], known: Mapping[str, str]) -> list[SharedPassages]:
    """What rows of the tasks in `known`, so far as the task folder has them, share with the judged rows."""
    judged = {task.name: [row.text for row in read_rows(task.test_path)[: request.rows]] for task in tasks}
    there = [task for task in read_tasks(request.tasks, None) if known.get(task.name) == task.digest]
    others = (task for task in there if task.name not in judged)
    return shared_passages(((task.name, [row.text for row in read_rows(task.train_path)]) for task in others), judged)


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
