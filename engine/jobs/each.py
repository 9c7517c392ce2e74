"""Datasets -> an adapter each: one base for all, shared by processes, taken up again after a kill.

    name, dataset --read--> plan --finished already?--> no: made and written to OUT/name, whole or not at all

What is finished is known by the identity in its record (`engine.jobs.generate.identity_of`), so there is no list that
could disagree with the folders. Each process takes every n-th dataset, whatever is finished; none waits for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.adapter.provenance import Provenance, Solved, read_provenance
from engine.base.load import BaseRef
from engine.errors import Cancelled, EngineError, disk_full, is_disk_full, is_out_of_memory, named, setting
from engine.events import Event, Note, Reporter
from engine.files import refuse_occupied
from engine.generator.about import read_about
from engine.jobs.generate import identity_of, make_planned
from engine.jobs.prompts import check_context, chosen_prompts, found_context, sample_batch
from engine.jobs.results import Result
from engine.pipeline import find_chosen_base
from engine.released import released_generator
from engine.requests import GenerateEachRequest, GenerateRequest
from engine.solver.plan import GENERATOR
from engine.workers import join_workers

MADE, THERE, FAILED = "made", "there", "failed"
"""What became of a dataset: an adapter was made, was finished already, or could not be made."""

_MOST_LINES = 200
_ARMS = ("base", "examples", "instruction", "solved")


@dataclass(frozen=True)
class Row:
    """What became of one dataset.

    made_from, rows: as in the adapter's record; rows are the prompts that a generator read.
    scores: mean score of the held-out rows by arm. verdict: what they show, in a sentence.
    seconds: that making it took. reason: why it failed, with its settings marked.
    """

    name: str
    source: str
    adapter: str
    state: str
    made_from: str = ""
    rows: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    verdict: str = ""
    seconds: float = 0.0
    reason: str = ""


def generate_each_job(request: GenerateEachRequest, datasets: Mapping[str, Path], reporter: Reporter) -> Result:
    """Make what is missing; what went wrong with a dataset is in the result and ends nothing."""
    workers = join_workers()
    # What is wrong with the base is wrong with every dataset.
    base = find_chosen_base(request.models, reporter)
    rows: dict[str, Row] = {}
    with reporter.stage("adapters", len(datasets), "adapters") as stage:
        for name in workers.share(list(datasets)):
            one = request.of(name, datasets[name])
            rows[name] = _row(name, one, base, reporter)
            if rows[name].state == FAILED:
                reporter.note(f"{name} failed: {rows[name].reason}", warning=True)
            workers.advance(stage)
    rows = workers.united(rows)
    return _result(request, [rows[name] for name in datasets]) if workers.is_main else Result({}, ())


def _row(name: str, request: GenerateRequest, base: BaseRef, reporter: Reporter) -> Row:
    try:
        record, state = _made(name, request, base, reporter)
    except Cancelled:
        raise
    except EngineError as error:
        reason = error.text(setting)
    except Exception as error:
        if is_out_of_memory(error):
            reason = f"out of memory. Try a smaller {setting('answered')}"
        elif is_disk_full(error):
            reason = disk_full(error).text(setting)
        else:
            reason = f"unexpected failure: {type(error).__name__}: {error}"
    else:
        return Row(
            name,
            str(request.prompts.source),
            str(request.out),
            state,
            record.made_from if isinstance(record, Solved) else GENERATOR,
            record.rows if isinstance(record, Solved) else record.prompts_used,
            record.scores or {},
            record.verdict if isinstance(record, Solved) else "",
            sum(record.timings.values()),
        )
    return Row(name, str(request.prompts.source), str(request.out), FAILED, reason=reason)


def _made(name: str, request: GenerateRequest, base: BaseRef, reporter: Reporter) -> tuple[Solved | Provenance, str]:
    """The record of the adapter, and whether it was made now. Raises EngineError when it cannot be made."""
    prompts = chosen_prompts(request.prompts)
    check_context(prompts, request.solve, request.models)
    inner = _warnings_of(name, reporter)
    plan = found_context(prompts, request.prompts, request.solve, request.models, inner)
    if request.out.exists():
        batch = ""
        if plan.kind == GENERATOR:
            about = read_about(request.models.generator or released_generator())
            batch = sample_batch(prompts, request.prompts, about["condition"]["prompts"], reporter.quiet()).digest
        found = _record(request.out)
        if found is not None and found.identity == identity_of(request, plan, base, batch):
            return found, THERE
        if found is not None and not request.replace:
            hint = f"Choose another {setting('out')} or allow {setting('replace')}"
            raise EngineError("was made from other rows or settings", where=str(request.out), hint=hint)
        refuse_occupied(request.out, request.replace)
    make_planned(request, prompts, plan, inner)
    made = _record(request.out)
    assert made is not None
    return made, MADE


def _record(folder: Path) -> Solved | Provenance | None:
    """Of an adapter that was made from prompts; None where the folder has no such record that can be read."""
    try:
        found = read_provenance(folder)
    except EngineError:
        return None
    return found if isinstance(found, Solved | Provenance) else None


def _warnings_of(name: str, reporter: Reporter) -> Reporter:
    """One that hands on nothing but warnings, with the dataset's name; the wish to stop is heard all the same."""

    def sink(event: Event) -> None:
        if isinstance(event, Note) and event.warning:
            reporter.note(f"{name}: {event.text}", warning=True)

    return reporter.quiet(sink)


def _result(request: GenerateEachRequest, rows: list[Row]) -> Result:
    failed = [row for row in rows if row.state == FAILED]
    counts = {state: sum(row.state == state for row in rows) for state in (MADE, THERE, FAILED)}
    data: dict[str, Any] = {
        "out": str(request.out),
        **counts,
        "adapters": [_plain(row) for row in rows],
    }
    done = [row for row in rows if row.state != FAILED]
    lines = [("adapters", "\n".join(_table(done)))] if done else []
    reasons = [" ".join(f"{row.name}: {row.reason}".split()) for row in failed]
    lines += [("failed", line) for line in _shortened(reasons)]
    words = f"{counts[MADE]} made, {counts[THERE]} there already, {counts[FAILED]} failed"
    problem = f"{len(failed)} of {len(rows)} datasets failed; the same command tries them again" if failed else ""
    return Result(data, (*lines, ("all", f"{words}: {request.out}")), problem)


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), "reason": named(row.reason)}


def _table(rows: list[Row]) -> list[str]:
    """One line an adapter under a heading, columns as wide as their longest value."""
    arms = [arm for arm in _ARMS if any(arm in row.scores for row in rows)]
    heading = ["", "state", "made from", "rows", *arms, "seconds"]
    cells = [
        [
            " ".join(row.name.split()),
            row.state,
            row.made_from,
            str(row.rows),
            *(f"{row.scores[arm]:.2f}" if arm in row.scores else "" for arm in arms),
            f"{row.seconds:.2f}",
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(heading, *cells[:_MOST_LINES], strict=True)]
    padded = [map(str.ljust, line, widths) for line in (heading, *cells)]
    return _shortened(["  ".join(line).rstrip() for line in padded])


def _shortened(lines: list[str]) -> list[str]:
    more = [f"... and {len(lines) - _MOST_LINES:,} more"] if len(lines) > _MOST_LINES else []
    return [*lines[:_MOST_LINES], *more]
