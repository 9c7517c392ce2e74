"""Between the screens and the engine: two engine processes, their messages gathered for the event loop.

screen --start(request)--> "device" process: models, one job at a time
                           "files" process:  light questions about files, never behind a long job
threads of the processes --> inbox --every 50 ms--> JobBegan, JobReported, JobEnded to the job's owner
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from textual.message_pump import MessagePump

from dnd_tui import jobs
from dnd_tui.field_names import app_names
from dnd_tui.jobs import Job
from engine.errors import named
from engine.events import Event, Note
from engine.host import EngineProcess, Failed, JobEnded, JobEvent, JobStarted, Message
from engine.requests import Request

# Often enough to look live, seldom enough that drawing does not take the processor from the engine.
_FLUSH_SECONDS = 0.05


class EngineLink:
    """Starts and stops jobs. Used from the event loop only.

    Args:
        log_folder: gets `engine.log` and `files.log`, what the processes and their libraries print.
        changed: called after a job began or ended.
    """

    def __init__(self, log_folder: Path, changed: Callable[[Job], None] = lambda job: None) -> None:
        self._changed = changed
        self._jobs: dict[tuple[bool, int], Job] = {}
        self._inbox: deque[tuple[bool, Message]] = deque()
        self._flushing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._device = EngineProcess(partial(self._receive, False), log_folder / "engine.log")
        self._files = EngineProcess(partial(self._receive, True), log_folder / "files.log")

    @property
    def jobs(self) -> list[Job]:
        """All that wait or run on the device, in order."""
        return [job for job in self._jobs.values() if not job.light]

    @property
    def running(self) -> Job | None:
        """The job that the device works on."""
        return next((job for job in self.jobs if job.began is not None), None)

    @property
    def pids(self) -> list[int]:
        """Of the processes that are there."""
        return [process.pid for process in (self._device, self._files) if process.pid is not None]

    def start(self, request: Request, title: str, owner: MessagePump, *, light: bool = False) -> Job:
        """Begin with `request`, after the jobs before it; `owner` gets the messages."""
        self._loop = asyncio.get_running_loop()
        job = Job(request, title, owner, light)
        job.number = self._process(light).submit(request)
        self._jobs[light, job.number] = job
        self._changed(job)
        return job

    def stop(self, job: Job) -> None:
        """Stop it: it ends as Stopped within half a second."""
        if job.outcome is None and not job.stopping:
            job.stopping = True
            self._process(job.light).cancel(job.number)
            self._changed(job)

    def close(self) -> None:
        """End both processes at once."""
        self._device.close()
        self._files.close()

    def _process(self, light: bool) -> EngineProcess:
        return self._files if light else self._device

    def _receive(self, light: bool, message: Message) -> None:
        """In any thread."""
        self._inbox.append((light, message))
        if not self._flushing and self._loop is not None:
            self._flushing = True
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(self._loop.call_later, _FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._flushing = False
        reports: dict[Job, list[Event]] = {}
        while self._inbox:
            light, message = self._inbox.popleft()
            job = self._jobs.get((light, message.job))
            if job is None:
                continue
            if isinstance(message, JobEvent):
                event = message.event
                if isinstance(event, Note):
                    event = replace(event, text=named(event.text, app_names(type(job.request))))
                reports.setdefault(job, []).append(event)
                continue
            self._report(job, reports)
            if isinstance(message, JobStarted):
                job.began, job.warm = time.monotonic(), message.warm
                job.owner.post_message(jobs.JobBegan(job))
            elif isinstance(message, JobEnded):
                del self._jobs[light, message.job]
                job.outcome = outcome = message.outcome
                if isinstance(outcome, Failed):
                    job.outcome = outcome = outcome.named(app_names(type(job.request)))
                job.owner.post_message(jobs.JobEnded(job, outcome))
            self._changed(job)
        for job in list(reports):
            self._report(job, reports)

    def _report(self, job: Job, reports: dict[Job, list[Event]]) -> None:
        events = reports.pop(job, None)
        if events:
            for pump in (job.owner, *job.watchers):
                pump.post_message(jobs.JobReported(job, tuple(events)))
