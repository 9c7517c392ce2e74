"""The quality table of a generator: which arms can be made from what is there, measured, written, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.base.load import LoadedBase
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json, write_json, write_text
from engine.forge.card import generator_card
from engine.forge.library import Library, open_library
from engine.forge.recipe import recipe_from_json
from engine.generator.artifact import record_history
from engine.jobs.results import Result
from engine.jobs.solve import make_adapter, start_of
from engine.jobs.taught import kept_answers
from engine.judge.evaluate import Arm, JudgedTask, evaluate_arms
from engine.judge.library_arms import LibraryArms, prompt_embedding
from engine.judge.oracle import Budget, Oracle
from engine.judge.overlap import SharedPassages, shared_passages
from engine.judge.plot import as_svg
from engine.judge.prompt_arms import PromptArms
from engine.judge.report import as_markdown
from engine.judge.solved_arms import SolvedArms
from engine.judge.table import BITS, QualityTable
from engine.pipeline import Pipeline, load_chosen_base, load_pipeline
from engine.prompts import read_prompts, sample_prompts
from engine.requests import ContextChoice, EvaluateRequest
from engine.solver.plan import ContextPlan
from engine.tasks.arms import (
    ARMS,
    EXAMPLES_8,
    LIBRARY_GROUP,
    LORA,
    MULTI_TASK,
    ORACLE,
    SOLVED,
    SOLVED_OTHER,
    TAUGHT,
    arm_title,
    chosen_arms,
    is_drawn,
)
from engine.tasks.examples import draw_examples, fitting_examples
from engine.tasks.tasks import SEEN, Task, TaskRow, named_tasks, read_rows, read_tasks, without_instruction
from engine.weights.frame import Frame
from engine.weights.lora import LoraAdapter
from engine.weights.storage import frame_digest
from engine.workers import join_workers


def evaluate_job(request: EvaluateRequest, reporter: Reporter) -> Result:
    """The quality table of a generator on tasks of one split."""
    tasks, judged = _judged(request, reporter)
    base, pipeline, lacking = _models(request, reporter)
    bench = _Bench(request, tasks, base, pipeline, lacking, reporter)
    arms, unmeasured = bench.arms()
    shared = _warn_of_what_is_known(bench, reporter) if join_workers().is_main else []
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
            "count": bench.count,
            "seed": request.seed,
            # Only where it is so: folders written before there was the choice go on.
            **({"hide_instruction": True} if request.hide_instruction else {}),
        },
        reporter=reporter,
        unmeasured=unmeasured,
    )
    if not join_workers().is_main:
        return Result({}, ())
    table = replace(table, hide_instruction=request.hide_instruction, shared=shared)
    _write(request.out, table)
    if request.record and pipeline:
        _record(pipeline, table, request)
    lines = ((arm_title(arm), _told(table, arm)) for arm in table.arms)
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


def _warn_of_what_is_known(bench: _Bench, reporter: Reporter) -> list[SharedPassages]:
    """Judged tasks, and texts of theirs, that generator or library have met in training."""
    judged, known = {task.name for task in bench.tasks}, bench.trained_on()
    for what, tasks in known.items():
        if trained := sorted(judged & set(tasks)):
            reporter.note(f"the {what} was trained on {len(trained)} of these tasks, as {trained[0]}", warning=True)
    shared = bench.shared_passages({name: digest for tasks in known.values() for name, digest in tasks.items()})
    if shared:
        most = shared[0]
        reporter.note(
            f"training rows of {len({pair.trained for pair in shared})} tasks share passages with judged rows, as "
            f"{most.rows} of {most.of} rows of {most.trained} with {most.judged}: see the table",
            warning=True,
        )
    return shared


def _told(table: QualityTable, arm: str) -> str:
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
        problem = "a generator's card tells the table of whole prompts"
        raise EngineError(problem, hint="Leave out --record or --hide-instruction")
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


def _text(row: TaskRow) -> str:
    """What a row is about: its instruction is that of all rows."""
    return f"{without_instruction(row.prompt)} {row.response}"


@dataclass
class _Bench:
    """Puts the arms of a request together; nothing is computed before it is asked for."""

    request: EvaluateRequest
    tasks: Sequence[Task]
    base: LoadedBase
    pipeline: Pipeline | None
    lacking: str
    reporter: Reporter

    def arms(self) -> tuple[dict[str, Arm], dict[str, str]]:
        """The arms that are asked for and can be made, the dearest last; and why the others cannot."""
        makers: dict[str, Arm] = {**self._plain(), **self._solved()}
        reasons = {SOLVED_OTHER: "there is only one task"} if len(self.tasks) < 2 else {}
        if self.request.teacher is None:
            reasons[TAUGHT] = "needs --teacher"
        if self.pipeline is None:
            reasons |= {arm: self.lacking for arm, rule in ARMS.items() if rule.generator}
            reasons |= dict.fromkeys((MULTI_TASK, ORACLE), self.lacking)
        else:
            makers |= self._trained(self.pipeline) | self._generated(self._prompts(self.pipeline))
            reasons |= self._prompts(self.pipeline).unmeasured()
        if self.pipeline and self._library:
            from_library, without = self._from_library(self.pipeline, self._library)
            makers, reasons = {**makers, **from_library}, {**reasons, **without}
        else:
            needing = [arm for arm, rule in ARMS.items() if rule.library] + [LIBRARY_GROUP]
            reasons |= dict.fromkeys(needing, "needs --library")
        asked = chosen_arms(self.request.arms)
        names = [arm for arm in asked if arm != LIBRARY_GROUP]
        if LIBRARY_GROUP in asked:
            names += [arm for arm in makers if arm.startswith(LORA)] or [LIBRARY_GROUP]
        names.sort(key=lambda arm: arm == ORACLE)
        unmeasured = {arm: reasons[arm] for arm in names if arm in reasons}
        return {arm: self._seeded(arm, makers[arm]) for arm in names if arm not in reasons}, unmeasured

    @property
    def count(self) -> int | None:
        """How many prompts condition a generated adapter."""
        return self.request.count or (self.pipeline.generator.spec.condition.prompts if self.pipeline else None)

    def _prompts(self, pipeline: Pipeline) -> PromptArms:
        return PromptArms(pipeline.generator, pipeline.encoder, self.tasks, self.count or 1)

    def _task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)

    def _seeded(self, name: str, arm: Arm) -> Arm:
        first = self.request.seed
        return replace(arm, seeds=range(first, first + self.request.seeds) if is_drawn(name) else (first,))

    def _plain(self) -> dict[str, Arm]:
        """Without any adapter: the base, and the base with examples."""
        hidden, seed = self.request.hide_instruction, self.request.seed

        def examples(task: JudgedTask, _: int) -> list[tuple[str, str]]:
            prompts = [prompt for prompt, _ in task.rows]
            shown = without_instruction if hidden else str
            return draw_examples(self.base, self._task(task.name), prompts, seed, self.request.max_new_tokens, shown)

        return {"base": Arm(lambda task, seed: None), "examples": Arm(lambda task, seed: None, examples=examples)}

    def _solved(self) -> dict[str, Arm]:
        """Solved from a task's own rows, and what they stand against."""
        quiet, start = self.reporter.quiet(), start_of(self.base, self.request.models)

        def solve(plan: ContextPlan, steps: int | None, seed: int) -> LoraAdapter:
            choice = ContextChoice(fit_steps=steps)
            return make_adapter(self.base, plan, choice, seed, quiet, start).adapter

        teach = kept_answers(self.request, quiet)
        kept, hidden = self.request.out / SOLVED, self.request.hide_instruction
        arms = SolvedArms(self.base, self.tasks, solve, kept, hidden, teach)
        among = {"tasks": digest_json([task.name for task in self.tasks])[:12]}
        own: Mapping[str, Mapping[str, Any]] = {SOLVED_OTHER: among, TAUGHT: {"teacher": self.request.teacher}}

        def arm(name: str, make: Callable[[str, int], LoraAdapter]) -> Arm:
            settings = own.get(name, {})
            return Arm(lambda task, seed: make(task.name, seed), uses_base=True, settings=settings)

        def examples(task: JudgedTask, seed: int) -> list[tuple[str, str]]:
            asked = [prompt for prompt, _ in task.rows]
            return fitting_examples(self.base, asked, arms.examples(task.name, seed, 8), self.request.max_new_tokens)[0]

        made = {name: arm(name, make) for name, make in arms.makers().items()}
        return {EXAMPLES_8: Arm(lambda task, seed: None, examples=examples), **made}

    def _trained(self, pipeline: Pipeline) -> dict[str, Arm]:
        """From the multi-task adapter: itself, and trained further on the task's own labels."""
        base, frame, seed = pipeline.base, self._multi_task_frame(pipeline), self.request.seed
        multi_task = frame.base_adapter
        digest, hidden = frame_digest(frame), self.request.hide_instruction
        history: Mapping[str, Any] = pipeline.about["history"]
        oracle = Oracle(
            base,
            frame,
            recipe_from_json(dict(history.get("recipe", {}))).data,
            Budget(self.request.oracle_steps),
            self.request.out / ORACLE,
            digest_json([base.ref.fingerprint, digest, *(["hidden"] if hidden else [])]),
            seed,
            hidden,
        )
        return {
            MULTI_TASK: Arm(lambda task, seed: multi_task, settings={"frame": digest[:12]}),
            ORACLE: Arm(
                lambda task, seed: oracle.adapter(self._task(task.name)),
                prepare=lambda left: oracle.train([self._task(task.name) for task in left], self.reporter),
                settings=oracle.budget.to_json() | {"frame": digest[:12]},
            ),
        }

    def trained_on(self) -> dict[str, Mapping[str, str]]:
        """What generator and library have met in training: hashes of the rows by task name."""
        if self.pipeline is None:
            return {}
        known: dict[str, Mapping[str, str]] = {"generator": self.pipeline.about["history"].get("tasks", {})}
        return known | ({"library": self._library.trained_on} if self._library else {})

    def shared_passages(self, known: Mapping[str, str]) -> list[SharedPassages]:
        """What rows of the tasks in `known`, so far as the task folder has them, share with the judged rows."""
        judged = {
            task.name: [_text(row) for row in read_rows(task.test_path)[: self.request.rows]] for task in self.tasks
        }
        there = [task for task in read_tasks(self.request.tasks, None) if known.get(task.name) == task.digest]
        others = (task for task in there if task.name not in judged)
        return shared_passages(((task.name, list(map(_text, read_rows(task.train_path)))) for task in others), judged)

    def _multi_task_frame(self, pipeline: Pipeline) -> Frame:
        """The library's: a generator that was trained along with its frame has moved its own."""
        return self._library.frame if self._library else pipeline.generator.frame

    @cached_property
    def _library(self) -> Library | None:
        """The library of the request, read once."""
        if self.request.library is None or self.pipeline is None:
            return None
        library = open_library(self.request.library)
        if library.frame.layout.digest != self.pipeline.generator.frame.layout.digest:
            raise EngineError("was collected for another layout than the generator's", where=str(library.folder))
        return library

    def _generated(self, prompts: PromptArms) -> dict[str, Arm]:
        # Which task stands in for another depends on all of them.
        among = {"tasks": digest_json([task.name for task in self.tasks])[:12]}

        def arm(name: str, make: Callable[[str, int], LoraAdapter]) -> Arm:
            borrows = name in ("other_prompts", "noisy_prompts")
            return Arm(lambda task, seed: make(task.name, seed), settings=among if borrows else {})

        return {name: arm(name, make) for name, make in prompts.makers().items()}

    def _from_library(self, pipeline: Pipeline, library: Library) -> tuple[dict[str, Arm], dict[str, str]]:
        seen = self._seen(library.about["tasks"])
        arms = LibraryArms(library, seen, frozenset(task.name for task in self.tasks))
        settings = {"library": digest_json([library.about, arms.names])[:12]}
        if not arms.names:
            reasons = dict.fromkeys((arm for arm, rule in ARMS.items() if rule.library), "it holds judged tasks only")
            return {}, reasons | {LIBRARY_GROUP: "it holds judged tasks only"}
        mean = arms.mean()
        made = {
            "mean": Arm(lambda task, seed: mean, settings=settings),
            **self._nearest(pipeline, arms, settings),
            **{f"{LORA}{name}": self._single(arms, name, settings) for name in arms.names},
        }
        reasons = {}
        if missing := sorted(set(arms.names) - {task.name for task in seen}):
            reason = f"the rows of {missing[0]} are not in the task folder as the library knew them"
            reasons = {"nearest": reason, "nearest_mix": reason}
        others = {task.name for task in seen} - arms.judged
        if len(others | set(arms.names)) < 2 or not others:
            reasons["best_single"] = "there is no other seen task to choose it on"
        else:
            made["best_single"] = self._best(arms, settings)
        return made, reasons

    def _seen(self, known: Mapping[str, str]) -> list[Task]:
        """The library's tasks in the task folder, whose rows are those it was collected from."""
        try:
            tasks = read_tasks(self.request.tasks, SEEN)
        except EngineError:  # no task of that split
            return []
        return [task for task in tasks if task.name in known and task.digest == known[task.name]]

    def _single(self, arms: LibraryArms, name: str, settings: Mapping[str, Any]) -> Arm:
        kept: list[LoraAdapter] = []

        def adapter(task: JudgedTask, seed: int) -> LoraAdapter:
            # The same object for every task: it stays attached.
            if not kept:
                kept.append(arms.adapter(name))
            return kept[0]

        return Arm(adapter, settings=settings)

    def _best(self, arms: LibraryArms, settings: Mapping[str, Any]) -> Arm:
        chosen: list[LoraAdapter] = []

        def prepare(left: Sequence[JudgedTask]) -> dict[str, float]:
            kept = self.request.out / "best_single.json"
            choice = arms.best_single(self.base, self.request.seed, kept, self.reporter)
            self.reporter.note(f"the best library LoRA on other seen tasks is that of {choice.name}")
            chosen[:] = [arms.adapter(choice.name)]
            return {task.name: choice.seconds / len(self.tasks) for task in left}

        return Arm(lambda task, seed: chosen[0], prepare=prepare, settings=settings)

    def _nearest(self, pipeline: Pipeline, arms: LibraryArms, settings: Mapping[str, Any]) -> dict[str, Arm]:
        prompts, tokens = self._prompts(pipeline), pipeline.generator.spec.condition.tokens

        def prepare(left: Sequence[JudgedTask]) -> dict[str, float]:
            paths = {task.name: task.train_path for task in arms.seen}
            texts = {
                name: sample_prompts(read_prompts(paths[name], column="prompt"), prompts.count, self.request.seed).texts
                for name in arms.names
            }
            before = self.reporter.timings.get("embed prompts", 0.0)
            arms.embed(texts, pipeline.encoder, tokens, self.reporter)
            spent = self.reporter.timings["embed prompts"] - before
            return {task.name: spent / len(left) for task in left}

        def arm(make: Callable[[Any], LoraAdapter]) -> Arm:
            def adapter(task: JudgedTask, seed: int) -> LoraAdapter:
                return make(prompt_embedding(pipeline.encoder.encode(prompts.texts(task.name, seed), tokens)))

            return Arm(adapter, prepare=prepare, settings=settings)

        return {"nearest": arm(arms.nearest), "nearest_mix": arm(arms.mix)}
