"""The engine in a process of its own: requests in, events out; cancel means now; a crash ends the job only.

    front end                                engine process (python -m engine.host)
    EngineProcess.submit(request) ---------> one job after the other, by engine.jobs.run
    on_message(JobStarted, JobEvent*, JobEnded) <---

Notable:
- Nothing heavy is imported on the front end's side.
- Models stay in memory between jobs, so that a second job is warm.
- Cancel asks first (the job leaves at its next event and the models stay), then interrupts, then kills.
- The engine process ends by itself as soon as the front end is gone, however that went.
"""

from engine.host.messages import Failed, Finished, JobEnded, JobEvent, JobStarted, Message, Outcome, Stopped
from engine.host.process import EngineProcess

__all__ = [
    "EngineProcess",
    "Failed",
    "Finished",
    "JobEnded",
    "JobEvent",
    "JobStarted",
    "Message",
    "Outcome",
    "Stopped",
]
