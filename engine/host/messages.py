"""What goes between a front end and its engine process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import EngineError, Names
from engine.events import Event
from engine.requests import Request

if TYPE_CHECKING:
    from engine.jobs.results import Result


@dataclass(frozen=True)
class Submit:
    """To the engine: do `request` as job number `job`, after those before it."""

    job: int
    request: Request


@dataclass(frozen=True)
class Cancel:
    """To the engine: leave the job at its next event."""

    job: int


@dataclass(frozen=True)
class Finished:
    """The job is done."""

    result: Result


@dataclass(frozen=True)
class Failed:
    """The job could not be done.

    problem, where, hint: as in `EngineError`, for the person. From the engine they come with marked settings.
    details: the traceback, or the engine process's last words; for a bug report.
    crashed: the whole engine process ended; models have to be loaded anew.
    no_generator: there is no generator for the base (`NoGeneratorError`).
    """

    problem: str
    where: str | None = None
    hint: str | None = None
    details: str = ""
    crashed: bool = False
    no_generator: bool = False

    def named(self, names: Names) -> Failed:
        """With settings called by their names."""
        error = EngineError(self.problem, where=self.where, hint=self.hint)
        problem, where, hint = error.parts(names)
        return replace(self, problem=problem, where=where, hint=hint)


@dataclass(frozen=True)
class Stopped:
    """The person stopped the job."""


Outcome = Finished | Failed | Stopped


@dataclass(frozen=True)
class JobStarted:
    """The engine begins with the job. `warm`: an earlier job of this process has been done already."""

    job: int
    warm: bool


@dataclass(frozen=True)
class JobEvent:
    """The job reports."""

    job: int
    event: Event


@dataclass(frozen=True)
class JobEnded:
    """The last message of a job."""

    job: int
    outcome: Outcome


Message = JobStarted | JobEvent | JobEnded
