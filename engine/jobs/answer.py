"""Base and adapted answers: side by side, and over the tasks of the quality table."""

from __future__ import annotations

from engine.adapter.attach import AttachedModel
from engine.adapter.peft_folder import read_peft_folder
from engine.base.images import ImagePrompts
from engine.base.load import LoadedBase, reads_images
from engine.events import AnswersBy, AnswersScored, Reporter
from engine.jobs.answering import answering, answering_arms, chain_views
from engine.jobs.compared import KnownAnswers, compared_rows, known_answers
from engine.jobs.prompts import sample_batch
from engine.jobs.results import Result
from engine.judge.compare import Comparison, compare
from engine.judge.verdict import Verdict, verdict
from engine.pipeline import load_chosen_base, load_pipeline
from engine.prompts import PromptSet
from engine.requests import EXAMPLES_ARM, CompareRequest
from engine.tasks.labels import baselines
from engine.weights.lora import LoraAdapter


def compare_job(request: CompareRequest, prompts: PromptSet | None, reporter: Reporter) -> Result:
    """Stream answers of base and adapters to the prompts that are asked for; score them where there are labels."""
    rows, total = compared_rows(request, prompts, reporter)
    known = known_answers(request, prompts, rows, reporter)
    base, adapters = _base_and_adapters(request, prompts, reporter)
    # peft takes no name with a dot in it. The chain, where there is one, comes after the adapters.
    named = {f"adapter_{place}": adapter for place, adapter in enumerate(adapters)}
    # Worked examples are several prompts more to read; of a large file it is not known how many rows there are.
    at_once = (total or request.rows) * (1 + len(known.examples or ()))
    # Before anything is attached: llama.cpp's file is made of the base alone.
    decoder, by = answering(request, base, named, at_once, reporter)
    trusted = request.models.trust_remote_code
    images = ImagePrompts(base, trust_remote_code=trusted) if reads_images(base.ref.config) else None
    # From the first adapter on: wherever the job is left, the base is clean for the next one.
    with AttachedModel(base) as attached:
        with reporter.stage("attach"):
            arms = answering_arms(request, base, named, attached if decoder is None else None)
            views = chain_views(request, base, attached)
        if prompts is not None and prompts.label_column is not None:
            shown = None if known.examples is None else len(known.examples)
            reporter.emit(AnswersScored(known.metric, known.labels, shown))
        found = compare(
            base,
            attached,
            arms,
            rows,
            views=views,
            decoder=decoder,
            images=images,
            max_new_tokens=request.max_new_tokens,
            metric=known.metric,
            labels=known.labels,
            examples=None if known.examples is None else {EXAMPLES_ARM: known.examples},
            reporter=reporter,
            temperature=request.temperature,
            seed=request.sampling_seed,
            total=total,
        )
    return _result(request, known, found, by)


def _result(request: CompareRequest, known: KnownAnswers, found: Comparison, by: AnswersBy) -> Result:
    judged = _verdict(request, known, found)
    reached = judged.baselines if judged else None
    data = {
        "metric": found.metric,
        "labels": list(known.labels),
        "chance": reached and reached.chance,
        "majority": reached and reached.majority,
        "verdict": judged and judged.to_json(),
        "examples": found.examples.get(EXAMPLES_ARM),
        "arms": list(request.arms),
        "decoder": vars(by),
        "means": found.means,
        "timings": {arm: vars(timing) for arm, timing in found.timings.items()},
        "rows": [vars(row) for row in found.rows],
    }
    lines = []
    if judged:
        for arm, figures in judged.arms.items():
            lines.append((f"{arm}, {found.metric}", f"{figures.mean:.3f} ({figures.low:.3f} to {figures.high:.3f})"))
    if reached:
        lines.append(("chance", f"{reached.chance:.3f} ({len(known.labels)} labels)"))
        lines.append(("majority", f"{reached.majority:.3f} (always answering '{reached.majority_label}')"))
    for arm, timing in found.timings.items():
        lines.append((f"{arm}, tokens a query", f"{timing.asked:.0f}"))
        lines.append((f"{arm}, seconds a query", f"{timing.seconds:.2f} s"))
        lines.append((f"{arm}, first token", f"{timing.first_token_seconds:.2f} s"))
        lines.append((f"{arm}, tokens/s", f"{timing.tokens_per_second:.1f}"))
    if judged:
        lines += [("verdict", sentence) for sentence in (judged.sentence, *judged.differences)]
    return Result(data, tuple(lines))


def _verdict(request: CompareRequest, known: KnownAnswers, found: Comparison) -> Verdict | None:
    """About the first adapter, else the chain; None where no row has a known answer."""
    if not found.means:
        return None
    reached = baselines([row.references for row in found.rows], known.labels)
    titles = {request.arms[0]: "the base alone"}
    if len(request.adapters) < 2:
        titles["adapted"] = "the adapter"
    if request.chain is not None:
        titles[request.arms[-1]] = "the chain"
    for arm, count in found.examples.items():
        titles[arm] = f"the base with {count} example{'' if count == 1 else 's'} in the prompt"
    return verdict(found.scores(), request.adapted_arms[0], found.metric, reached, titles)


def _base_and_adapters(
    request: CompareRequest, prompts: PromptSet | None, reporter: Reporter
) -> tuple[LoadedBase, list[LoraAdapter]]:
    if request.adapters or request.chain is not None:
        adapters = [read_peft_folder(folder)[0] for folder in request.adapters]
        return load_chosen_base(request.models, reporter), adapters
    assert request.prompts and prompts  # compared_set has seen to it
    pipeline = load_pipeline(request.models, reporter)
    batch = sample_batch(prompts, request.prompts, pipeline.generator.spec.condition.prompts, reporter)
    return pipeline.base, [pipeline.adapter(batch.texts, reporter)]
