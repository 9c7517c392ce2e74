"""Every job is declared once, and what its declaration names is there."""

from __future__ import annotations

from importlib import import_module
from typing import get_args

import pytest

from engine.jobs.declared import JOBS
from engine.requests import Request


def test_every_request_is_a_job_and_no_two_have_one_command() -> None:
    assert set(JOBS) == set(get_args(Request))
    commands = [(job.command, job.switch) for job in JOBS.values() if job.command]
    assert len(set(commands)) == len(commands)


@pytest.mark.parametrize("kind", JOBS, ids=lambda kind: kind.__name__)
def test_what_a_declaration_names_is_there(kind: type) -> None:
    job = JOBS[kind]
    for place in filter(None, (job.runner, job.check, job.prepare)):
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name)), place
    assert not (job.check and job.prepare)
    assert "{out}" not in job.kept or "out" in kind.__dataclass_fields__  # type: ignore[attr-defined]
