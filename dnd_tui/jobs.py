"""Jobs as the screens see them: started at the engine link, reported by messages to whoever started them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from textual.message import Message
from textual.message_pump import MessagePump

from engine.events import Event
from engine.host.messages import Outcome
from engine.requests import Request


@dataclass(eq=False)
class Job:
    """One request under way.

    title: what it does, for people ("generate an adapter from topics.jsonl").
    owner: gets the messages below.
    watchers: get its JobReported too.
    light: done by the process for files, beside whatever the device does.
    began: time.monotonic() when the engine took it up; None while it waits.
    warm: the engine process has done a job before, so libraries and perhaps models are in memory.
    """

    request: Request
    title: str
    owner: MessagePump
    light: bool
    watchers: list[MessagePump] = field(default_factory=list)
    number: int = 0
    asked: float = field(default_factory=time.monotonic)
    began: float | None = None
    warm: bool = False
    stopping: bool = False
    outcome: Outcome | None = None

    @property
    def seconds(self) -> float:
        """Since the engine took it up; 0 while it waits."""
        return time.monotonic() - self.began if self.began is not None else 0.0


class JobMessage(Message, bubble=False):
    """Something about `job`, sent to its owner."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


class JobBegan(JobMessage):
    """The engine has taken the job up."""


class JobReported(JobMessage):
    """Events of the job, in order; at most one such message every few hundredths of a second."""

    def __init__(self, job: Job, events: tuple[Event, ...]) -> None:
        super().__init__(job)
        self.events = events


class JobEnded(JobMessage):
    """The last message of a job; `outcome` is Finished, Failed or Stopped."""

    def __init__(self, job: Job, outcome: Outcome) -> None:
        super().__init__(job)
        self.outcome = outcome
