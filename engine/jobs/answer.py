"""Base and adapted answers: side by side, and over the tasks of the quality table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.adapter.attach import BASE_ROW, AttachedModel
from engine.adapter.lora import LoraAdapter
from engine.adapter.peft_folder import read_peft_folder
from engine.base.load import LoadedBase
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import replacing_file, write_json
from engine.forge.card import generator_card
from engine.forge.library import open_library
from engine.forge.tasks import Task, read_rows, read_tasks
from engine.generator.artifact import record_history
from engine.jobs.compared import compared_rows, compared_set
from engine.jobs.results import Result
from engine.jobs.sampling import sample_batch
from engine.judge.compare import compare
from engine.judge.evaluate import JudgedTask, evaluate_arms
from engine.judge.table import QualityTable
from engine.pipeline import Pipeline, load_chosen_base, load_pipeline
from engine.prompts import PromptSet, read_prompts, sample_prompts
from engine.requests import DEFAULT_METRIC, CompareRequest, EvaluateRequest


def compare_job(request: CompareRequest, reporter: Reporter) -> Result:
    """Stream answers of base and adapters to the prompts that are asked for; score them where there are labels."""
    prompts = compared_set(request)
    rows, total = compared_rows(request, prompts, reporter)
    base, adapters = _base_and_adapters(request, prompts, reporter)
    # From the first adapter on: wherever the job is left, the base is clean for the next one.
    with AttachedModel(base) as attached:
        with reporter.stage("attach"):
            arms = _attach_arms(request, base, attached, adapters)
        found = compare(
            base,
            attached,
            arms,
            rows,
            max_new_tokens=request.max_new_tokens,
            metric=request.metric or DEFAULT_METRIC,
            reporter=reporter,
            temperature=request.temperature,
            seed=request.sampling_seed,
            total=total,
        )
    data = {
        "metric": found.metric,
        "arms": list(arms),
        "means": found.means,
        "timings": {arm: vars(timing) for arm, timing in found.timings.items()},
        "rows": [vars(row) for row in found.rows],
    }
    lines = [(f"{arm}, {found.metric}", f"{found.means[arm]:.3f}") for arm in arms if arm in found.means]
    for arm, timing in found.timings.items():
        lines.append((f"{arm}, first token", f"{timing.first_token_seconds:.2f} s"))
        lines.append((f"{arm}, tokens/s", f"{timing.tokens_per_second:.1f}"))
    return Result(data, tuple(lines))


def evaluate_job(request: EvaluateRequest, reporter: Reporter) -> Result:
    """The quality table of a generator on the tasks of one split."""
    tasks = read_tasks(request.tasks, request.split)
    judged = [_judged(task) for task in tasks]
    pipeline = load_pipeline(request.models, reporter)
    arms = _arms(request, tasks, pipeline)
    settings = {
        "generator": pipeline.about["sha256"],
        "count": request.count or pipeline.generator.spec.condition.prompts,
        "seed": request.seed,
        "library": str(request.library.resolve()) if request.library else None,
    }
    table = evaluate_arms(
        pipeline.base,
        arms,
        judged,
        out=request.out,
        rows=request.rows,
        max_new_tokens=request.max_new_tokens,
        batch=request.batch,
        settings=settings,
        reporter=reporter,
    )
    write_json(request.out / "table.json", table.to_json())
    with replacing_file(request.out / "table.md") as part:
        part.write_text(table.to_markdown(), encoding="utf-8")
    if request.record:
        _record(pipeline, table, request)
    means = [(arm, table.mean(arm)) for arm in table.arms]
    lines = [(arm, "not measured" if mean is None else f"{mean:.3f}") for arm, mean in means]
    return Result(table.to_json(), (*lines, ("table", str(request.out / "table.md"))))


def _record(pipeline: Pipeline, table: QualityTable, request: EvaluateRequest) -> None:
    measured = {arm: mean for arm in table.arms if (mean := table.mean(arm)) is not None}
    how = {"split": request.split, "tasks": len(table.tasks), "rows": request.rows, "seed": request.seed}
    generator = pipeline.generator.with_history(scores={**how, "means": measured})
    record_history(pipeline.folder, generator.spec.history, generator_card(generator))


def _base_and_adapters(
    request: CompareRequest, prompts: PromptSet | None, reporter: Reporter
) -> tuple[LoadedBase, list[LoraAdapter]]:
    if request.adapters:
        adapters = [read_peft_folder(folder)[0] for folder in request.adapters]
        return load_chosen_base(request.models, reporter), adapters
    assert request.prompts and prompts  # compared_set has seen to it
    pipeline = load_pipeline(request.models, reporter)
    batch = sample_batch(prompts, request.prompts, pipeline.generator.spec.condition.prompts, reporter)
    return pipeline.base, [pipeline.adapter(batch.texts, reporter)]


def _attach_arms(
    request: CompareRequest, base: LoadedBase, attached: AttachedModel, adapters: Sequence[LoraAdapter]
) -> dict[str, str]:
    """Attach the adapters; by the name of an arm, the adapter that answers."""
    own, *others = request.arms
    arms = {own: BASE_ROW}
    for place, (arm, adapter) in enumerate(zip(others, adapters, strict=True)):
        arms[arm] = f"adapter_{place}"  # peft takes no name with a dot in it
        try:
            attached.add(arms[arm], adapter)
        except EngineError as error:
            if not request.adapters:
                raise
            problem = f"does not fit the base {base.ref.id}: {error.where}: {error.problem}"
            hint = "Choose the base it was made for"
            raise EngineError(problem, where=str(request.adapters[place]), hint=hint) from error
    # Selected as a whole, adapters need not be turned on and off at every token.
    attached.use(attached.names[0])
    return arms


def _judged(task: Task) -> JudgedTask:
    rows = [(row.prompt, row.references) for row in read_rows(task.test_path)]
    return JudgedTask(task.name, task.metric, rows, task.source)


def _arms(
    request: EvaluateRequest, tasks: Sequence[Task], pipeline: Pipeline
) -> dict[str, Callable[[JudgedTask], LoraAdapter | None]]:
    frame = pipeline.generator.frame
    multi_task = frame.base_adapter
    names = [task.name for task in tasks]
    by_name = {task.name: task for task in tasks}

    def generated(task: JudgedTask) -> LoraAdapter:
        return _generated_for(by_name[task.name], request, pipeline)

    def other_prompts(task: JudgedTask) -> LoraAdapter:
        # The next task of the list: a fixed pairing in which every task is conditioned on exactly once.
        other = names[(names.index(task.name) + 1) % len(names)]
        return _generated_for(by_name[other], request, pipeline)

    arms: dict[str, Callable[[JudgedTask], LoraAdapter | None]] = {
        "base": lambda task: None,
        "multi_task": lambda task: multi_task,
        "generated": generated,
    }
    if len(tasks) > 1:
        arms["other_prompts"] = other_prompts
    if request.library:
        library = open_library(request.library)
        if library.frame.layout.digest != frame.layout.digest:
            raise EngineError("was collected for another layout than the generator's", where=str(request.library))
        a, b = library.frame.shifted(library.mean_difference())
        mean = LoraAdapter(frame.layout, a, b)
        arms["mean"] = lambda task: mean
    return arms


def _generated_for(task: Task, request: EvaluateRequest, pipeline: Pipeline) -> LoraAdapter:
    """An adapter from prompts of the task's training rows; its labels are never read."""
    spec = pipeline.generator.spec.condition
    batch = sample_prompts(read_prompts(task.train_path, column="prompt"), request.count or spec.prompts, request.seed)
    return pipeline.generator.generate(pipeline.encoder.encode(batch.texts, spec.tokens))
