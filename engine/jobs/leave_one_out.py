"""Tables of several generators, each judged on the set it did not see, put into one. Light."""

from __future__ import annotations

from engine.events import Reporter
from engine.files import read_json, write_json, write_text
from engine.jobs.results import Result
from engine.judge.leave_one_out import leave_one_out
from engine.requests import LeaveOneOutRequest


def leave_one_out_job(request: LeaveOneOutRequest, reporter: Reporter) -> Result:
    """Read the tables of `evaluate`, write leave_one_out.json and leave_one_out.md."""
    hint = "Run evaluate into that folder first"
    table = leave_one_out([(str(folder), read_json(folder / "table.json", hint)) for folder in request.tables])
    write_json(request.out / "leave_one_out.json", table.to_json())
    target = request.out / "leave_one_out.md"
    write_text(target, table.to_markdown())
    lines = [(name, "not measured" if mean is None else f"{mean:.3f}") for name, mean in table.means().items()]
    return Result(table.to_json(), (*lines, ("table", str(target))))
