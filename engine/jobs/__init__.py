"""One job a request: the effects around the engine's pure parts. `run` is the only way in."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from engine.files import tidy_after_kill
from engine.jobs.declared import JOBS

if TYPE_CHECKING:
    from engine.events import Reporter
    from engine.jobs.results import Result
    from engine.requests import Request


def run(request: Request, reporter: Reporter) -> Result:
    """Do what is asked, reporting on the way; what a killed job left where this one writes goes first.

    Raises:
        EngineError: it cannot be done; names what is wrong and what to do.
        Cancelled: the person asked for it to stop.
    """
    job = JOBS[type(request)]
    if job.check:
        resolve_name(job.check)(request)
    out = getattr(request, "target", getattr(request, "out", None))
    if isinstance(out, Path):
        tidy_after_kill(out)
    prepared = (resolve_name(job.prepare)(request),) if job.prepare else ()
    # Each job brings in the heavy libraries that it needs and no others. It takes seconds: timed.
    if job.heavy:
        with reporter.stage("import"):
            runner = resolve_name(job.runner)
    else:
        runner = resolve_name(job.runner)
    result: Result = runner(request, *prepared, reporter)
    return result
