"""Context -> adapter: solved layer by layer, a few gradient steps where there are answers, checked on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from engine.adapter.attach import attach
from engine.adapter.combine import combine
from engine.base.chat import answers_ids, fitting_examples, prompts_ids, stop_ids
from engine.base.device import device_memory, explain_out_of_memory
from engine.decode import answer_all
from engine.errors import EngineError, setting
from engine.events import Reporter, Stage, UpdateNorms
from engine.generator.artifact import check_base, load_generator, read_about
from engine.judge.compare import AskedArm, ask_arms
from engine.judge.verdict import Verdict, verdict
from engine.prompts import PromptRow
from engine.prompts.prompt_set import teachers_named
from engine.released import released_generator
from engine.requests import ContextChoice, ModelChoice
from engine.solver.context import ContextTokens, context_tokens, shown_examples, student_rows, window
from engine.solver.fit import fit
from engine.solver.plan import AUTO, BOTH, EXAMPLES, INSTRUCTION, ContextPlan, in_turn
from engine.solver.solve import Norms, ReadContext, SolveSettings, read_context, solve, solve_streamed
from engine.tasks.labels import baselines, chosen_metric, few_labels
from engine.tasks.metrics import score
from engine.training.packing import TokenRow, token_rows
from engine.weights.lora import LoraAdapter, norms_by_layer

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

FIT_STEPS = 8
"""Gradient steps after solving from answered rows, unless the request names a number."""

FROM_BASE, FROM_GENERATOR = "base", "generator"

_ANSWER_TOKENS = 64
_BATCH = 16


@dataclass(frozen=True)
class Made:
    """A solved adapter.

    examples: answered rows in each context. fit_steps: gradient steps on the answers. start: "base" or "generator".
    """

    adapter: LoraAdapter
    examples: int
    fit_steps: int
    start: str


@dataclass(frozen=True)
class Checked:
    """What held-out rows show of an adapter; `data` is all of it for JSON."""

    sentence: str
    scores: Mapping[str, float]
    data: Mapping[str, Any]

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The sentence, then the figures of each arm: mean score, its 95 % interval, tokens and seconds a query."""
        lines = [("held out", self.sentence)]
        for arm, about in self.data["arms"].items():
            mean = f"{self.scores[arm]:.2f}" if arm in self.scores else "the teacher"
            ends = f" ({about['low']:.2f} to {about['high']:.2f})" if "low" in about else ""
            cost = f"{about['tokens_per_query']:.0f} tokens"
            if "seconds_per_query" in about:
                cost += f", {about['seconds_per_query']:.2f} s"
            cost += " a query"
            lines.append((f"  {arm}", f"{mean}{ends}, {cost}"))
        return tuple(lines)


def make_adapter(
    base: LoadedBase,
    plan: ContextPlan,
    choice: ContextChoice,
    seed: int,
    reporter: Reporter,
    start: LoraAdapter | None = None,
) -> Made:
    """The adapter of a plan.

    Stages: answer (an instruction's), context (twice where there is a start to choose), solve, fit.

    Emits `UpdateNorms` layer by layer as they are solved.

    Args:
        start: a generator's adapter that the solved one may be added to, as `choice.start` asks.

    Raises:
        EngineError: the base's layers cannot be matched, no row fits, the device is out of memory.
    """
    with explain_out_of_memory(setting("answered")):
        tokens = context_tokens(
            base, plan, lambda prompts: teacher_answers(base, prompts, reporter), reporter, examples=choice.examples,
            seed=seed,
        )  # fmt: skip
        labelled = plan.kind != INSTRUCTION
        starts: dict[str, LoraAdapter | None] = {FROM_BASE: None, FROM_GENERATOR: start}
        if choice.start != AUTO:
            starts = {choice.start: starts[choice.start]}
        elif start is None or not labelled:
            starts = {FROM_BASE: None}
        contexts = {
            name: _read(base, under, tokens, name if labelled else "", reporter) for name, under in starts.items()
        }
        # Of equally good ones the base: it is what the adapter is for.
        chosen = max(contexts, key=lambda name: (sum(contexts[name].right), name == FROM_BASE))
        steps = (FIT_STEPS if choice.fit_steps is None else choice.fit_steps) if labelled else 0
        under = starts[chosen]
        with attach(base, under):
            adapter = _solved(base, contexts[chosen], choice, reporter)
            if steps:
                with reporter.stage("fit", steps) as stage:
                    adapter = fit(
                        base, adapter, tokens.rows, steps, seed=seed, on_step=lambda loss: stage.advance(1, loss=loss)
                    )
                    stage.memory = device_memory(base.device)
    whole = adapter if under is None else combine([under, adapter], [1.0, 1.0]).adapter
    # Of the adapter as it is now: gradient steps have moved it, and its start is part of it.
    emit_norms(whole, reporter)
    return Made(whole, tokens.examples, steps, chosen)


