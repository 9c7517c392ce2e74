"""Answered rows, an adapter or none -> an adapter trained on them, checked on rows that it never saw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.adapter.attach import check_fits, naming_adapter
from engine.adapter.peft_folder import WEIGHTS_FILE, read_peft_folder
from engine.adapter.provenance import Origin, Solved, Trained, read_provenance
from engine.base.device import device_memory, explain_out_of_memory
from engine.errors import Cancelled, setting
from engine.events import Reporter, Stage
from engine.files import digest_file, digest_json
from engine.jobs.checks import STATE_FILE, is_unfinished
from engine.jobs.command_line import card_line
from engine.jobs.generate import written
from engine.jobs.prompts import MOST_ROWS
from engine.jobs.results import Result, stage_lines
from engine.jobs.solve import Checked, check_adapter, emit_norms
from engine.pipeline import load_chosen_base
from engine.prompts import PromptRow, PromptSet
from engine.prompts.prompt_set import as_learned, counted_rows, images_named, teachers, teachers_named
from engine.prompts.sample import reservoir
from engine.requests import NO_ADAPTER, RefineRequest
from engine.solver.context import short_enough, student_rows, window
from engine.solver.fit import ROWS_A_STEP, fresh_adapter
from engine.solver.plan import BOTH, EXAMPLES, plan_context
from engine.solver.refine import ASKED, Check, Refined, RefineSettings, refine, watched_count
from engine.solver.residual import writer_kinds
from engine.text import readable_size
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    import torch

    from engine.base.load import LoadedBase


def refine_job(request: RefineRequest, prompts: PromptSet, reporter: Reporter) -> Result:
    """Train an adapter on answered rows until rows that are kept out of it gain no more; check and write it."""
    start = None if request.adapter == NO_ADAPTER else read_peft_folder(request.adapter)[0]
    origin = None if start is None else read_provenance(request.adapter)
    # What stands in the weights of the adapter that training begins with, prompts need no more.
    instruction = origin.instruction if isinstance(origin, Solved | Trained) else ""
    with reporter.stage("read", unit="rows") as stage:
        rows = reservoir(counted_rows(prompts.every_row(), stage), MOST_ROWS, request.seed)
    plan = plan_context(
        rows,
        made_from=EXAMPLES,
        count=request.answered,
        held_out=request.held_out,
        seed=request.seed,
        source=str(request.source),
    )
    if instruction:
        # Queries of an adapter that has an instruction in its weights come without it.
        plan = replace(plan, kind=BOTH, instruction=instruction)
    reporter.note(f"prompts from {prompts.column} of {prompts.format}, answers from {prompts.label_column}")
    if taught := teachers_named(plan.rows):
        reporter.note(taught)
    if pictured := images_named(plan.rows):
        reporter.note(pictured, warning=True)
    base = load_chosen_base(request.models, reporter)
    first = start or _fresh(base, request)
    with naming_adapter(request.adapter, base.ref.id):
        check_fits(base.model, first)
    usable = short_enough(base, plan, window(base), reporter)
    watched = usable[len(usable) - watched_count(len(usable)) :]
    learned = usable[: len(usable) - len(watched)]
    known_before = len(set(watched) & set(_rows_of_start(origin, plan.rows)))
    if known_before:
        shown = f"{known_before} of the {len(watched)} rows that decide when training ends"
        reporter.note(
            f"{request.adapter.name} was made from {shown}, so they may end it too early or too late: add rows",
            warning=True,
        )
    digest = "" if start is None else digest_file(request.adapter / WEIGHTS_FILE)
    known = {"rows": as_learned(usable), "start": digest}
    identity = digest_json({**known, "base": base.ref.fingerprint, **_settings(request)})
    state = request.out / STATE_FILE
    if is_unfinished(request.out):
        reporter.note(f"goes on with the run in {request.out}")
    state.parent.mkdir(parents=True, exist_ok=True)
    lower = f"{setting('dtype')}, or take a smaller base"
    with reporter.stage("train", request.steps) as stage, explain_out_of_memory(lower):
        progress = _Progress(stage, request, len(learned), base.device, reporter)
        refined = refine(
            base,
            first,
            student_rows(base, plan, learned),
            student_rows(base, plan, watched),
            RefineSettings(request.steps, request.seconds, request.rate, request.seed, start_knows=known_before > 0),
            state=state,
            identity=identity,
            on_step=progress.step,
            on_check=progress.check,
        )
        stage.memory = device_memory(base.device)
    record = Trained(
        start=request.adapter.name,
        start_digest=digest,
        instruction=instruction,
        prompts_name=request.source.name,
        prompts_digest=digest_json(known["rows"]),
        rows=len(learned),
        watched=len(watched),
        steps=refined.steps,
        best_step=refined.best.step if refined.best else refined.steps,
        ended=refined.ended,
        rate=request.rate,
        seed=request.seed,
        template=request.template or "",
        command=card_line(request),
        timings={},
        taught_by=teachers(learned),
    )
    if refined.ended == ASKED:
        # What was gained stays; nobody hears of further stages.
        if record.best_step:
            written(request.out, True, base, refined.adapter, record, Reporter())
        raise Cancelled
    emit_norms(refined.adapter, reporter)
    arms = {"refined": refined.adapter} if start is None else {"before": start, "refined": refined.adapter}
    checked = check_adapter(base, arms, plan, request.examples, request.seed, reporter)
    if checked:
        record = replace(record, verdict=checked.sentence, scores=checked.scores)
    size = written(request.out, True, base, refined.adapter, record, reporter)
    return _result(request, base, refined, record, checked, size, reporter)


def _result(
    request: RefineRequest,
    base: LoadedBase,
    refined: Refined,
    record: Trained,
    checked: Checked | None,
    size: int,
    reporter: Reporter,
) -> Result:
    timings, parameters = dict(reporter.timings), refined.adapter.layout.parameters
    data = {
        "adapter": str(request.out),
        "bytes": size,
        "parameters": parameters,
        "base": base.ref.id,
        "seconds": timings,
        "start": record.start,
        "rows": record.rows,
        "watched": record.watched,
        "steps": record.steps,
        "best_step": record.best_step,
        "ended": record.ended,
        "watched_before": refined.start and vars(refined.start),
        "watched_best": refined.best and vars(refined.best),
        "held_out": checked.data if checked else None,
        "taught_by": record.taught_by,
    }
    gained: tuple[tuple[str, str], ...] = ()
    if refined.start and refined.best:
        text = f"{refined.start.right} right before, {refined.best.right} after"
        gained = ((f"watched rows, {record.watched}", text),)
    unchecked = (("held out", "not checked: too few rows to keep some back"),)
    lines = (
        *stage_lines(timings),
        ("trained", f"{record.rows} rows, {record.steps} steps, the best after {record.best_step}; {record.ended}"),
        *gained,
        *(checked.lines if checked else unchecked),
        ("adapter", f"{request.out} ({readable_size(size)}, {parameters:,} parameters)"),
    )
    return Result(data, lines)


class _Progress:
    """Steps and looks of a training as events; after two measured steps, what it will take."""

    def __init__(
        self, stage: Stage, request: RefineRequest, rows: int, device: torch.device, reporter: Reporter
    ) -> None:
        self._stage, self._request, self._reporter = stage, request, reporter
        self._rows, self._device = rows, device
        self._first = 0
        self._began = 0.0

    def step(self, step: int, loss: float) -> None:
        """After a step."""
        taken = step - self._stage.step
        if not self._first:
            # What a run that was killed had done, and a first step that also warms up.
            self._first, self._began = step, time.perf_counter()
        elif step == self._first + 2:
            self._estimate(step, (time.perf_counter() - self._began) / 2)
        self._stage.advance(taken, loss=loss)

    def check(self, check: Check) -> None:
        """After a look at the watched rows."""
        self._stage.advance(0, watched_nats=check.nats, watched_right=float(check.right))

    def _estimate(self, step: int, seconds_a_step: float) -> None:
        # So many steps fit into the time that is left: what is counted up to is what can be reached.
        left = self._request.seconds - self._stage.seconds
        self._stage.total = min(self._request.steps, max(step + 1, step + round(left / seconds_a_step)))
        most = min(self._request.steps * seconds_a_step, float(self._request.seconds))
        passes = max(1, round(self._rows / ROWS_A_STEP))
        memory = device_memory(self._device)
        text = f"{seconds_a_step:.2f} s a step, {passes} steps for all {self._rows} rows once; at most {most:.0f} s"
        self._reporter.note(text if memory is None else f"{text}; {readable_size(memory)} of memory in use")


def _rows_of_start(origin: Origin | None, rows: Sequence[PromptRow]) -> Sequence[PromptRow]:
    """Those of `rows` that an adapter was solved from, where it was solved from the first of them."""
    if not isinstance(origin, Solved):
        return ()
    first = rows[: origin.rows]
    return first if origin.prompts_digest == digest_json(as_learned(first)) else ()


def _fresh(base: LoadedBase, request: RefineRequest) -> LoraAdapter:
    kinds = request.modules or writer_kinds(base.model)
    layout = derive_layout(base.ref.config, LoraSpec(request.rank, request.rank, tuple(kinds)))
    return fresh_adapter(layout, request.seed)


def _settings(request: RefineRequest) -> dict[str, object]:
    """What else a run depends on; how long it may go on it does not."""
    return {"rate": request.rate, "seed": request.seed, "rank": request.rank, "modules": list(request.modules)}
