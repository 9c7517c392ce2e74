"""What the app's forms call the fields of requests: so messages of the engine name settings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from engine.errors import EngineError, Names
from engine.host import Failed
from engine.jobs.declared import JOBS, Job
from engine.requests import DepthRequest, Request

# Labels of forms stand in quotes, as in the messages.
NAMES: Mapping[str, str] = {
    "adapter": '"Adapter"',
    "answered": "the number of rows",
    "base": '"Base"',
    "chains": '"Chains"',
    "column": '"Prompt column"',
    "context": '"Instruction"',
    "count": '"Prompts"',
    "device": '"Device"',
    "dtype": '"Number format"',
    "format": '"Format"',
    "generator": '"Generator"',
    "label": '"Label column"',
    "library": '"LoRAs"',
    "made_from": '"Made from"',
    "names": "name",
    "out": "folder",
    "rank": '"Rank"',
    "replace": "replacing it",
    "rows": "the number of prompts",
    "teacher": '"Teacher"',
    "teacher_model": '"Model name"',
    "template": '"Template"',
    "text_files": '"Text files"',
    "weights": "weight",
}
DIFFERING: Mapping[type[Request], Mapping[str, str]] = {DepthRequest: {"column": '"Column"', "rows": '"Rows"'}}


def app_names(request_type: type[Request] | None = None) -> Names:
    """Names of a request's fields; what the app has no field for is an option of the command."""
    job = JOBS[request_type] if request_type else Job("")
    return partial(_name, job, {**NAMES, **(DIFFERING.get(request_type, {}) if request_type else {})})


def in_app(error: EngineError) -> Failed:
    """An error that the app met itself, outside of a job."""
    return Failed(*error.parts(app_names()))


def _name(job: Job, names: Mapping[str, str], field: str) -> str:
    return names.get(field) or f"{job.flag(field)} (command line)"