def make_streamed_adapter(
    base: LoadedBase, plan: ContextPlan, choice: ContextChoice, seed: int, reporter: Reporter
) -> tuple[Made, Checked | None]:
    """The adapter of a plan for a base whose layers are read one at a time, and what its held-out rows show.

    All of it is one stage, solve. There are no gradient steps and no start to choose. The held-out rows are not
    answered but read with their answers: an answer is right where each of its tokens is the likeliest one.

    Raises:
        EngineError: what is asked for needs the base to write answers or to be trained; as of `make_adapter`.
    """
    _refuse_unstreamed(plan, choice)
    tokens = context_tokens(base, plan, list, reporter, examples=choice.examples, seed=seed)
    held_out, checked = _read_rows(base, plan, tokens.examples, seed)
    settings = SolveSettings(rank=choice.rank, modules=choice.modules)
    with (
        explain_out_of_memory(setting("answered")),
        reporter.stage("solve", base.model.config.get_text_config().num_hidden_layers, "layers") as stage,
    ):
        found = solve_streamed(base, tokens.read, settings, checked=checked, on_layer=_on_layer(stage, reporter))
        stage.note = f"base: {tokens.right(found.right)}"
        stage.memory = device_memory(base.device)
    made = Made(found.adapter, tokens.examples, 0, FROM_BASE)
    if not held_out:
        return made, None
    scores = {arm: [float(hit) for hit in hits] for arm, hits in found.checked.items()}
    judged = _judged(held_out, plan, scores, "exact_match", "solved")
    lengths = {arm: sum(len(row.prompt) for row in rows) / len(rows) for arm, (rows, _) in checked.items()}
    arms = {arm: {**judged.data["arms"][arm], "tokens_per_query": length} for arm, length in lengths.items()}
    return made, replace(judged, data={**judged.data, "arms": arms})


def _refuse_unstreamed(plan: ContextPlan, choice: ContextChoice) -> None:
    problem = hint = ""
    if plan.kind == INSTRUCTION:
        problem, hint = "write the answers that an instruction alone is solved from", "Add answers to the prompts"
    elif choice.fit_steps:
        problem, hint = "take gradient steps", f"Leave out {setting('fit_steps')}"
    elif choice.start == FROM_GENERATOR:
        problem, hint = "start from a generator's adapter", f"Leave out {setting('start')}"
    if problem:
        raise EngineError(f"a base whose layers are read one at a time cannot {problem}", hint=hint)


