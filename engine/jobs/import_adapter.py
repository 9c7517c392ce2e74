"""An adapter of any tool -> a checked PEFT folder of ours."""

from __future__ import annotations

from engine.events import Reporter
from engine.jobs.results import Result
from engine.requests import ImportRequest


def import_job(request: ImportRequest, reporter: Reporter) -> Result:
    """Check what another tool wrote, bring it into our form and write it, read back and compared as an export is."""
    raise NotImplementedError
