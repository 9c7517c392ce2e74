"""A few prompts for a person to answer: an adapter is solved from the answers. Light."""

from __future__ import annotations

from itertools import islice

from engine.errors import EngineError
from engine.events import Reporter
from engine.jobs.results import Result
from engine.prompts import read_prompts
from engine.prompts.answer_sheet import SheetRow, write_sheet
from engine.prompts.prompt_set import counted_rows
from engine.prompts.sample import MOST_LOOKED_AT, diverse_places
from engine.requests import SheetRequest


def sheet_job(request: SheetRequest, reporter: Reporter) -> Result:
    """Write diverse prompts without answers as JSON Lines, each with an empty `response` to fill in."""
    prompts = read_prompts(request.source, column=request.column, label=request.label)
    with reporter.stage("read", unit="rows") as stage:
        rows = counted_rows((row for row in prompts if not row.references), stage)
        open_rows = [row.prompt for row in islice(rows, MOST_LOOKED_AT)]
    if not open_rows:
        hint = "Make an adapter from the answers that are there: dnd-tui generate"
        raise EngineError("every prompt is answered already", where=str(request.source), hint=hint)
    chosen = [open_rows[place] for place in diverse_places(open_rows, request.count)]
    write_sheet(request.out, map(SheetRow, chosen))
    told = f"{request.out}: fill in each response, then make an adapter from that file"
    return Result({"sheet": str(request.out), "prompts": chosen}, (("prompts", str(len(chosen))), ("sheet", told)))