def _read_rows(
    base: LoadedBase, plan: ContextPlan, examples: int, seed: int
) -> tuple[list[PromptRow], dict[str, tuple[Sequence[TokenRow], bool]]]:
    """The held-out rows that are short enough, and as tokens what is read of them by each arm."""
    held_out = [row for row in plan.held_out if row.references]
    drawn = shown_examples(base, plan, in_turn(plan.rows, seed)[:examples])
    queries = student_rows(base, plan, held_out) if held_out else []
    asked = prompts_ids(base.tokenizer, [plan.shown(row.prompt) for row in held_out], drawn) if held_out else []
    shown = token_rows(asked, [row.answer for row in queries])
    kept = [number for number, row in enumerate(shown) if len(row) <= window(base)]
    if not kept:
        return [], {}
    without, before = [queries[number] for number in kept], [shown[number] for number in kept]
    arms: dict[str, tuple[Sequence[TokenRow], bool]] = {
        "base": (without, False),
        "examples": (before, False),
        "solved": (without, True),
    }
    return [held_out[number] for number in kept], arms


def emit_norms(adapter: LoraAdapter, reporter: Reporter) -> None:
    """`UpdateNorms` of an adapter, layer by layer."""
    for norms in norms_by_layer(adapter, adapter):
        reporter.emit(UpdateNorms({path: (norm, 0.0) for path, (norm, _) in norms.items()}))


def _read(
    base: LoadedBase, under: LoraAdapter | None, tokens: ContextTokens, start: str, reporter: Reporter
) -> ReadContext:
    """The teacher's pass with the adapter `under` attached, in a stage of its own.

    How many answers the teacher gives to the letter is the stage's note, where they are known and the start has a name.
    No row has its own answer in its context, so that shows what the start is worth.
    """
    layers = base.model.config.get_text_config().num_hidden_layers
    with attach(base, under), reporter.stage("context", layers, "layers") as stage:
        context = read_context(
            base, tokens.read, on_layer=lambda share: stage.advance(int(share * layers + 1e-6) - stage.step)
        )
        stage.memory = device_memory(base.device)
        if start:
            stage.note = f"{start}: {tokens.right(context.right)}"
    return context


def _solved(base: LoadedBase, context: ReadContext, choice: ContextChoice, reporter: Reporter) -> LoraAdapter:
    settings = SolveSettings(rank=choice.rank, modules=choice.modules)
    with reporter.stage("solve", base.model.config.get_text_config().num_hidden_layers, "layers") as stage:
        adapter = solve(base, context, settings, on_layer=_on_layer(stage, reporter))
        stage.memory = device_memory(base.device)
    return adapter


def _on_layer(stage: Stage, reporter: Reporter) -> Callable[[Norms], None]:
    def layer(norms: Norms) -> None:
        reporter.emit(UpdateNorms({path: (norm, 0.0) for path, (norm, _) in norms.items()}))
        stage.advance(1, explained=sum(share for _, share in norms.values()) / max(1, len(norms)))

    return layer


def start_of(base: LoadedBase, models: ModelChoice) -> LoraAdapter | None:
    """The adapter that the generator for this base gives an empty condition; None where there is no such generator.

    Raises:
        EngineError: the generator that was named does not fit the base.
    """
    try:
        folder = models.generator or released_generator()
        check_base(read_about(folder), base.ref)
    except EngineError:
        if models.generator is not None:
            raise
        return None
    return load_generator(folder, torch.device("cpu")).frame.base_adapter


def teacher_answers(base: LoadedBase, prompts: Sequence[str], reporter: Reporter) -> list[str]:
    """The base's own greedy answers, in a stage "answer"."""
    with reporter.stage("answer", len(prompts), "prompts") as stage:
        texts = answer_all(
            base.model,
            base.tokenizer,
            prompts_ids(base.tokenizer, prompts),
            max_new_tokens=_ANSWER_TOKENS,
            stop_ids=stop_ids(base.tokenizer, base.model),
            batch=_BATCH,
            on_step=lambda: stage.advance(0),
        )
        stage.advance(len(prompts))
    return texts


