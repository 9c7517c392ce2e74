"""Prompts without answers -> a file of answers by a larger model, for a person to look through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from engine.base.device import explain_out_of_memory
from engine.errors import ANOTHER_OUT, EngineError, setting
from engine.events import Reporter
from engine.jobs.prompts import MOST_ROWS
from engine.jobs.results import Result, stage_lines
from engine.prompts import PromptRow, PromptSet
from engine.prompts.answer_sheet import SheetRow, write_sheet
from engine.prompts.prompt_set import counted_rows
from engine.prompts.sample import reservoir
from engine.requests import ModelChoice, TeachRequest
from engine.solver.plan import distinct, in_turn, read_context, with_beginning
from engine.teacher.asking import Asking, TeacherAnswer
from engine.teacher.endpoint import Endpoint, ask_endpoint, is_endpoint


def teach_job(request: TeachRequest, prepared: tuple[PromptSet, list[SheetRow]], reporter: Reporter) -> Result:
    """Ask a teacher for the answers that are missing; every answer is written as soon as it is there."""
    prompts, there = prepared
    with reporter.stage("read", unit="rows") as stage:
        rows = distinct(reservoir(counted_rows(prompts.every_row(), stage), MOST_ROWS, request.seed))
    sheet = _sheet(rows, there, request)
    left = [place for place, row in enumerate(sheet) if not row.response]
    if not left:
        hint = "Make an adapter from the answers that are there: dnd-tui generate"
        raise EngineError("every prompt is answered already", where=str(request.source), hint=hint)
    if len(left) < len(sheet):
        reporter.note(f"{len(sheet) - len(left)} prompts are answered already and keep their answers")
    instruction = read_context(request.context) if request.context is not None else ""
    answered = in_turn([row for row in rows if row.references and not row.answered_by], request.seed)
    examples = [(with_beginning(row.prompt, instruction), row.references[0]) for row in answered[: request.examples]]
    ask = teacher_of(request, reporter)
    tokens = cut = 0
    refused: list[str] = []
    with reporter.stage("teach", len(left), "answers") as stage:

        def answer(number: int, given: TeacherAnswer) -> None:
            nonlocal tokens, cut
            tokens, cut = tokens + given.tokens, cut + given.cut
            refused.extend([given.refused] if given.refused else [])
            if given.whole:
                sheet[left[number]] = replace(sheet[left[number]], response=given.text, answered_by=given.by)
                write_sheet(request.out, sheet)
            stage.advance(1, tokens=tokens)

        write_sheet(request.out, sheet)
        with explain_out_of_memory(f"{setting('dtype')}, or take a smaller teacher"):
            asked = [with_beginning(sheet[place].prompt, instruction) for place in left]
            limits = (request.max_new_tokens, request.most_tokens)
            ask(Asking(asked, examples, *limits, on_answer=answer, on_wait=lambda: stage.advance(0)))
    if len(refused) == len(left):
        problem = f"the teacher refuses every prompt: {refused[0]}"
        raise EngineError(problem, where=str(request.source), hint=f"Check {setting('teacher_model')}")
    if refused:
        reporter.note(f"{len(refused)} prompts were refused: {refused[0]}", warning=True)
    if cut:
        problem = f"{cut} answers were longer than {request.max_new_tokens} tokens and are left out"
        reporter.note(f"{problem}; allow more with {setting('max_new_tokens')}", warning=True)
    if request.most_tokens is not None and tokens >= request.most_tokens:
        reporter.note(f"stopped at {tokens:,} tokens, the limit of {setting('most_tokens')}", warning=True)
    return _result(request, sheet, tokens, reporter)


def _sheet(rows: Sequence[PromptRow], there: Sequence[SheetRow], request: TeachRequest) -> list[SheetRow]:
    """Answered rows, those of an earlier run too, and prompts to answer; each kind in file order."""
    known = {row.prompt: row for row in there if row.response}
    if strange := set(known) - {row.prompt for row in rows}:
        problem = f"holds {len(strange)} answers to prompts that are not in {request.source}"
        raise EngineError(problem, where=str(request.out), hint=f"{ANOTHER_OUT} or allow {setting('replace')}")
    own = [SheetRow(row.prompt, row.references[0], row.answered_by) for row in rows if row.references]
    known = {row.prompt: row for row in own} | known
    chosen = {row.number for row in in_turn([row for row in rows if not row.references], request.seed)[: request.count]}
    wanted = [row.prompt for row in rows if row.number in chosen or row.prompt in known]
    return [known.get(prompt, SheetRow(prompt)) for prompt in wanted]


def teacher_of(request: TeachRequest, reporter: Reporter) -> Callable[[Asking], None]:
    """What answers prompts: `ask_endpoint` or `ask_local`, with whom it asks."""
    if is_endpoint(request.teacher):
        endpoint = Endpoint(
            request.teacher,
            request.teacher_model,
            request.key_from,
            at_once=request.at_once,
            tries=request.tries,
            seconds=request.timeout,
        )
        return partial(ask_endpoint, endpoint)
    from engine.pipeline import load_chosen_base
    from engine.teacher.local import ask_local

    teacher = ModelChoice(
        base=request.teacher,
        device=request.device,
        dtype=request.dtype,
        trust_remote_code=request.trust_remote_code,
    )
    return partial(ask_local, load_chosen_base(teacher, reporter))


def _result(request: TeachRequest, sheet: Sequence[SheetRow], tokens: int, reporter: Reporter) -> Result:
    by = Counter(row.answered_by for row in sheet if row.response)
    missing = sum(not row.response for row in sheet)
    taught = {name: count for name, count in by.items() if name}
    data = {
        "answers": str(request.out),
        "rows": len(sheet),
        "answered_by": taught,
        "own_answers": by[""],
        "missing": missing,
        "tokens": tokens,
        "seconds": dict(reporter.timings),
    }
    next_step = f"{request.out}: look through the answers, then make an adapter from that file"
    lines = (
        *stage_lines(reporter.timings),
        *((f"by {name}", f"{count} answers") for name, count in taught.items()),
        *((("their own", f"{by['']} answers"),) if by[""] else ()),
        *((("missing", f"{missing} answers; the same command asks for them again"),) if missing else ()),
        ("tokens", f"{tokens:,}"),
        ("answers", next_step),
    )
    return Result(data, lines)