def check_adapter(
    base: LoadedBase,
    adapters: Mapping[str, LoraAdapter],
    plan: ContextPlan,
    examples: int,
    seed: int,
    reporter: Reporter,
) -> Checked | None:
    """Answer the held-out rows with base, context and adapters, in a stage "check"; None without held-out rows.

    Args:
        adapters: by the name of the arm; the last one is what the verdict is about.
    """
    rows = plan.held_out
    if not rows:
        return None
    queries = [plan.query(row.prompt) for row in rows]
    shown = [plan.shown(row.prompt) for row in rows]
    arms = {"base": AskedArm(queries)}
    if plan.kind in (EXAMPLES, BOTH):
        drawn = shown_examples(base, plan, in_turn(plan.rows, seed)[:examples])
        before, _ = fitting_examples(base, shown, drawn, _ANSWER_TOKENS)
        arms["examples"] = AskedArm(shown, before)
    if plan.instruction:
        arms["instruction"] = AskedArm(shown)
    arms |= {name: AskedArm(queries, adapter=adapter) for name, adapter in adapters.items()}
    known = [row.references[0] for row in (*rows, *plan.rows) if row.references]
    # Longer than the longest known answer: what rambles on is wrong all the same.
    longest = max(map(len, answers_ids(base.tokenizer, known)), default=_ANSWER_TOKENS)
    most = min(_ANSWER_TOKENS, longest + 8)
    with reporter.stage("check", len(arms) * len(rows), "answers") as stage:
        answers = ask_arms(base, arms, most, stage)
    texts = {name: arm.texts for name, arm in answers.items()}
    subject = list(adapters)[-1]
    found = _scored(rows, plan, texts, subject) if all(row.references for row in rows) else _agreement(texts)
    figures = found.data.get("arms", {})
    arms_data = {name: {**figures.get(name, {}), **arm.to_json()} for name, arm in answers.items()}
    return Checked(found.sentence, found.scores, {**found.data, "arms": arms_data})


def _scored(rows: Sequence[PromptRow], plan: ContextPlan, texts: Mapping[str, Sequence[str]], subject: str) -> Checked:
    references = [row.references for row in rows]
    known = [row.references for row in (*plan.rows, *rows) if row.references]
    metric, labels = chosen_metric(known), few_labels(known)
    scores = {
        arm: [score(metric, text, answers, labels=labels) for text, answers in zip(given, references, strict=True)]
        for arm, given in texts.items()
    }
    return _judged(rows, plan, scores, metric, subject)


def _judged(
    rows: Sequence[PromptRow], plan: ContextPlan, scores: Mapping[str, Sequence[float]], metric: str, subject: str
) -> Checked:
    references = [row.references for row in rows]
    labels = few_labels([row.references for row in (*plan.rows, *rows) if row.references])
    titles = {"base": "the base alone", "instruction": "with the instruction in the prompt"}
    titles["examples"] = "with examples in the prompt"
    titles["before"] = "the adapter before"
    found: Verdict = verdict(scores, subject, metric, baselines(references, labels), titles)
    if taught := teachers_named(rows):
        # Right is then what that model would answer.
        found = replace(found, sentence=f"{found.sentence}; of these rows, {taught}, not by a person")
    means = {arm: sum(values) / len(values) for arm, values in scores.items()}
    return Checked(found.sentence, means, {"rows": len(rows), "metric": metric, "scores": means, **found.to_json()})


def _agreement(texts: Mapping[str, Sequence[str]]) -> Checked:
    """How often each arm answers like the base that reads the instruction."""
    teacher = texts["instruction"]
    same = {
        arm: sum(one.strip() == other.strip() for one, other in zip(given, teacher, strict=True))
        for arm, given in texts.items()
        if arm != "instruction"
    }
    count = len(teacher)
    sentence = (
        f"without the instruction, {same['solved']} of {count} answers are the same as with it; "
        f"of the base alone {same['base']}"
    )
    shares = {arm: number / count for arm, number in same.items()}
    return Checked(sentence, shares, {"rows": count, "metric": "same_answer", "scores": shares, "sentence": sentence})
